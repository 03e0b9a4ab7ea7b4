"""What is spent of patience, cost and time, trial by trial."""

from __future__ import annotations

import time
from typing import Any

import pytest

from study.proposals.proposer import Feedback, Outcome
from study.proposals.spending import Spending
from study.question.config import StudyConfig
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

SOURCE: dict[str, Any] = {"reduce": "source"}
FLOOR: dict[str, Any] = {"reduce": "language:de", "threshold": 0.5}


def spending(objectives: tuple[dict[str, Any], ...] = (SOURCE,), earlier: float = 0.0, **search: Any) -> Spending:
    data = {"name": "x", "search": {"objectives": list(objectives), **search}}
    return Spending(validate(StudyConfig, data), earlier)


def complete(value: float, violation: float | None = None) -> Feedback:
    return Feedback("COMPLETE", (value,), {}, {} if violation is None else {"language:de": violation})


def spent(*ends: Feedback, objectives: tuple[dict[str, Any], ...] = (SOURCE,), patience: int = 2) -> list[bool]:
    """After each ended trial, whether patience is at its end."""
    mine = spending(objectives, patience=patience)
    found = []
    for feedback in ends:
        mine.end(feedback)
        found.append(mine.cause() is not None)
    return found


def test_patience_counts_the_trials_since_the_best() -> None:
    ends = [complete(v) for v in (0.5, 0.4, 0.6, 0.6, 0.1)]
    assert spent(*ends) == [False, False, False, False, True]
    mine = spending(patience=2)
    for feedback in ends:
        mine.end(feedback)
    assert mine.cause() == "no improvement over 2 trials, search.patience is 2"


def test_infeasible_trials_try_patience_however_good_they_are() -> None:
    """A trial that breaks a constraint is no result: better values of such trials are no improvement."""
    objectives = (SOURCE, FLOOR)
    ends = [complete(0.5, 0.0), complete(0.8, 0.1), complete(0.9, 0.2)]
    assert spent(*ends, objectives=objectives) == [False, False, True]
    # What they reached does not stand in the way of those that come after.
    again = [complete(0.5, -0.1), complete(0.9, 0.1), complete(0.6, 0.0), complete(0.55, 0.0), complete(0.99, 0.3)]
    assert spent(*again, objectives=objectives) == [False, False, False, False, True]


def test_a_search_that_finds_nothing_feasible_runs_out_of_patience() -> None:
    ends = [complete(value, 0.1) for value in (0.1, 0.2, 0.3)]
    assert spent(*ends, objectives=(SOURCE, FLOOR), patience=3) == [False, False, True]


def test_the_best_is_that_of_the_objective_without_a_threshold_in_its_own_direction() -> None:
    ends = [complete(value, 0.0) for value in (0.5, 0.3, 0.4, 0.3)]
    falling = {**SOURCE, "direction": "minimize"}
    assert spent(*ends, objectives=(FLOOR, falling)) == [False, False, False, True]
    assert spent(*ends, objectives=(FLOOR, SOURCE)) == [False, False, True, True]


@pytest.mark.parametrize("outcome", ["FAIL", "PRUNED"])
def test_trials_without_a_value_try_patience_too(outcome: Outcome) -> None:
    assert spent(complete(0.5), Feedback(outcome), complete(0.5)) == [False, False, True]


def evaluation(step: int, cost: float) -> Evaluation:
    scores = {"accuracy": LanguageScores({"en": 0.5}, {"en": 4})}
    return Evaluation(step, "validation", scores, cost={"forward_equivalents": cost})


def test_cost_is_the_last_of_each_trial_added_up() -> None:
    mine = spending(max_forward_equivalents=50)
    mine.report(1, evaluation(10, 20.0))
    mine.report(1, evaluation(20, 30.0))
    mine.report(2, evaluation(10, 19.5))
    assert mine.forward_equivalents == 49.5 and mine.cause() is None
    mine.report(2, evaluation(20, 20.0))
    assert mine.cause() == "50 forward-equivalents were spent, the limit is 50"


def test_time_is_that_of_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    mine = spending(earlier=1800.0, max_hours=1.0)
    clock[0] += 1799.0
    assert mine.cause() is None
    clock[0] += 1.0
    assert mine.cause() == "1.00 h were spent, search.max_hours is 1"


def test_nothing_ends_a_study_without_limits() -> None:
    mine = spending()
    for _ in range(50):
        mine.end(complete(0.1))
    mine.report(1, evaluation(10, 1e9))
    assert mine.cause() is None
