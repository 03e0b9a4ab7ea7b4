"""ask() · report() -> continue | stop · finish(): the ledger first, then whoever proposes. Knows no Ray.

`Trials` is everything about a study's trials that must survive a crash: it is rebuilt from the ledger's record alone,
and after any failed append the process must do just that.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from search_spaces import Point, Space, load
from study import objectives, protocol
from study.checks import check
from study.config import StudyConfig
from study.designs import design
from study.ledger import Ledger
from study.proposals import Fixed, Outcome, Proposed, Proposer, Search, Told, distributions_json
from study.record import Phase, StudyRecord, TrialRecord
from study.spending import Spending
from trainables.config import TrialConfig
from trainables.loading import UserError, apply_point
from trainables.scores import Evaluation, Split

Verdict = Literal["continue", "stop"]

ALIKE = 3
"""First trials that, failing with the same last line, stop the study: the cause is not in the points."""

PERTURBING = ("perturbation.", "augmentation.")
"""Paths of the knobs that control (b) does without."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run now."""

    number: int
    attempt: int
    """1, or more for a trial that was interrupted."""
    phase: Phase
    kind: str
    control: str | None
    point: Point
    trial: TrialConfig


@dataclass(frozen=True)
class Planned:
    """A trial of the fixed design of `confirm`."""

    point: Point
    kind: str
    control: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Arm:
    """A source of trials: the baseline, the search or design itself, control (b)'s own."""

    name: str
    proposer: Proposer


@dataclass
class _Live:
    """A trial that was handed out."""

    arm: _Arm
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
        self._next = max(record.trials, default=-1) + 1
        self._live: dict[int, _Live] = {}
        self._waiting: deque[TrialRecord] = deque()
        self._failures = 0
        self._endings: list[str | None] = []
        """Last lines of the errors of the first trials that ended in this process."""
        self._arms = _run_arms(config) if plan is None else [_confirm_arm(plan)]
        self._spending = Spending(config, record.active_seconds) if plan is None else None
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
        """The next trial to run: interrupted ones first, under their number. None: there is none, for good.

        A point that makes no valid trial is recorded as failed, and the next one is returned.
        """
        while self.remaining and not self._is_spent():
            if self._waiting:
                record = self._waiting.popleft()
                proposal = self._hand_out(record, self._arm_of(record.kind, record.control))
            else:
                arm = next(a for a in self._arms if a.proposer.remaining())
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
        told, problem = _ending(self.config, live, self.final_split, error)
        outcome = told.outcome
        assert outcome is not None, "an ending has an outcome"
        self.ledger.append("finished", trial=number, attempt=live.attempt, outcome=outcome, error=problem)
        del self._live[number]
        live.arm.proposer.tell(number, told)
        if self._spending is not None and live.arm.name == "main":
            self._spending.end(told)
        self._note(problem if outcome == "FAIL" else None)
        return outcome

    def _ask(self, arm: _Arm) -> TrialRecord:
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
            number, self.phase, proposed.kind, proposed.control, dict(proposed.point), {}, {}, asked=row["time"]
        )

    def _hand_out(self, record: TrialRecord, arm: _Arm) -> Proposal | None:
        number, attempt = record.number, record.attempts + 1
        known = {(r.split, r.step): r.evaluation for r in record.reports}
        try:
            trial = apply_point(self.config.trial, record.point)
        except UserError as error:
            self._live[number] = _Live(arm, self.config.trial, attempt, known)
            self.finish(number, error=str(error))
            return None
        self._live[number] = _Live(arm, trial, attempt, known)
        return Proposal(number, attempt, self.phase, record.kind, record.control, record.point, trial)

    def _judge(self, number: int, live: _Live, evaluation: Evaluation) -> Verdict:
        """Continue or stop after an evaluation: scores that are no numbers stop a trial, and so does the pruner."""
        if self.phase == "confirm":
            return "continue"
        live.broken = live.broken or _broken(self.config, evaluation)
        if live.broken:
            return "stop"
        value = _intermediate(self.config, evaluation)
        if value is not None and live.arm.proposer.report(number, evaluation.step, value) and not evaluation.final:
            live.stopped = True
        return "stop" if live.stopped else "continue"

    def _note(self, problem: str | None) -> None:
        """Count endings, and stop the study where going on makes no sense."""
        self._failures += problem is not None
        if len(self._endings) < ALIKE:
            self._endings.append(problem.strip().splitlines()[-1] if problem and problem.strip() else None)
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
            self.stopped = cause
        return self.stopped is not None

    def _learn(self, borrowed: Iterable[TrialRecord]) -> None:
        main = next((a.proposer for a in self._arms if a.name == "main"), None)
        if isinstance(main, Search):
            for record in borrowed:
                main.learn(Proposed("borrowed", record.point, record.distributions), told(self.config, record))

    def _restore(self, records: Iterable[TrialRecord]) -> None:
        known = [(record, self._arm_of(record.kind, record.control), told(self.config, record)) for record in records]
        for record, arm, heard in known:
            proposed = Proposed(record.kind, record.point, record.distributions, record.attributes, record.control)
            try:
                arm.proposer.restore(record.number, proposed, heard)
            except ValueError as error:
                raise UserError(f"{self.config.name}: trial {record.number}: {error}") from error
        self._failures = sum(record.state == "FAIL" for record, _, _ in known)
        self._bound_failures()
        unfinished = (record for record, _, _ in known if not record.ended)
        self._waiting.extend(sorted(unfinished, key=lambda record: record.state != "running"))
        if self._spending is not None:
            for record, _, _ in known:
                if record.reports:
                    self._spending.report(record.number, record.reports[-1].evaluation)
            ended = [(record.finished, heard) for record, arm, heard in known if record.ended and arm.name == "main"]
            for _, heard in sorted(ended, key=lambda each: each[0] or 0.0):
                self._spending.end(heard)

    def _write_plans(self) -> None:
        for arm in self._arms:
            if isinstance(arm.proposer, Fixed):
                while arm.proposer.remaining():
                    self._waiting.append(self._ask(arm))

    def _arm_of(self, kind: str, control: str | None) -> _Arm:
        if self.phase == "confirm":
            return self._arms[0]
        name = "baseline" if kind == "baseline" else "control" if control else "main"
        found = next((a for a in self._arms if a.name == name), None)
        if found is None:
            raise UserError(f"{self.config.name}: the ledger has {kind} trials, this configuration has none")
        return found


def told(config: StudyConfig, record: TrialRecord) -> Told:
    """What an optimiser hears of a recorded trial of phase `run`."""
    outcome: Outcome | None = None if record.state in ("asked", "running") else record.state  # type: ignore[assignment]
    evaluations = [r.evaluation for r in record.reports if r.split == "validation"]
    intermediate = {}
    for evaluation in evaluations:
        value = _intermediate(config, evaluation)
        if value is not None:
            intermediate[evaluation.step] = value
    if outcome != "COMPLETE" or record.phase == "confirm":
        return Told(outcome, None, intermediate)
    try:
        result = protocol.result(evaluations, protocol.trial_config(config, record))
        assert result is not None, "a completed trial has a final evaluation"
        values, constraints = _values(config, result)
    except objectives.UnscoredError:  # completed under objectives that were others then
        return Told("FAIL", None, intermediate)
    return Told(outcome, values, intermediate, constraints)


def _ending(config: StudyConfig, live: _Live, split: Split, error: str | None) -> tuple[Told, str | None]:
    """How a trial ended, as the optimiser and as the ledger hear it."""
    ordered = [live.evaluations[key] for key in sorted(live.evaluations, key=lambda k: k[1]) if key[0] == split]
    result = protocol.result(ordered, live.trial)
    problem = error if error is not None else live.broken
    if problem is not None:
        return Told("FAIL"), problem
    if live.stopped:
        return Told("PRUNED"), None
    if result is None:
        return Told("FAIL"), "it ended without a final evaluation"
    if split == "test":
        return Told("COMPLETE"), None
    try:
        values, constraints = _values(config, result)
    except objectives.UnscoredError as unscored:
        return Told("FAIL"), f"no objective: {unscored}"
    return Told("COMPLETE", values, constraints=constraints), None


def _values(config: StudyConfig, evaluation: Evaluation) -> tuple[tuple[float, ...], dict[str, float]]:
    """Objectives and violations of constraints, by what the selection rule may read. Raises `UnscoredError`."""
    seen = protocol.visible(evaluation, config)
    values, constraints = [], {}
    for objective in config.search.objectives:
        if objective.threshold is None:
            values.append(objectives.value(objective, seen, config))
        else:
            name = f"{objective.reduce}{f' of {objective.metric}' if objective.metric else ''}"
            constraints[name] = objectives.violation(objective, seen, config)
    if not all(map(math.isfinite, (*values, *constraints.values()))):
        raise objectives.UnscoredError("its value is not finite")
    return tuple(values), constraints


def _intermediate(config: StudyConfig, evaluation: Evaluation) -> float | None:
    """The value of the only objective; None where there are several, it is not scored here, or the model is broken."""
    optimised = [o for o in config.search.objectives if o.threshold is None]
    if len(optimised) > 1 or _broken(config, evaluation):
        return None
    try:
        return objectives.value(optimised[0], protocol.visible(evaluation, config), config)
    except objectives.UnscoredError:
        return None


def _broken(config: StudyConfig, evaluation: Evaluation) -> str | None:
    """Why an evaluation is that of a broken model, or None."""
    loss = evaluation.training.get("loss", 0.0)
    if not math.isfinite(loss):
        return f"the training loss is not finite at step {evaluation.step} (got {loss})"
    for objective in config.search.objectives:
        try:
            value = objectives.value(objective, protocol.visible(evaluation, config), config)
        except objectives.UnscoredError:
            continue
        if not math.isfinite(value):
            return f"{objective.reduce} is not finite at step {evaluation.step} (got {value})"
    return None


def _run_arms(config: StudyConfig) -> list[_Arm]:
    """Baseline, search or design, and control (b)'s own if the study tunes it."""
    space = load(config.search.space) if config.search.space is not None else None
    baseline = _replicated(config, [Proposed("baseline", dict(protocol.BASELINE))])
    arms = [_Arm("baseline", Fixed(baseline))]
    if space is None:
        is_perturbed = protocol.unperturbed(config.trial) != config.trial
        single = _replicated(config, [Proposed("single", {})]) if is_perturbed else []
        return [*arms, _Arm("main", Fixed(single))]
    left = config.search.trials - len(baseline)
    arms.append(_Arm("main", _proposer(config, space, left, None)))
    others = space.without(PERTURBING)
    if config.protocol.tune_controls and others.searched:
        arms.append(_Arm("control", _proposer(config, others, left, "b")))
    return arms


def _proposer(config: StudyConfig, space: Space, trials: int, control: str | None) -> Proposer:
    """The search or the design over a space, of equal size for the study itself and for control (b)."""
    search, name = config.search, "search" if control is None else f"control {control}"
    extra = {} if control is None else dict(protocol.BASELINE)
    if search.mode == "search":
        return Search(
            name,
            space,
            search,
            trials,
            control=control,
            extra=extra,
            enqueue=search.enqueue if control is None else (),
            every=config.trial.evaluation.every,
            steps=config.trial.training.budget.steps,
        )
    levels = {k: v for k, v in search.levels.items() if k in space}
    points = design(space, search.sampler, trials // search.replicates, search.seed, levels)
    planned = [
        Proposed(
            "design" if control is None else "control",
            {**extra, **point},
            distributions_json({d.path: d.distribution for d in space.searched if d.path in point}),
            control=control,
        )
        for point in points
    ]
    return Fixed(_replicated(config, planned))


def _replicated(config: StudyConfig, planned: Sequence[Proposed]) -> list[Proposed]:
    """Each point under each training seed of the study."""
    seeds = protocol.run_seeds(config)
    if len(seeds) == 1:
        return list(planned)
    return [replace(p, point={**p.point, "training.seed": seed}) for p in planned for seed in seeds]


def _confirm_arm(plan: Sequence[Planned]) -> _Arm:
    planned = [Proposed(p.kind, p.point, {}, p.attributes, p.control) for p in plan]
    return _Arm("confirm", Fixed(planned))
