"""Failed trials run again, under their numbers: which of them may, and how the ledger has it.

A trial that failed by no fault of its own (its workers were lost, memory or disk ran out) goes on from its last
checkpoint, where it still has one, and its reports so far count. Any other begins anew, and so does one whose
checkpoint is gone: what its earlier attempts reported no longer counts. Either way the next attempt is a new one,
reports of older ones are refused, and the optimiser hears of the trial once, with its new outcome.

Once the test split is open, trials of phase `run` stay as they are: what goes to it was chosen among them. Failed
trials of `confirm` run again under the same configuration and seed, which is nothing new on the test split, so that it
is not opened once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.execution.checkpoints import Checkpoints
from study.record import faults
from study.record.ledger import Ledger
from study.record.lines import Reading
from study.record.record import RETRYING, Phase, StudyRecord, TrialRecord
from study.record.version import code_version
from trainables.errors import UserError


@dataclass(frozen=True)
class Chosen:
    """Failed trials of one phase that are to run again."""

    phase: Phase
    numbers: tuple[int, ...]
    left: str = ""
    """Why other failed trials are not among them, in one line."""


def choose(name: str, record: StudyRecord, wanted: Sequence[int] = (), force: bool = False) -> Chosen:
    """The failed trials of the study `name` that may run again: those `wanted`, or all; `force`: own faults too.

    Raises `UserError` for a trial that is unknown or did not fail, where one that is wanted failed by its own fault or
    is no longer open to it, and where none is left.
    """
    _check_failed(name, record, wanted)
    phase = record.phase
    failed = [t for t in record.trials.values() if t.state == "FAIL" and (not wanted or t.number in wanted)]
    if not failed:
        raise UserError(f"{name}: no trial failed")
    closed = [t for t in failed if t.phase != phase]
    own = [t for t in failed if t.phase == phase and faults.own(t.error) and not force]
    left = [*_closed(closed), *_own(own)]
    numbers = tuple(t.number for t in failed if t not in closed and t not in own)
    if left and (wanted or not numbers):
        raise UserError(f"{name}: {'; '.join(left)}")
    return Chosen(phase, numbers, "; ".join(left))


def check_failures(most: int | None, record: StudyRecord, numbers: Sequence[int]) -> None:
    """Raise `UserError` where the trials that stay failed stop the study before these could run."""
    others = sum(t.phase == "run" and t.state == "FAIL" and t.number not in numbers for t in record.trials.values())
    if most is not None and others >= most:
        raise UserError(
            f"search.max_failures: {others} other trials failed, which stops the study at once; allow more with "
            f"--max-failures (got {most})"
        )


def reopen(ledger: Ledger, reading: Reading, checkpoints: Checkpoints, numbers: Sequence[int]) -> StudyRecord:
    """Take back the failures of these trials; returns the ledger's record after that.

    `reading` and `checkpoints` are as this driver found them. Whoever is killed in between has lost nothing: a trial
    has failed still, or waits to be handed out.
    """
    record = reading.record
    failed = [record.trials[n] for n in numbers if record.trials[n].state == "FAIL"]
    if not failed:
        return record
    if record.schema < RETRYING:
        ledger.append(
            "study",
            schema=RETRYING,
            uuid=record.uuid,
            config=record.config,
            code_version=code_version(),
            fingerprints=record.fingerprints,
            protocol_hash=record.protocol_hash,
        )
    for trial in failed:
        fresh = trial.number not in checkpoints.left  # who failed by its own fault never is
        if fresh:
            checkpoints.restart(trial.number)
        ledger.append("retried", trial=trial.number, attempt=trial.attempts + 1, fresh=fresh)
    return reading.update()


def _check_failed(name: str, record: StudyRecord, wanted: Sequence[int]) -> None:
    for number in wanted:
        if number not in record.trials:
            known = f"it has 0 to {max(record.trials)}" if record.trials else "it has none yet"
            raise UserError(f"{name}: no such trial, {known} (got {number})")
        if (state := record.trials[number].state) != "FAIL":
            words = {"COMPLETE": "it is complete", "PRUNED": "it was stopped early"}.get(state, "it has not ended")
            raise UserError(f"{name}: trial {number} did not fail, {words}")


def _closed(trials: Sequence[TrialRecord]) -> list[str]:
    """Why trials of phase `run` stay as they are."""
    words = _named([t.number for t in trials])
    return [f"{words} of phase run can no longer be retried, the test split was opened"] if trials else []


def _own(trials: Sequence[TrialRecord]) -> list[str]:
    """Which trials failed by their own fault, and of what."""
    causes: dict[str, list[int]] = {}
    for trial in trials:
        causes.setdefault(faults.last_line(trial.error or "") or "of an unknown cause", []).append(trial.number)
    words = ", ".join(f"{_named(numbers)} ({cause})" for cause, numbers in causes.items())
    return [f"failed by their own fault, and run again with --force only: {words}"] if trials else []


def _named(numbers: Sequence[int]) -> str:
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
