"""What `study confirm` plans to run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from study.execution import confirm
from study.execution.confirm import design, plan
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.question import rules
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import Reading, read_study
from study.record.record import StudyRecord
from tests.study.conftest import place_of
from trainables.config import EvaluationConfig
from trainables.errors import UserError
from trainables.loading import apply_point, validate
from trainables.scores import Evaluation, LanguageScores
from trainables.storage import checkpoint


def finished(config: StudyConfig, folder: Path) -> StudyRecord:
    """What the ledger holds of a study whose trials were simulated."""
    path = folder / "ledger.jsonl"
    with Ledger.open(path) as ledger:
        empty: dict[str, Any] = {"code_version": "", "fingerprints": {}, "protocol_hash": ""}
        ledger.append("study", uuid="0", config=config.model_dump(mode="json"), **empty)
        run(Trials(config, ledger, read_study(path)), Simulated(lambda trial: 0.5))
    return read_study(path)


@pytest.mark.parametrize(
    ("checkpoint", "sizes", "examples", "expected"),
    [
        ("last", (40, 10), 50, (50, 10)),
        ("last", (40, None), None, (None, 40)),
        ("best_source_validation", (40, None), 50, (50, None)),
        ("average", (40, 10), 50, (50, 10)),
    ],
)
def test_confirm_scores_as_many_examples_as_the_protocol_says(
    tmp_path: Path, checkpoint: str, sizes: tuple[int, int | None], examples: int | None, expected: tuple[Any, Any]
) -> None:
    evaluation = {"every": 10, "examples_per_language": sizes[0], "intermediate_examples_per_language": sizes[1]}
    config = validate(
        StudyConfig,
        {
            "name": "x",
            "trial": {
                "perturbation": {"method": "adversarial"},
                "evaluation": {**evaluation, "checkpoint": checkpoint},
            },
            "search": {"space": "adversarial", "trials": 3, "sampler": "random"},
            "protocol": {"confirm_seeds": 3, "confirm_examples_per_language": examples},
        },
    )
    scored: set[EvaluationConfig] = {
        apply_point(config.trial, each.point).evaluation for each in plan(config, finished(config, tmp_path))
    }
    assert {(e.examples_per_language, e.intermediate_examples_per_language) for e in scored} == {expected}


def test_winner_and_controls_are_trained_under_the_same_reserved_seeds(tmp_path: Path) -> None:
    data = {
        "name": "x",
        "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}},
        "search": {"space": "adversarial", "trials": 3, "sampler": "random"},
        "protocol": {"confirm_seeds": 3},
    }
    config = validate(StudyConfig, data)
    planned = plan(config, finished(config, tmp_path))
    seeds: dict[Any, list[int]] = {}
    for each in planned:
        name = each.attributes["configuration"]
        seeds.setdefault(name, []).append(apply_point(config.trial, each.point).training.seed)
    assert [(each.kind, each.control) for each in planned[::3]] == [
        ("winner", None), ("control", "a"), ("control", "c"), ("control", "d"),
    ]  # fmt: skip
    assert list(seeds.values()) == [list(rules.confirm_seeds(config))] * 4


def test_the_best_of_every_arm_is_confirmed_and_none_of_them_twice(tmp_path: Path) -> None:
    data = {
        "name": "x",
        "trial": {"evaluation": {"every": 10}},
        "search": {
            "space": {
                "perturbation.method": ["none", "adversarial", "random_perturbation"],
                "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3},
            },
            "arms": {
                "noise": {"perturbation.method": "random_perturbation"},
                "radius": {"perturbation.method": "adversarial"},
            },
            "trials": 3,
            "sampler": "random",
        },
        "protocol": {"confirm_seeds": 3, "tune_controls": "all"},
    }
    config = validate(StudyConfig, data)
    planned = plan(config, finished(config, tmp_path), runners_up=1)[::3]
    assert [(each.kind, each.attributes["configuration"]) for each in planned] == [
        ("winner", "noise (trial 1)"), ("control", "control a"), ("control", "control b"), ("control", "control c"),
        ("arm", "radius (trial 2)"), ("runner_up", "noise (trial 4)"),
    ]  # fmt: skip


def test_a_retry_plans_what_was_confirmed_and_nothing_new(tmp_path: Path) -> None:
    """Runner-up and all, whatever is said of runners-up now; its design was not yet whole when a trial failed."""
    data = {
        "name": "x",
        "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}},
        "search": {"space": "adversarial", "trials": 4, "sampler": "random"},
        "protocol": {"confirm_seeds": 3},
    }
    config = validate(StudyConfig, data)
    whole = plan(config, finished(config, tmp_path / "x"), runners_up=2)
    assert sum(each.kind == "runner_up" for each in whole) == 6
    with Ledger.open(tmp_path / "x" / "ledger.jsonl") as ledger:
        ledger.append("test_opened", reason="")
        for number, each in enumerate(whole[:-1], 4):
            row = {"kind": each.kind, "control": each.control, "point": each.point, "attributes": each.attributes}
            ledger.append("asked", trial=number, phase="confirm", **row)
            ledger.append("finished", trial=number, attempt=1, outcome="FAIL", error="its workers were lost")
    assert design(config, read_study(tmp_path / "x" / "ledger.jsonl"), retry=(4,)) == whole[:-1]


AVERAGING: dict[str, Any] = {
    "name": "x",
    "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}},
    "search": {"space": "adversarial", "trials": 4, "sampler": "random"},
    "protocol": {"confirm_seeds": 3},
    "models": {"average": True},
}


def test_the_mean_that_is_confirmed_is_of_what_a_killed_driver_left_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trials have ended, and no mean has heard of the last ones."""
    config = validate(StudyConfig, AVERAGING)
    record = finished(config, tmp_path / "x")
    place = place_of(tmp_path / "x")
    for number in record.trials:
        evaluation = Evaluation(20, "validation", {"accuracy": LanguageScores({"en": 0.5}, {"en": 4})}, final=True)
        state = checkpoint.state(20, nn.Linear(1, 1), None, [evaluation])
        checkpoint.write(place.checkpoints / str(number), replace(state, kin="k"))
    monkeypatch.setattr(confirm, "made_from", lambda *_: {})
    monkeypatch.setattr(confirm.measuring, "opened", lambda config: config)
    with confirm.confirming(config, place, Reading(place.ledger), confirm.Asked(), lambda event: None):
        pass
    record = read_study(place.ledger)
    (mean,) = [t for t in record.trials.values() if t.control == "e"]
    assert mean.attributes["trials"] == [0, 1, 2, 3]
    assert "control e" in record.openings[0]["configurations"]


def test_what_is_averaged_once_the_test_split_is_open_is_new(tmp_path: Path) -> None:
    """It comes with --again, after all that was confirmed; without, what was confirmed is complete."""
    config = validate(StudyConfig, AVERAGING)
    path = tmp_path / "x" / "ledger.jsonl"
    before = plan(config, finished(config, tmp_path / "x"), runners_up=1)
    with Ledger.open(path) as ledger:
        ledger.append("test_opened", configurations=sorted({p.attributes["configuration"] for p in before}))
        for number, each in enumerate(before, 4):
            row = {"kind": each.kind, "control": each.control, "point": each.point, "attributes": each.attributes}
            ledger.append("asked", trial=number, phase="confirm", **row)
            ledger.append("finished", trial=number, attempt=1, outcome="COMPLETE", error=None)
        for number in range(4):
            ledger.append("averaged", trial=number, mean="k")
        assert confirm.due(config, read_study(path), runners_up=1) == confirm.due(config, read_study(path)) == []
        again = confirm.due(config, read_study(path), again=True)
        assert again[:-1] == before and again[-1].control == "e"
        trials = Trials(config, ledger, read_study(path), again)
        assert trials.remaining == 1
    assert design(config, read_study(path), runners_up=2)[: len(again)] == again


def test_results_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = place_of(tmp_path / "x")
    place.folder.mkdir(exist_ok=True)
    place.results.write_bytes(b"the former ones")

    class Table:
        def to_parquet(self, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(confirm, "results", lambda *_: Table())
    with pytest.raises(UserError, match=r"results\.parquet: cannot be written, No space left on device"):
        confirm.keep_results(validate(StudyConfig, {"name": "x"}), StudyRecord(), place)
    assert [path.read_bytes() for path in place.folder.iterdir()] == [b"the former ones"]
