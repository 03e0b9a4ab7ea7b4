"""What a study has spent of its budgets: time, training cost, patience."""

from __future__ import annotations

import math
import time

from study.proposals.outcomes import feedback_of
from study.proposals.proposer import Feedback
from study.question.config import StudyConfig
from study.record.record import StudyRecord, TrialRecord
from trainables.scores import Evaluation


class Spending:
    """Adds up what `search.max_hours`, `max_forward_equivalents` and `patience` limit."""

    def __init__(self, config: StudyConfig, earlier: float = 0.0, recorded: str | None = None) -> None:
        """`earlier` is the time in seconds that was spent in sessions before this one; `recorded` why a driver found
        that no new trial should start, which is final."""
        self.search = config.search
        self._recorded = recorded
        self._opened = time.monotonic()
        self._earlier = earlier
        self._cost: dict[int, float] = {}
        self._best = -math.inf
        self._since_best = 0
        self._sign = 1 if self.search.optimised[0].direction == "maximize" else -1

    @classmethod
    def of(cls, config: StudyConfig, record: StudyRecord) -> Spending:
        """What the trials of phase `run` in a ledger have spent."""
        spending = cls(config, record.active_seconds, record.stopped if record.spent else None)
        trials = [t for t in record.trials.values() if t.phase == "run"] if spending.is_limited else []
        for trial in sorted(trials, key=lambda t: t.finished_place):
            if trial.reports:
                spending.report(trial.number, trial.reports[-1].evaluation)
            if trial.ended and trial.kind != "baseline" and trial.control is None:
                spending.end(feedback_of(config, trial))
        return spending

    @property
    def is_limited(self) -> bool:
        """Whether there is a budget beside the number of trials."""
        search = self.search
        return any(most is not None for most in (search.max_hours, search.max_forward_equivalents, search.patience))

    def report(self, number: int, evaluation: Evaluation) -> None:
        """A trial's cost so far."""
        self._cost[number] = evaluation.cost.get("forward_equivalents", 0.0)

    def end(self, feedback: Feedback) -> None:
        """A trial of the search itself has ended, with these values."""
        feasible = all(v <= 0 for v in feedback.constraints.values())
        value = self._sign * feedback.values[0] if feedback.values and feasible else -math.inf
        self._since_best = 0 if value > self._best else self._since_best + 1
        self._best = max(self._best, value)

    @property
    def hours(self) -> float:
        """Hours in which the study was running, in all sessions."""
        return (self._earlier + time.monotonic() - self._opened) / 3600

    @property
    def forward_equivalents(self) -> float:
        """Training cost of all trials of phase `run`, in passes over one batch."""
        return math.fsum(self._cost.values())

    def cause(self) -> str | None:
        """Why no new trial should start, or None."""
        search = self.search
        if self._recorded is not None:
            return self._recorded
        if search.max_hours is not None and self.hours >= search.max_hours:
            return f"{self.hours:.2f} h were spent, search.max_hours is {search.max_hours:g}"
        most = search.max_forward_equivalents
        if most is not None and self.forward_equivalents >= most:
            return f"{self.forward_equivalents:g} forward-equivalents were spent, the limit is {most:g}"
        if search.patience is not None and self._since_best >= search.patience:
            return f"no improvement over {self._since_best} trials, search.patience is {search.patience}"
        return None


def is_spent(config: StudyConfig, record: StudyRecord) -> bool:
    """Whether another budget than the number of trials ended phase `run`."""
    return Spending.of(config, record).cause() is not None


def unfinished(config: StudyConfig, record: StudyRecord) -> list[TrialRecord]:
    """Trials of phase `run` that are still to end: all that have begun and, until a budget is spent, those that were
    only asked."""
    left = [t for t in record.left if t.phase == "run"]
    return [t for t in left if t.attempts] if left and is_spent(config, record) else left
