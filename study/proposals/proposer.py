"""What proposes points, and hears what became of them: the interface, and fixed lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from search_spaces.dimensions import Point

Outcome = Literal["COMPLETE", "PRUNED", "FAIL"]


@dataclass(frozen=True)
class Proposed:
    """A point, and what the ledger keeps of how it came about."""

    kind: str
    point: Point
    distributions: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    control: str | None = None
    """Letter of the standard control it belongs to, if any."""


@dataclass(frozen=True)
class Feedback:
    """What an optimiser is told of a trial: values of the objectives, in their order and own directions."""

    outcome: Outcome | None
    """None: it is still running."""
    values: tuple[float, ...] | None = None
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """Step -> value, of a single objective."""
    constraints: Mapping[str, float] = field(default_factory=dict)
    """Name -> violation, zero or less where met."""


class Proposer(Protocol):
    """Proposes points under the study's trial numbers and hears what became of them."""

    def remaining(self) -> int:
        """Points it has left to propose."""
        ...

    def propose(self, number: int) -> Proposed:
        """The next point, for the trial of this number."""
        ...

    def restore(self, number: int, proposed: Proposed) -> None:
        """Take in a trial that this proposer made in an earlier process, as it was asked; its reports and end follow.

        Raises ValueError if this proposer can't have made it.
        """
        ...

    def report(self, number: int, step: int, value: float) -> bool:
        """Hear an intermediate value; whether the trial should stop."""
        ...

    def tell(self, number: int, feedback: Feedback) -> None:
        """Hear how a trial ended."""
        ...


class Bounded:
    """A proposer that ends when it has no trials left by a count that depends on what it proposed."""

    def __init__(self, inner: Proposer, left: Callable[[Sequence[Point]], int]) -> None:
        self.inner, self.left = inner, left
        self._points: list[Point] = []
        self._remaining: int | None = None
        """As of these points; None: not counted yet."""

    def remaining(self) -> int:
        if self._remaining is None:
            self._remaining = self.left(self._points)
        return self._remaining

    def propose(self, number: int) -> Proposed:
        proposed = self.inner.propose(number)
        self._note(proposed.point)
        return proposed

    def restore(self, number: int, proposed: Proposed) -> None:
        self.inner.restore(number, proposed)
        self._note(proposed.point)

    def report(self, number: int, step: int, value: float) -> bool:
        return self.inner.report(number, step, value)

    def tell(self, number: int, feedback: Feedback) -> None:
        self.inner.tell(number, feedback)

    def _note(self, point: Point) -> None:
        self._points.append(point)
        self._remaining = None


class Fixed:
    """A list of points, proposed in order whatever happens."""

    def __init__(self, planned: Sequence[Proposed]) -> None:
        self.planned = planned
        self._next = 0

    def remaining(self) -> int:
        return len(self.planned) - self._next

    def propose(self, number: int) -> Proposed:
        self._next += 1
        return self.planned[self._next - 1]

    def restore(self, number: int, proposed: Proposed) -> None:
        if self._next >= len(self.planned) or proposed.point != self.planned[self._next].point:
            raise ValueError("is not in this design, the configuration was another when the design was written")
        self._next += 1

    def report(self, number: int, step: int, value: float) -> bool:
        return False

    def tell(self, number: int, feedback: Feedback) -> None:
        pass
