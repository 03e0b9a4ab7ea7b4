"""Whose weights stay on the disk when a trial has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from study.execution.checkpoints import KEPT, Checkpoints
from study.question.config import StudyConfig
from study.record.record import StudyRecord
from tests.study.conftest import place_of
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores
from trainables.storage import checkpoint

TRIALS = [(0.1, 50.0), (0.5, 10.0), (0.3, 40.0), (0.7, 20.0), (0.2, 30.0)]
"""Score in the source language and cost."""


def written(checkpoints: Checkpoints, number: int, score: float, cost: float) -> None:
    scores = {"accuracy": LanguageScores({"en": score}, {"en": 4})}
    for step, final in ((10, False), (20, True)):
        evaluation = Evaluation(step, "validation", scores, {}, {"forward_equivalents": cost}, final)
        checkpoint.save(checkpoints.of(number), step, nn.Linear(2, 2), None, [evaluation])


@pytest.mark.parametrize(
    ("objective", "kept"),
    [
        ({"reduce": "source"}, {1, 2, 3}),
        ({"reduce": "cost:forward_equivalents", "direction": "minimize"}, {1, 3, 4}),
    ],
)
def test_the_last_weights_of_the_best_trials_stay(tmp_path: Path, objective: dict[str, Any], kept: set[int]) -> None:
    config = validate(StudyConfig, {"name": "x", "search": {"objectives": [objective]}})
    checkpoints = Checkpoints(config, StudyRecord(), place_of(tmp_path))
    for number, (score, cost) in enumerate(TRIALS):
        written(checkpoints, number, score, cost)
        checkpoints.finished(number, "COMPLETE")
    left = {int(path.name): checkpoint.steps(path) for path in checkpoints.folder.iterdir()}
    assert left == {number: [20] for number in kept}


@pytest.mark.parametrize(("keep", "kept"), [(1, {3}), (2, {1, 3}), ("all", {0, 1, 2, 3, 4})])
def test_as_many_stay_as_the_study_says(tmp_path: Path, keep: Any, kept: set[int]) -> None:
    search = {"objectives": [{"reduce": "source"}]}
    checkpoints = Checkpoints(
        validate(StudyConfig, {"name": "x", "search": search, "models": {"keep": keep}}),
        StudyRecord(),
        place_of(tmp_path),
    )
    for number, (score, cost) in enumerate(TRIALS):
        written(checkpoints, number, score, cost)
        checkpoints.finished(number, "COMPLETE")
    assert {int(path.name) for path in checkpoints.folder.iterdir()} == kept


def test_what_may_be_chosen_stays_before_what_may_not(tmp_path: Path) -> None:
    """Trial 3 is the baseline, trial 1 breaks a constraint; both score higher than what is chosen."""
    objectives = [{"reduce": "source"}, {"reduce": "cost:forward_equivalents", "threshold": 15}]
    config = validate(StudyConfig, {"name": "x", "search": {"objectives": objectives}, "models": {"keep": 1}})
    checkpoints = Checkpoints(config, StudyRecord(), place_of(tmp_path))
    for number, (score, cost) in enumerate(TRIALS):
        written(checkpoints, number, score, cost)
        checkpoints.finished(number, "COMPLETE", competes=number != 3)
    assert {int(path.name) for path in checkpoints.folder.iterdir()} == {2}


@pytest.mark.parametrize("outcome", ["FAIL", "PRUNED"])
def test_a_trial_that_did_not_complete_leaves_nothing(tmp_path: Path, outcome: Any) -> None:
    checkpoints = Checkpoints(validate(StudyConfig, {"name": "x"}), StudyRecord(), place_of(tmp_path))
    written(checkpoints, 0, 0.9, 10.0)
    checkpoints.finished(0, outcome)
    assert not checkpoints.of(0).exists()


def test_those_that_failed_by_no_fault_of_their_own_keep_theirs(tmp_path: Path) -> None:
    checkpoints = Checkpoints(validate(StudyConfig, {"name": "x"}), StudyRecord(), place_of(tmp_path))
    for number in range(KEPT + 2):
        if number != 1:
            written(checkpoints, number, 0.5, 10.0)
        checkpoints.finished(number, "FAIL", error="its workers were lost 3 times")
    assert list(checkpoints.left) == [2, 3, 4], "of the latest that have one"
    assert [checkpoint.steps(checkpoints.of(number)) for number in range(5)] == [[], [], [10, 20], [10, 20], [10, 20]]
    checkpoints.finished(3, "COMPLETE")
    assert list(checkpoints.left) == [2, 4] and checkpoint.steps(checkpoints.of(3)) == [20]
    checkpoints.restart(2)
    assert list(checkpoints.left) == [4] and not checkpoints.of(2).exists()
