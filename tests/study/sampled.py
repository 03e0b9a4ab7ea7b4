"""What a search's sampler knows."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from study.proposals.search import Search


def sampler_trials(search: Search) -> list[FrozenTrial]:
    """Optuna's trials of a search."""
    return search._study.get_trials(deepcopy=False)
