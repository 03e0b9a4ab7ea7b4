"""Studies of robust cross-lingual transfer: `run_study` runs one, `load_study` reads one back as a data frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.notebook import run_study
    from study.views.history import load_results, load_study

__all__ = ["load_results", "load_study", "run_study"]


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is first asked for: ``study --help`` must not pay for pandas."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from study import notebook
    from study.views import history

    return getattr(notebook if name == "run_study" else history, name)
