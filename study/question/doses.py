"""Robust training methods in a table: what each is dosed by, what a step costs, which spaces search it.

``python -m study.question.doses FILE`` draws the table of a page of documentation anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import search_spaces
from search_spaces.dimensions import Dimension, Space
from study.question.pages import put
from trainables import augmentation, perturbation
from trainables.config import PerturbationConfig, TrialConfig
from trainables.scores import DOSES

TITLES = ("method", "its dose", "passes a step", "supervision", "settings that are searched: default; range", "spaces")
BEGIN, END = "<!-- drawn by make docs: methods -->", "<!-- end of the methods -->"
"""What stands around the table in the documentation."""

METHODS = ("perturbation.method", "augmentation.method")
_NONE = "none"


def rows() -> list[list[str]]:
    """One row per method below the titles; passes are those of the default settings."""
    found = [(m.name, m.dose, m.supervision) for m in perturbation.METHODS.values() if m.name != _NONE]
    found += [(way.name, way.dose, "none") for way in perturbation.around()]
    lines = [_row(METHODS[0], name, dose, _passes(name), needed) for name, dose, needed in found]
    copies = [(m.name, m.dose, m.supervision) for m in augmentation.METHODS.values()]
    return [list(TITLES), *lines, *(_row(METHODS[1], name, dose, 3.0, needed) for name, dose, needed in copies)]


def markdown() -> str:
    """The table as the documentation has it."""
    lines = ["| " + " | ".join(row) + " |" for row in rows()]
    return "\n".join([lines[0], "|" + "---|" * len(TITLES), *lines[1:]])


def _row(path: str, name: str, dose: str, passes: float, supervision: str) -> list[str]:
    spaces = [space for space in map(search_spaces.load, search_spaces.names()) if _has(space, path, name)]
    knobs = {knob: words for space in spaces for knob, words in _knobs(space, path, name)}
    unit = f"`{dose}`: {DOSES[dose]}" if dose else "–"
    listed = "; ".join(f"`{knob}` {words}" for knob, words in knobs.items()) or "–"
    return [f"`{name}`", unit, f"{passes:g}", supervision, listed, ", ".join(f"`{s.name}`" for s in spaces) or "–"]


def _passes(name: str) -> float:
    return perturbation.create(PerturbationConfig(method=name)).forward_equivalents


def _has(space: Space, path: str, name: str) -> bool:
    return path in space and name in [part for choice in space[path].choices for part in str(choice).split("+")]


def _knobs(space: Space, path: str, name: str) -> Iterator[tuple[str, str]]:
    """What a space varies of a method's settings: the default, and the range."""
    for dimension in space.dimensions:
        if dimension.path not in METHODS and _is_of(dimension, path, name):
            knob = dimension.path.removeprefix("perturbation.")
            yield knob, f"{_default(dimension.path)}; {replace(dimension, when={}).describe()}"


def _is_of(dimension: Dimension, path: str, name: str) -> bool:
    """Whether it is varied, and a setting of this method."""
    is_varied = dimension.kind in ("float", "int") or len(dimension.choices) > 1
    beside = ("encoder.",) if path == METHODS[0] else ()
    is_its = dimension.path.startswith((path.removesuffix("method"), *beside))
    return is_varied and is_its and name in dimension.when.get(path, (name,))


def _default(path: str) -> str:
    value: object = TrialConfig()
    for part in path.split("."):
        value = getattr(value, part)
    return "the encoder's own" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    put(Path(sys.argv[1]), markdown(), BEGIN, END)
