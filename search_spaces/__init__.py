"""Search spaces: YAML of dotted paths of a trial, validated against the trial configuration's own fields.

A space is a mapping from path to dimension, plus an optional ``description``::

    description: Radius and steps of the inner maximisation.
    perturbation.method: adversarial                                       # fixed
    perturbation.epsilon: {type: float, low: 0.03, high: 0.6, log: true}
    perturbation.ascent_steps: {type: int, low: 1, high: 3}                # or a list: [1, 2, 3]
    perturbation.norm: {type: categorical, choices: [l2, linf]}
    perturbation.step_size: {type: float, low: 0.5, high: 1.5, step: 0.25, when: {perturbation.ascent_steps: [2, 3]}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from search_spaces.dimensions import Dimension, Kind, Space, Value
from trainables.config import TrialConfig
from trainables.errors import UserError, shown, suggestion
from trainables.fields import Field, field_at
from trainables.loading import read_mapping

KEYS: dict[str, tuple[str, ...]] = {
    "float": ("low", "high", "log", "step"),
    "int": ("low", "high", "log", "step"),
    "categorical": ("choices",),
    "fixed": ("value",),
}
"""Keys of each type of dimension beside `type` and `when`."""


def names() -> list[str]:
    """Shipped spaces, sorted."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files(__name__).iterdir()
        if entry.name.endswith(".yaml")
    )


def load(space: str | Mapping[str, Any]) -> Space:
    """A shipped space by name, one in a YAML file, or one given as a mapping. Raises `UserError` with all mistakes.

    >>> space = load({"perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.6, "log": True}})
    >>> space.dimensions[0].describe()
    '0.03 to 0.6 (log)'
    """
    if not isinstance(space, str):
        return parse("inline", space, "search.space")
    if space in names():
        with resources.as_file(resources.files(__name__) / f"{space}.yaml") as path:
            return parse(space, read_mapping(path), space)
    path = Path(space)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        near = suggestion(space, names()) or f", known: {', '.join(names())}, or the path of a YAML file"
        raise UserError(f"search.space: unknown space{near} (got {space!r})")
    return parse(path.stem, read_mapping(path), space)


def parse(name: str, data: Mapping[str, Any], where: str) -> Space:
    """A space out of the mapping described above; `where` begins each line of a `UserError`."""
    problems: list[str] = []
    description = data.get("description", "")
    if not isinstance(description, str):
        problems.append(f"{where}.description: must be text (got {shown(description)})")
    dimensions: dict[str, Dimension] = {}
    paths = [path for path in data if path != "description"]
    if not paths:
        problems.append(f"{where}: must have at least one dimension")
    for path in paths:
        found = _Reader(f"{where}: {path}", path).read(data[path])
        if isinstance(found, Dimension):
            dimensions[path] = found
        else:
            problems += found
    known = set(paths)
    for path, dimension in dimensions.items():
        problems += _condition_problems(f"{where}: {path}", dimension, dimensions, known)
    ordered = [] if problems else _in_order(dimensions)
    if ordered is None:
        problems.append(f"{where}: conditions (when) must not depend on one another in a circle")
    if problems:
        raise UserError(*problems)
    return Space(name, str(description), tuple(ordered or ()))


class _Reader:
    """Turns one entry into a `Dimension`, or into what is wrong with it."""

    def __init__(self, where: str, path: str) -> None:
        self.where, self.path = where, path
        self.problems: list[str] = []

    def read(self, entry: Any) -> Dimension | list[str]:
        try:
            spec = self._spec(entry)
            target = field_at(TrialConfig, self.path)
        except UserError as error:
            return [self._prefixed(line) for line in error.lines]
        kind = spec.pop("type", None)
        if kind not in KEYS:
            near = suggestion(kind, list(KEYS)) if isinstance(kind, str) else ""
            return [f"{self.where}.type: must be one of {', '.join(KEYS)}{near} (got {shown(kind)})"]
        for key in spec:
            if key not in (*KEYS[kind], "when"):
                near = suggestion(str(key), [*KEYS[kind], "when"]) or f", known: {', '.join((*KEYS[kind], 'when'))}"
                self._wrong(f".{key}", f"unknown key of a {kind} dimension{near}")
        when = self._when(spec.get("when"))
        dimension = (
            self._numeric(kind, spec, target, when) if "low" in KEYS[kind] else self._listed(kind, spec, target, when)
        )
        return dimension if dimension is not None and not self.problems else self.problems

    def _spec(self, entry: Any) -> dict[str, Any]:
        """The long form of an entry: a list is categorical, a bare value fixed."""
        if isinstance(entry, Mapping):
            return dict(entry)
        if isinstance(entry, list):
            return {"type": "categorical", "choices": entry}
        return {"type": "fixed", "value": entry}

    def _when(self, data: Any) -> dict[str, tuple[Value, ...]]:
        if data is None:
            return {}
        if not isinstance(data, Mapping) or not data:
            self._wrong(".when", "must be a mapping of other dimensions to the values needed", data)
            return {}
        return {str(k): tuple(v) if isinstance(v, list) else (v,) for k, v in data.items()}

    def _numeric(
        self, kind: Kind, spec: Mapping[str, Any], target: Field, when: dict[str, tuple[Value, ...]]
    ) -> Dimension | None:
        wanted = int if kind == "int" else float
        if float not in target.types and (kind == "float" or int not in target.types):
            held = "whole numbers" if int in target.types else "no numbers"
            self._wrong("", f"the field holds {held}, it can't be a {kind} dimension")
            return None
        for key in ("low", "high"):
            self._number(key, spec.get(key), wanted)
        log, step = spec.get("log", False), spec.get("step")
        if not isinstance(log, bool):
            self._wrong(".log", "must be true or false", log)
        if step is not None and self._number("step", step, wanted) and not step > 0:
            self._wrong(".step", "must be more than 0", step)
        if self.problems:
            return None
        low, high = spec["low"], spec["high"]
        if not low < high:
            self._wrong(".high", f"must be more than low, {low:g}", high)
        if log and not low > 0:
            self._wrong(".low", "must be more than 0 on a log scale", low)
        if log and step is not None:
            self._wrong(".step", "a log scale has no step", step)
        elif step is not None and low < high and step > high - low:
            self._wrong(".step", f"must be at most high - low, {high - low:g}", step)
        for key, bound in (("low", low), ("high", high)):
            if rule := target.problem(bound):
                self._wrong(f".{key}", f"outside of the field's range: {rule}", bound)
        return Dimension(self.path, kind, low, high, log, step, when=when)

    def _listed(
        self, kind: Kind, spec: Mapping[str, Any], target: Field, when: dict[str, tuple[Value, ...]]
    ) -> Dimension | None:
        key = KEYS[kind][0]
        if key not in spec:
            self._wrong(f".{key}", "is required")
            return None
        values = spec[key] if kind == "categorical" else [spec[key]]
        if not isinstance(values, list) or len(values) == 0:
            self._wrong(f".{key}", "must be a list of values", values)
            return None
        for value in values:
            if isinstance(value, list | Mapping):
                self._wrong(f".{key}", "must be plain values", value)
            elif rule := target.problem(value):
                self._wrong(f".{key}", rule, value)
        plain = [v for v in values if not isinstance(v, list | Mapping)]
        if len({(isinstance(v, bool), v) for v in plain}) < len(plain):  # 1 and 1.0 are one number, and one trial
            self._wrong(f".{key}", "must not repeat a value", values)
        return Dimension(self.path, kind, choices=tuple(plain), when=when)

    def _number(self, key: str, value: Any, wanted: type) -> bool:
        if value is None:
            self._wrong(f".{key}", "is required")
        elif isinstance(value, bool) or not isinstance(value, (int,) if wanted is int else (int, float)):
            self._wrong(f".{key}", "must be a whole number" if wanted is int else "must be a number", value)
        elif not math.isfinite(value):
            self._wrong(f".{key}", "must be finite", value)
        else:
            return True
        return False

    def _wrong(self, key: str, rule: str, *got: Any) -> None:
        self.problems.append(f"{self.where}{key}: {rule}" + (f" (got {shown(got[0])})" if got else ""))

    def _prefixed(self, line: str) -> str:
        path, _, rule = line.partition(": ")
        return f"{self.where}: {rule}" if path == self.path else f"{self.where}: {line}"


def _condition_problems(
    where: str, dimension: Dimension, dimensions: Mapping[str, Dimension], known: set[str]
) -> list[str]:
    problems = []
    for path, values in dimension.when.items():
        if path not in known or path == dimension.path:
            near = suggestion(path, sorted(known - {dimension.path}))
            problems.append(f"{where}.when: must name another dimension of this space{near} (got {path!r})")
        elif path in dimensions:
            takes = dimensions[path].describe()
            problems += [
                f"{where}.when.{path}: can never hold, the dimension takes {takes} (got {shown(v)})"
                for v in values
                if not dimensions[path].contains(v)
            ]
    return problems


def _in_order(dimensions: Mapping[str, Dimension]) -> list[Dimension] | None:
    """Each after those its condition names, otherwise in the order of the file; None if that is impossible."""
    left, ordered = dict(dimensions), []
    while left:
        ready = next((d for d in left.values() if not d.when.keys() & left.keys()), None)
        if ready is None:
            return None
        ordered.append(left.pop(ready.path))
    return ordered
