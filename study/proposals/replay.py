"""A ledger's trials, told once more to those that proposed them.

In the order in which it all happened: what a pruner remembers of a trial, and which history a sampler keeps, depend on
what was known of the others then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from study.proposals.proposer import Feedback, Proposed, Proposer
from study.record.record import TrialRecord
from trainables.errors import UserError


def replay(study: str, known: Iterable[tuple[TrialRecord, Proposer, Feedback]]) -> None:
    """Bring proposers to where they were by their trials, and what became of each.

    Raises `UserError` for a trial that its proposer can't have made.
    """
    moments = [moment for each in known for moment in _moments(study, *each)]
    for _, tell in sorted(moments, key=lambda moment: moment[0]):
        tell()


def _moments(
    study: str, record: TrialRecord, proposer: Proposer, heard: Feedback
) -> Iterator[tuple[int, Callable[[], object]]]:
    """What a proposer did and heard for a trial, each with its event's place in the ledger."""
    number = record.number
    yield record.asked_place, partial(_restore, study, record, proposer)
    for report in record.reports:
        if report.split == "validation" and report.step in heard.intermediate:
            yield report.place, partial(proposer.report, number, report.step, heard.intermediate[report.step])
    if record.ended:
        yield record.finished_place, partial(proposer.tell, number, heard)


def _restore(study: str, record: TrialRecord, proposer: Proposer) -> None:
    proposed = Proposed(record.kind, record.point, record.distributions, record.attributes, record.control)
    try:
        proposer.restore(record.number, proposed)
    except ValueError as error:
        raise UserError(f"{study}: trial {record.number}: {error}") from error
