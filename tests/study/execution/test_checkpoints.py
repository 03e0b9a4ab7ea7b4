"""Whose weights stay on the disk when a trial has ended."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from torch import nn

from study.execution.checkpoints import KEPT, MEANS, Checkpoints
from study.execution.runner import averaged
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_events, read_study
from study.record.record import StudyRecord
from tests.study.conftest import place_of
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores
from trainables.storage import checkpoint, soup

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


AVERAGING = validate(
    StudyConfig, {"name": "x", "search": {"objectives": [{"reduce": "source"}]}, "models": {"average": True, "keep": 1}}
)


def weighted(checkpoints: Checkpoints, number: int, kin: str, final: bool = True) -> None:
    """A trial whose only weight is its number."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, number)
    scores = {"accuracy": LanguageScores({"en": number / 10}, {"en": 4})}
    state = checkpoint.state(20, model, None, [Evaluation(20, "validation", scores, final=final)])
    checkpoint.write(checkpoints.of(number), replace(state, kin=kin))


def mean(checkpoints: Checkpoints, kin: str) -> float:
    found = checkpoint.latest(checkpoints.folder / MEANS / kin)
    assert found is not None
    return float(found.weights["weight"])


def test_all_completed_trials_are_in_the_mean_of_their_kin(tmp_path: Path) -> None:
    """Before their weights go: one trial's stay. Not a failed one's, nor those of `confirm` or of older versions."""
    told: list[tuple[int, str]] = []
    place = place_of(tmp_path)
    checkpoints = Checkpoints(AVERAGING, StudyRecord(), place, lambda number, kin: told.append((number, kin)))
    for number, kin in ((1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "a"), (8, "")):
        weighted(checkpoints, number, kin)
    for number in (3, 2, 1):
        checkpoints.finished(number, "COMPLETE", competes=number != 1)
    checkpoints.finished(4, "FAIL", error="ValueError")
    checkpoints.finished(5, "COMPLETE", phase="confirm")
    checkpoints.finished(8, "COMPLETE")
    assert told == [(3, "a"), (2, "b"), (1, "a")]
    assert (mean(checkpoints, "a"), mean(checkpoints, "b")) == (2.0, 2.0)
    assert {path.name for path in checkpoints.folder.iterdir()} == {MEANS, "8"}
    without = Checkpoints(validate(StudyConfig, {"name": "x"}), StudyRecord(), place_of(tmp_path / "other"))
    weighted(without, 1, "a")
    without.finished(1, "COMPLETE")
    assert not (without.folder / MEANS).exists()


@pytest.mark.parametrize("at", ["before", "added", "told", "reduced"])
def test_whoever_is_killed_counts_no_trial_twice(tmp_path: Path, at: str) -> None:
    """Between any two of: the trial has ended, its weights are in the mean, the ledger says so, they are gone."""

    class Killed(BaseException): ...

    path = tmp_path / "x" / "ledger.jsonl"
    empty: dict[str, Any] = {"code_version": "", "fingerprints": {}, "protocol_hash": ""}

    def driver(ledger: Ledger) -> Checkpoints:
        said = partial(averaged, ledger)
        return Checkpoints(AVERAGING, read_study(path), place_of(tmp_path / "x"), said)

    with Ledger.open(path) as ledger:
        ledger.append("study", uuid="0", config=AVERAGING.model_dump(mode="json"), **empty)
        first = driver(ledger)
        for number in (2, 4):
            weighted(first, number, "a")
            ledger.append("asked", trial=number, phase="run", kind="sampled", point={})
            ledger.append("finished", trial=number, attempt=1, outcome="COMPLETE", error=None)
        first.finished(2, "COMPLETE")
        where = {
            "before": patch.object(soup, "add", side_effect=Killed),
            "added": patch.object(ledger, "append", side_effect=Killed),
            "told": patch.object(first, "_reduce", side_effect=Killed),
            "reduced": patch.object(checkpoint, "keep_weights_only", side_effect=Killed),
        }[at]
        with where, pytest.raises(Killed):
            first.finished(4, "COMPLETE")
        second = driver(ledger)
        second.finished(4, "COMPLETE")
        events = [(e["trial"], e["mean"]) for e in read_events(path) if e["event"] == "averaged"]
    assert mean(second, "a") == 3.0
    assert events == [(2, "a"), (4, "a")]
    assert {t.number: t.mean for t in read_study(path).trials.values()} == {2: "a", 4: "a"}


def test_a_mean_that_cannot_be_written_loses_no_weights(tmp_path: Path) -> None:
    checkpoints = Checkpoints(AVERAGING, StudyRecord(), place_of(tmp_path))
    weighted(checkpoints, 1, "a")
    full = OSError(28, "No space left on device", "there")
    with patch.object(soup, "add", side_effect=full), pytest.raises(UserError, match="there: No space left"):
        checkpoints.finished(1, "COMPLETE")
    assert checkpoint.steps(checkpoints.of(1)) == [20]
    checkpoints.finished(1, "COMPLETE")
    assert mean(checkpoints, "a") == 1.0


def test_without_a_mean_that_is_damaged_the_study_goes_on(tmp_path: Path) -> None:
    told: list[int] = []
    said: list[str] = []
    checkpoints = Checkpoints(
        AVERAGING, StudyRecord(), place_of(tmp_path), lambda number, kin: told.append(number), said.append
    )
    for number in (1, 2, 3):
        weighted(checkpoints, number, "a")
    checkpoints.finished(1, "COMPLETE")
    (checkpoints.folder / MEANS / "a" / "1" / checkpoint.WEIGHTS).write_bytes(b"torn")
    checkpoints.finished(2, "COMPLETE")
    checkpoints.finished(3, "COMPLETE")
    assert told == [1]
    assert [line.partition(":")[0] for line in said] == [
        f"trial {number} is not averaged, and control (e) not scored" for number in (2, 3)
    ]
    assert {path.name for path in checkpoints.folder.iterdir()} == {MEANS, "3"}
