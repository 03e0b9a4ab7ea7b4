"""ask() · report() -> continue | stop · finish(): the ledger first, then whoever proposes. Knows no Ray.

`Trials` is everything about a study's trials that must survive a crash: it is rebuilt from the ledger's record alone,
and after any failed append the process must do just that.

What is a trial's fault and what is not: an exception fails the trial. Lost workers and a lost peer give it another
attempt. What any other trial would meet as well (a full disk, a lost mailbox, no sign of life from workers for
`scaling.worker_wait_minutes`) *halts* the study: the others write their checkpoints, nothing is recorded as failed, the
cause is said, and ``study resume`` goes on. A trial that failed stays so unless it is retried (see `retry`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from search_spaces.dimensions import Point
from study.proposals.arms import Arm, Planned, confirm_arm, run_arms
from study.proposals.outcomes import ending, feedback_of, intermediate, measure
from study.proposals.proposer import Fixed, Outcome, Proposed
from study.proposals.replay import replay
from study.proposals.search import Search
from study.proposals.spending import Spending
from study.question.checks import check
from study.question.config import StudyConfig
from study.record.faults import last_line
from study.record.ledger import Ledger
from study.record.record import Phase, StudyRecord, TrialRecord
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.scores import Evaluation, Split

Verdict = Literal["continue", "stop"]

ALIKE = 3
"""First trials that, failing with the same last line, stop the study: the cause is not in the points."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run now."""

    number: int
    attempt: int
    """1, or more for a trial that was interrupted, or failed and is retried."""
    phase: Phase
    kind: str
    control: str | None
    point: Point
    trial: TrialConfig
    mean: str | None = None
    """The mean of other trials' weights that is scored in place of a training."""
    averaged: tuple[int, ...] = ()
    """The trials that it is of."""


@dataclass
class _Live:
    """A trial that was handed out."""

    arm: Arm
    trial: TrialConfig
    attempt: int
    evaluations: dict[tuple[Split, int], Evaluation]
    stopped: bool = False
    broken: str | None = None
    """Why its scores are no scores."""


class Trials:
    """The trials of one phase of a study; one instance in the one driver process that owns the ledger."""

    def __init__(
        self, config: StudyConfig, ledger: Ledger, record: StudyRecord, plan: Sequence[Planned] | None = None
    ) -> None:
        """Take up where `record` (of this ledger, read after it was opened) ends.

        `plan` makes it phase `confirm`. Points that are fixed in advance are all in the ledger when this returns.
        Raises `UserError` for a configuration that makes no sense, or that is not the one of the ledger's design.
        """
        check(config)
        self.config, self.ledger = config, ledger
        self.phase: Phase = "run" if plan is None else "confirm"
        self.final_split: Split = "validation" if plan is None else "test"
        self.stopped: str | None = None
        """Why no more trials are handed out although some are left."""
        self.spent = False
        """Whether that is a budget, which no resumed study has again."""
        self._next = max(record.trials, default=-1) + 1
        self._live: dict[int, _Live] = {}
        self._waiting: deque[TrialRecord] = deque()
        self._failures = 0
        self._endings: list[str | None] = []
        """Last lines of the errors of the first trials that ended in this process."""
        self._arms = run_arms(config, record.trials.values()) if plan is None else [confirm_arm(plan)]
        self._spending = Spending.of(config, record) if plan is None else None
        self._learn(record.borrowed)
        self._restore(t for t in record.trials.values() if t.phase == self.phase)
        self._write_plans()

    @property
    def live(self) -> tuple[int, ...]:
        """Numbers of trials handed out and not finished."""
        return tuple(self._live)

    @property
    def remaining(self) -> int:
        """Trials still to be handed out, interrupted ones included; none once the study stopped."""
        return 0 if self.stopped else len(self._waiting) + sum(arm.proposer.remaining() for arm in self._arms)

    def ask(self) -> Proposal | None:
        """The next trial to run: interrupted and retried ones first, under their number. None: there is none, for good.

        A point that makes no valid trial is recorded as failed, and the next one is returned.
        """
        while self.remaining and not self._is_spent():
            if self._waiting:
                record = self._waiting.popleft()
                proposal = self._hand_out(record, self._arm_of(record))
            else:
                arm = min(
                    (a for a in self._arms if a.proposer.remaining()), key=lambda a: (a.turn, -a.proposer.remaining())
                )
                proposal = self._hand_out(self._ask(arm), arm)
            if proposal is not None:
                return proposal
        return None

    def started(self, number: int, attempt: int) -> None:
        """A trial's workers begin an execution of it; reports of earlier ones no longer count."""
        live = self._live.get(number)
        if live is not None and attempt >= live.attempt:
            self.ledger.append("started", trial=number, attempt=attempt)
            live.attempt = attempt

    def report(self, number: int, attempt: int, evaluation: Evaluation) -> Verdict:
        """Record an evaluation; whether its trial shall go on.

        Evaluations that are recorded already are not recorded again, but the last one is judged again: the driver may
        have died between the record and the verdict. An older attempt is told to stop, and changes nothing.
        """
        live = self._live.get(number)
        if live is None or attempt < live.attempt:
            return "stop"
        assert self.phase == "confirm" or evaluation.split == "validation", "the test split is closed in run"
        if attempt > live.attempt:
            self.started(number, attempt)
        key = evaluation.split, evaluation.step
        known = live.evaluations
        if key not in known:
            data = evaluation.to_json()
            self.ledger.append("report", trial=number, attempt=attempt, step=evaluation.step, evaluation=data)
            known[key] = evaluation
            if self._spending is not None:
                self._spending.report(number, evaluation)
        elif evaluation.step < max(step for _, step in known):
            return "continue"
        return self._judge(number, live, known[key])

    def finish(self, number: int, attempt: int | None = None, error: str | None = None) -> Outcome | None:
        """Record how a trial ended: failed with `error`, else stopped if it was told to, else completed.

        Without a final evaluation, or with scores that are no numbers, it has failed too. An older attempt ends nothing
        (None).
        """
        live = self._live.get(number)
        if live is None or (attempt is not None and attempt < live.attempt):
            return None
        decisive = sorted((key for key in live.evaluations if key[0] == self.final_split), key=lambda key: key[1])
        evaluations = [live.evaluations[key] for key in decisive]
        heard, problem = ending(self.config, evaluations, live.stopped, error if error is not None else live.broken)
        outcome = heard.outcome
        assert outcome is not None, "an ending has an outcome"
        self.ledger.append("finished", trial=number, attempt=live.attempt, outcome=outcome, error=problem)
        del self._live[number]
        live.arm.proposer.tell(number, heard)
        if self._spending is not None and live.arm.name == "main":
            self._spending.end(heard)
        self._note(problem if outcome == "FAIL" else None)
        return outcome

    def _ask(self, arm: Arm) -> TrialRecord:
        number = self._next
        proposed = arm.proposer.propose(number)
        row = self.ledger.append(
            "asked",
            trial=number,
            phase=self.phase,
            kind=proposed.kind,
            control=proposed.control,
            point=proposed.point,
            distributions=proposed.distributions,
            attributes=proposed.attributes,
        )
        self._next += 1
        return TrialRecord(
            number,
            self.phase,
            proposed.kind,
            proposed.control,
            dict(proposed.point),
            {},
            dict(proposed.attributes),
            asked=row["time"],
        )

    def _hand_out(self, record: TrialRecord, arm: Arm) -> Proposal | None:
        number, attempt = record.number, record.attempts + 1
        known = {(r.split, r.step): r.evaluation for r in record.reports}
        try:
            trial = apply_point(self.config.trial, record.point)
        except UserError as error:
            self._live[number] = _Live(arm, self.config.trial, attempt, known)
            self.finish(number, error=str(error))
            return None
        self._live[number] = _Live(arm, trial, attempt, known)
        mean, averaged = record.attributes.get("mean"), tuple(record.attributes.get("trials", ()))
        return Proposal(number, attempt, self.phase, record.kind, record.control, record.point, trial, mean, averaged)

    def _judge(self, number: int, live: _Live, evaluation: Evaluation) -> Verdict:
        """Continue or stop after an evaluation: scores that are no numbers stop a trial, and so does the pruner."""
        if self.phase == "confirm":
            return "continue"
        measured = measure(self.config, evaluation)
        live.broken = live.broken or measured.broken
        if live.broken:
            return "stop"
        value = intermediate(self.config, measured)
        if value is not None and live.arm.proposer.report(number, evaluation.step, value) and not evaluation.final:
            live.stopped = True
        return "stop" if live.stopped else "continue"

    def _note(self, problem: str | None) -> None:
        """Count endings, and stop the study where going on makes no sense."""
        self._failures += problem is not None
        if len(self._endings) < ALIKE:
            self._endings.append(last_line(problem or "") or None)
            first = self._endings[0]
            if len(self._endings) == ALIKE and first is not None and set(self._endings) == {first}:
                self.stopped = f"the first {ALIKE} trials failed alike: {first}"
        self._bound_failures()

    def _bound_failures(self) -> None:
        most = self.config.search.max_failures
        if most is not None and self._failures >= most:
            self.stopped = f"{self._failures} trials failed, search.max_failures is {most}"

    def _is_spent(self) -> bool:
        """Whether new trials may no longer start; interrupted ones may, and come first."""
        is_new = all(record.attempts == 0 for record in self._waiting)
        if self._spending is not None and is_new and (cause := self._spending.cause()):
            self.stopped, self.spent = cause, True
        return self.stopped is not None

    def _learn(self, borrowed: Iterable[TrialRecord]) -> None:
        main = next((a.proposer for a in self._arms if a.name == "main"), None)
        if isinstance(main, Search):
            for record in borrowed:
                main.learn(Proposed("borrowed", record.point, record.distributions), feedback_of(self.config, record))

    def _restore(self, records: Iterable[TrialRecord]) -> None:
        known = [(record, self._arm_of(record), feedback_of(self.config, record)) for record in records]
        replay(self.config.name, [(record, arm.proposer, heard) for record, arm, heard in known])
        self._failures = sum(record.state == "FAIL" for record, _, _ in known)
        self._bound_failures()
        unfinished = (record for record, _, _ in known if not record.ended)
        self._waiting.extend(sorted(unfinished, key=lambda record: record.attempts == 0))

    def _write_plans(self) -> None:
        for arm in self._arms:
            if isinstance(arm.proposer, Fixed):
                while arm.proposer.remaining():
                    self._waiting.append(self._ask(arm))

    def _arm_of(self, record: TrialRecord) -> Arm:
        if self.phase == "confirm":
            return self._arms[0]
        name = "baseline" if record.kind == "baseline" else "control" if record.control else "main"
        whose = name, record.arm
        found = next((a for a in self._arms if (a.name, a.treatment) == whose), None)
        if found is None:
            raise UserError(f"{self.config.name}: the ledger has {record.kind} trials, this configuration has none")
        return found
