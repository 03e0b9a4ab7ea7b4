"""Points and their dimensions in words: as short as tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def short(paths: Sequence[str]) -> list[str]:
    """The last part of each path, or all of it where that would be ambiguous."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]


def describe_point(point: Mapping[str, Any]) -> str:
    """``epsilon=0.124 ascent_steps=2``, with as much of the paths as tells them apart.

    >>> describe_point({"perturbation.epsilon": 0.12345, "perturbation.ascent_steps": 2})
    'epsilon=0.1235 ascent_steps=2'
    """
    values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in point.values())
    return (
        " ".join(f"{name}={value}" for name, value in zip(short(list(point)), values, strict=True)) or "base settings"
    )
