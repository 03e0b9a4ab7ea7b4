"""The studies whose trials run in one pool of slots: those of a suite, or one alone.

Each has trials, checkpoints and a ledger of its own, and hears of them alone; what they share is the order in which
free slots take their trials (`pool`). A trial is known by its member and its number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.execution.checkpoints import Checkpoints
from study.execution.pool import Standing, following
from study.execution.trials import Proposal, Trials
from study.proposals import ranking

Listener = Callable[[Mapping[str, Any]], None]
"""Hears every ledger event as it is appended, and transient notices ({"event": "waiting", "for": "…"},
{"event": "note", "words": "…"}); those of a suite's member have its name too ("member")."""


@dataclass
class Member:
    """A study under way."""

    trials: Trials
    checkpoints: Checkpoints
    hear: Listener
    name: str = ""
    """Within its suite; empty for a study of its own."""
    priority: int = 0
    at_once: int | None = None
    begun: dict[int, float] = field(default_factory=dict)
    """Trial that runs -> when it was handed out (monotonic)."""
    took: list[float] = field(default_factory=list)
    """Seconds of each trial that has ended in this process."""
    competing: set[int] = field(default_factory=set)
    """Trials that may be chosen."""
    concluded: bool = False
    """Whether its ledger says why it stopped."""

    @property
    def standing(self) -> Standing:
        """How far it is."""
        seconds = sum(self.took) / len(self.took) if self.took else None
        return Standing(self.trials.remaining, len(self.begun), seconds, self.priority, self.at_once)

    def ask(self) -> Proposal | None:
        """Its next trial; None: there is none, for good."""
        proposal = self.trials.ask()
        if proposal is None:
            self.conclude()
        else:
            self.begun[proposal.number] = time.monotonic()
            if ranking.competes(proposal.phase, proposal.kind, proposal.control):
                self.competing.add(proposal.number)
        return proposal

    def left(self, number: int) -> None:
        """A trial no longer runs here, and has not ended."""
        self.begun.pop(number)

    def finish(self, number: int, problem: str | None) -> None:
        """A trial has ended: failed of a problem, or as its evaluations say."""
        self.took.append(time.monotonic() - self.begun.pop(number))
        outcome = self.trials.finish(number, error=problem)
        self.checkpoints.finished(number, outcome, number in self.competing, problem, self.trials.phase)
        self.conclude()

    def conclude(self) -> None:
        """Write why phase `run` ends before its number of trials, if it does, once nothing of it runs."""
        stopped = self.trials.stopped
        if stopped and not self.begun and not self.concluded and self.trials.phase == "run":
            self.trials.ledger.append("stopped", cause=stopped, spent=self.trials.spent)
            self.concluded = True


class Members:
    """Them all, by name."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = {member.name: member for member in members}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    @property
    def remaining(self) -> int:
        """Trials that are still to be handed out, now or once others have ended."""
        return sum(member.trials.remaining for member in self)

    def ask(self) -> tuple[Member, Proposal] | None:
        """The next trial to run, and whose it is. None: there is none now, and none for good if none remain."""
        members = list(self)
        while (i := following([member.standing for member in members])) is not None:
            proposal = members[i].ask()
            if proposal is not None:
                return members[i], proposal
        return None
