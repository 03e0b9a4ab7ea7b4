"""The members of a suite, run or confirmed in one pool of slots: one driver process, one Ray, a ledger for each.

A member that cannot begin (its data are gone, say) is left out and does not keep the others; what would keep every
trial of every member, a full disk or a lost ledger, ends them all, as it ends a study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from study.execution import measuring
from study.execution.confirm import Asked, confirming, due, keep_results, look
from study.execution.members import Listener, Member
from study.execution.runner import begun, execute, is_new, made_from
from study.question.config import MemberConfig, StudyConfig
from study.record.lines import Reading
from study.record.place import Place
from trainables.errors import UserError


@dataclass(frozen=True)
class Joining:
    """A member that is to run, or to be confirmed."""

    how: MemberConfig
    """Its name, priority and most trials at a time."""
    config: StudyConfig
    place: Place
    reading: Reading


def run_suite(
    name: str,
    joining: Sequence[Joining],
    events: Listener,
    *,
    take_over: bool = False,
    address: str | None = None,
    max_failures: int | None = None,
) -> dict[str, str]:
    """Run these members of the suite `name`, or go on with them; returns member -> why it could not begin.

    Raises `UserError` and `KeyboardInterrupt` as `run_study` does.
    """

    @contextmanager
    def begin(member: Joining, hear: Listener) -> Iterator[Member]:
        hear({"event": "waiting", "for": "data and encoder"})
        known = made_from(member.config)
        config = measuring.begun(member.config) if is_new(member.place, member.reading) else member.config
        with begun(config, member.place, known, member.reading, hear, take_over, max_failures) as ours:
            yield ours

    return _together(name, joining, begin, events, address)


def confirm_suite(
    name: str,
    joining: Sequence[Joining],
    events: Listener,
    *,
    runners_up: int = 0,
    again: bool = False,
    take_over: bool = False,
    address: str | None = None,
) -> dict[str, str]:
    """Confirm these members of the suite `name`, each as `confirm_study` does; returns member -> why it was not."""
    refused: dict[str, str] = {}
    wanted, is_due = Asked(runners_up, again), set[str]()
    seen: dict[str, int] = {}

    def begin(member: Joining, hear: Listener) -> AbstractContextManager[Member]:
        hear({"event": "waiting", "for": "data and encoder, with the test split"})
        return confirming(member.config, member.place, member.reading, wanted, hear, take_over)

    left = list(joining)
    while left:  # once, or with looks at a confirmation until none is left that has brought further trials
        for member in left:
            record = member.reading.update()
            seen[member.how.name] = len(record.looks)
            is_due.discard(member.how.name)
            try:
                if due(member.config, record, runners_up, again):
                    is_due.add(member.how.name)
            except UserError as error:
                refused[member.how.name] = str(error)
        left = [m for m in left if m.how.name in is_due]
        refused |= _together(name, left, begin, events, address, lambda m, ours: look(ours, m.place, m.reading))
        left = [m for m in left if m.how.name not in refused and len(m.reading.update().looks) > seen[m.how.name]]
    for member in joining:
        if member.how.name not in refused:
            try:
                keep_results(member.config, member.reading.update(), member.place)
            except UserError as error:
                refused[member.how.name] = str(error)
    return refused


def _together(
    name: str,
    joining: Sequence[Joining],
    begin: Callable[[Joining, Listener], AbstractContextManager[Member]],
    events: Listener,
    address: str | None,
    end: Callable[[Joining, Member], object] = lambda joining, member: None,
) -> dict[str, str]:
    """Run what `begin` gives of each member, until nothing is left, and `end` each; member -> why it could not begin,
    or end."""
    refused, running, ending = {}, [], []
    with ExitStack() as ledgers:
        for member in joining:
            hear = partial(_heard_of, member.how.name, events)
            try:
                ours = ledgers.enter_context(begin(member, hear))
            except UserError as error:
                refused[member.how.name] = str(error)
                hear({"event": "note", "words": f"left out: {error}"})
                continue
            how = member.how
            ending.append((member, ours))
            running.append(replace(ours, name=how.name, priority=how.priority, at_once=how.at_once))
        if any(member.trials.remaining for member in running):
            execute(running, name, events, address)
        for member, ours in ending:
            try:
                end(member, ours)
            except UserError as error:
                refused[member.how.name] = str(error)
    return refused


def _heard_of(member: str, events: Listener, event: Mapping[str, Any]) -> None:
    """An event of a member's, with its name."""
    events({**event, "member": member})
