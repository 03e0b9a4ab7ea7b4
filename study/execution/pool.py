"""Whose trial a free slot takes next: one pool of slots for all members of a suite. Pure.

By priority, and among equals in order: a member's trials run together, so that workers seldom change encoder and data,
and when the last of them run, the next member's start. One thing comes before the order: trials that wait for one
another. A member of which at most so many run at a time cannot use the slots that are free in the end, so it takes its
few from the beginning, beside the others; of several, the longest chain first (the critical path: R. L. Graham, *Bounds
on multiprocessing timing anomalies*, 1969). This needs no estimate of what nobody has seen yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How far a member is."""

    left: int
    """Trials to be handed out."""
    running: int
    """Trials that run."""
    seconds: float | None = None
    """What one of its trials takes; None where none has ended."""
    priority: int = 0
    at_once: int | None = None
    """Most of its trials at a time; None: as many as there are slots."""

    @property
    def ready(self) -> bool:
        """Whether one of its trials can start now."""
        return self.left > 0 and (self.at_once is None or self.running < self.at_once)


def following(members: Sequence[Standing]) -> int | None:
    """Index of the member whose trial is to start now; None where none has one.

    >>> following([Standing(left=0, running=3), Standing(left=9, running=0)])
    1
    """
    known = [m.seconds for m in members if m.seconds is not None]
    typical = sum(known) / len(known) if known else 1.0

    def rank(i: int) -> tuple[int, float, int]:
        member = members[i]
        return -member.priority, -_chain(member, typical if member.seconds is None else member.seconds), i

    return min((i for i, member in enumerate(members) if member.ready), key=rank, default=None)


def _chain(member: Standing, seconds: float) -> float:
    """Seconds that its trials take because they wait for one another; 0 where they do not."""
    rounds = 0 if member.at_once is None else math.ceil((member.left + member.running) / member.at_once)
    return rounds * seconds
