"""One dimension of a search space, and a space as a list of them.

Dimensions are dotted paths of `TrialConfig`. A point is a flat map from path to value; dimensions whose condition does
not hold are absent from it, and the base configuration's value stands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Value: TypeAlias = float | int | str | bool | None
Point: TypeAlias = dict[str, Any]
ENUMERATED = 100_000
"""Combinations up to which the points of a conditional space are counted one by one."""

Kind = Literal["float", "int", "categorical", "fixed"]


@dataclass(frozen=True)
class Dimension:
    """One dotted path and the values it may take."""

    path: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Value, ...] = ()
    """Of `categorical`; the one value of `fixed`."""
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Other dimension -> values of it under which this one exists."""

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        # Not at the top: whoever lists the spaces has no need of Optuna.
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "float":
            return FloatDistribution(self.low, self.high, log=self.log, step=self.step)
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return CategoricalDistribution(self.choices)

    @property
    def levels(self) -> tuple[Value, ...] | None:
        """All values, where they are finitely many and evenly listed; None for a continuous dimension."""
        if self.kind in ("categorical", "fixed"):
            return self.choices
        if self.kind == "int" and not self.log:
            return tuple(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.kind == "float" and self.step:
            count = math.floor((self.high - self.low) / self.step * (1 + 1e-12) + 1e-9) + 1
            return tuple(float(f"{self.low + i * self.step:.12g}") for i in range(count))
        return None

    def active(self, point: Mapping[str, Any]) -> bool:
        """Whether this dimension exists, given the dimensions before it."""
        return all(path in point and point[path] in values for path, values in self.when.items())

    def suggest(self, trial: Trial) -> Value:
        """A value for an Optuna trial."""
        if self.kind == "float":
            return trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)
        if self.kind == "int":
            return trial.suggest_int(self.path, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        if self.kind == "fixed":
            return self.choices[0]
        return trial.suggest_categorical(self.path, self.choices)

    def at(self, unit: float) -> Value:
        """The value at a position in [0, 1): uniform positions give the values their uniform distribution."""
        if (levels := self.levels) is not None:
            return levels[min(int(unit * len(levels)), len(levels) - 1)]
        low, high = (self.low, self.high) if self.kind == "float" else (self.low - 0.5, self.high + 0.5)
        if self.log:
            value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        else:
            value = low + unit * (high - low)
        if self.kind == "int":
            return int(min(max(round(value), self.low), self.high))
        return min(max(value, self.low), self.high)

    def contains(self, value: Any) -> bool:
        """Whether a value is one of this dimension's."""
        if self.kind in ("categorical", "fixed"):
            return any(type(value) is type(c) and value == c for c in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high or (self.kind == "int" and value != int(value)):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8

    def describe(self) -> str:
        """``0.03 to 0.6 (log)``, ``1, 2, 3``, ``adversarial``."""
        if self.kind in ("categorical", "fixed"):
            text = ", ".join(map(str, self.choices))
        else:
            notes = [f"step {self.step:g}"] if self.step else []
            notes += ["log"] if self.log else []
            text = f"{self.low:g} to {self.high:g}" + (f" ({', '.join(notes)})" if notes else "")
            text += ", whole numbers" if self.kind == "int" else ""
        if self.when:
            text += " when " + " and ".join(f"{p} is {' or '.join(map(str, v))}" for p, v in self.when.items())
        return text


@dataclass(frozen=True)
class Space:
    """Dimensions in an order in which each comes after those its condition names."""

    name: str
    description: str
    dimensions: tuple[Dimension, ...]

    @property
    def searched(self) -> tuple[Dimension, ...]:
        """Dimensions that have something to choose."""
        return tuple(d for d in self.dimensions if d.kind != "fixed")

    @property
    def conditional(self) -> bool:
        """Whether some dimension exists only sometimes."""
        return any(d.when for d in self.searched)

    def __getitem__(self, path: str) -> Dimension:
        return next(d for d in self.dimensions if d.path == path)

    def __contains__(self, path: str) -> bool:
        return any(d.path == path for d in self.dimensions)

    def suggest(self, trial: Trial) -> Point:
        """A point for an Optuna trial, conditions honoured."""
        point: Point = {}
        for dimension in self.dimensions:
            if dimension.active(point):
                point[dimension.path] = dimension.suggest(trial)
        return point

    def at(self, unit: Sequence[float]) -> Point:
        """The point at a position of the unit cube, one coordinate for each dimension of `searched`."""
        positions = dict(zip((d.path for d in self.searched), unit, strict=True))
        point: Point = {}
        for dimension in self.dimensions:
            if dimension.active(point):
                is_fixed = dimension.kind == "fixed"
                point[dimension.path] = dimension.choices[0] if is_fixed else dimension.at(positions[dimension.path])
        return point

    def grid(self, levels: Mapping[str, Sequence[Value]] | None = None) -> list[Point]:
        """All combinations of levels, each point once; `levels` stand in where a dimension lists none of its own."""
        chosen = [tuple((levels or {}).get(d.path, d.levels or ())) for d in self.dimensions]
        assert all(chosen), "a grid needs levels for every dimension"
        points: dict[tuple[tuple[str, Value], ...], Point] = {}
        for values in product(*chosen):
            point: Point = {}
            for dimension, value in zip(self.dimensions, values, strict=True):
                if dimension.active(point):
                    point[dimension.path] = value
            points.setdefault(tuple(point.items()), point)
        return list(points.values())

    def pinned(self, values: Mapping[str, Value]) -> Space:
        """The part of the space in which these dimensions have these values, which are fixed there."""
        kept: list[Dimension] = []
        for dimension in self.dimensions:
            when = {path: those for path, those in dimension.when.items() if path not in values}
            if any(path in values and values[path] not in those for path, those in dimension.when.items()):
                continue
            if not when.keys() <= {d.path for d in kept}:
                continue  # what it depends on is gone
            pin = dimension.path in values
            kept.append(
                Dimension(dimension.path, "fixed", choices=(values[dimension.path],))
                if pin
                else replace(dimension, when=when)
            )
        return Space(self.name, self.description, tuple(kept))

    def part(self, wanted: str | Collection[str]) -> Space:
        """The dimensions under a prefix, or of these paths, and those that their conditions name, and so on."""
        paths = {
            d.path
            for d in self.dimensions
            if (d.path.startswith(wanted) if isinstance(wanted, str) else d.path in wanted)
        }
        while more := {path for d in self.dimensions if d.path in paths for path in d.when} - paths:
            paths |= more
        return Space(self.name, self.description, tuple(d for d in self.dimensions if d.path in paths))

    def without(self, prefixes: tuple[str, ...]) -> Space:
        """The space of the other knobs: without dimensions under `prefixes`, those that depend on them, and so on."""
        kept = tuple(d for d in self.dimensions if not d.path.startswith(prefixes))
        before = 0
        while before != len(kept):
            before, paths = len(kept), {d.path for d in kept}
            kept = tuple(d for d in kept if d.when.keys() <= paths)
        return Space(self.name, self.description, kept)

    @property
    def combinations(self) -> int | None:
        """Product of the numbers of values, whatever the conditions; None where some dimension is continuous."""
        counts = [len(d.levels) for d in self.dimensions if d.levels is not None]
        return math.prod(counts) if len(counts) == len(self.dimensions) else None

    @property
    def points(self) -> int | None:
        """Number of points; None where some dimension is continuous, or there are too many to apply conditions to."""
        most = self.combinations
        if most is None or not self.conditional:
            return most
        return len(self.grid()) if most <= ENUMERATED else None

    def describe(self) -> list[str]:
        """One line per dimension, and the space's size last."""
        lines = [f"{d.path}: {d.describe()}" for d in self.dimensions]
        return [*lines, self.size()]

    def size(self) -> str:
        """``12 points``, or the volume: what each continuous dimension spans, times the combinations of the others."""
        if (points := self.points) is not None:
            return f"{points} point{'s' if points != 1 else ''}"
        if self.combinations is not None:
            return f"at most {self.combinations} points"
        return "volume: " + " x ".join(self._extents())

    def _extents(self) -> Iterator[str]:
        for d in self.searched:
            if d.levels is not None:
                yield f"{len(d.levels)} values of {d.path}"
            elif d.log:
                yield f"{math.log10(d.high / d.low):.2g} decades of {d.path}"
            else:
                yield f"{d.high - d.low:g} of {d.path}"
