"""A search that learns from another study's trials, and from no study it can't be compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.cli import commands, execute
from study.execution import runner
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.planning import preflight
from study.proposals.search import Search
from study.proposals.warm_start import borrow
from study.question import rules
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import begun_as, read_events, read_study
from tests.study.sampled import sampler_trials
from trainables.errors import UserError
from trainables.loading import validate

SIMULATED = Simulated(lambda trial: 1 - abs(trial.perturbation.epsilon - 0.2))


def study(name: str, trial: dict[str, Any] | None = None, **search: Any) -> StudyConfig:
    data = {
        "name": name,
        "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}, **(trial or {})},
        "search": {"space": "adversarial", "trials": 12, **search},
    }
    return validate(StudyConfig, data)


def open_study(folder: Path, config: StudyConfig, data: str = "d1") -> Ledger:
    path = folder / config.name / "ledger.jsonl"
    is_new = not path.exists()
    ledger = Ledger.open(path)
    if is_new:
        ledger.append(
            "study",
            uuid=config.name,
            config=config.model_dump(mode="json"),
            code_version="1",
            fingerprints={"data": data},
            protocol_hash=rules.protocol_hash(config),
        )
    return ledger


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    config = study("first", pruner="median")
    with open_study(tmp_path, config) as ledger:
        run(Trials(config, ledger, read_study(ledger.path)), SIMULATED)
    return tmp_path / "first" / "ledger.jsonl"


def known(trials: Trials) -> list[tuple[str, float | None]]:
    search = next(arm.proposer for arm in trials._arms if isinstance(arm.proposer, Search))
    # A failed one in a living study is a point that was drawn a second time, and never proposed.
    ended = [t for t in sampler_trials(search) if t.state.name != "FAIL"]
    return [(t.state.name, t.values[0] if t.values else None) for t in ended]


def test_ended_trials_are_history_to_the_sampler_and_no_budget(tmp_path: Path, finished: Path) -> None:
    config = study("second")
    with open_study(tmp_path, config) as ledger:
        record = read_study(ledger.path)
        other = read_study(finished)
        points = [t for t in other.trials.values() if t.kind == "sampled"]
        assert borrow(config, ledger, record, other) == len(points) == 11
        assert borrow(config, ledger, record, other) == 0, "each trial once"
        trials = Trials(config, ledger, record)
        assert trials.remaining == 12
        assert [state for state, _ in known(trials)] == [t.state for t in points]
        assert {state for state, _ in known(trials)} == {"COMPLETE", "PRUNED"}
        run(trials, SIMULATED)
        living = known(trials)
        rebuilt = known(Trials(config, ledger, read_study(ledger.path)))
        assert rebuilt == living and len(rebuilt) == 11 + 11
    assert len(read_study(ledger.path).trials) == 12


def test_trials_outside_of_our_space_are_left(tmp_path: Path, finished: Path) -> None:
    space = {"perturbation.method": "adversarial", "perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.2},
             "perturbation.ascent_steps": [1, 2, 3]}  # fmt: skip
    config = study("narrow", space=space)
    with open_study(tmp_path, config) as ledger:
        record = read_study(ledger.path)
        count = borrow(config, ledger, record, read_study(finished))
        inside = [t for t in read_study(finished).trials.values() if t.point.get("perturbation.epsilon", 1) <= 0.2]
        assert 0 < count == len(inside) < 11
        assert all(t.point["perturbation.epsilon"] <= 0.2 for t in record.borrowed)


def test_trials_that_differ_in_what_we_hold_are_left(tmp_path: Path) -> None:
    space = {"perturbation.method": "adversarial", "perturbation.epsilon": {"type": "float", "low": 0.1, "high": 0.2},
             "perturbation.ascent_steps": [1, 2], "perturbation.step_size": [0.5, 1.0]}  # fmt: skip
    other = study("other", space=space, sampler="random")
    with open_study(tmp_path, other) as ledger:
        run(Trials(other, ledger, read_study(ledger.path)), SIMULATED)
        theirs = read_study(ledger.path)
    config = study("second")
    with open_study(tmp_path, config) as ledger:
        record = read_study(ledger.path)
        same = [t.number for t in theirs.trials.values() if t.point.get("perturbation.step_size") == 1.0]
        assert borrow(config, ledger, record, theirs) == len(same) and 0 < len(same) < 11
        assert [t.number for t in record.borrowed] == same


def test_a_dimension_that_was_held_fixed_is_known_too(tmp_path: Path, finished: Path) -> None:
    space = {
        "perturbation.method": "adversarial",
        "perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.6, "log": True},
        "perturbation.ascent_steps": [1, 2, 3],
        "perturbation.step_size": {"type": "float", "low": 0.5, "high": 1.5},
    }
    config = study("wider", space=space)
    with open_study(tmp_path, config) as ledger:
        record = read_study(ledger.path)
        assert borrow(config, ledger, record, read_study(finished)) == 11
        assert all(t.point["perturbation.step_size"] == 1.0 for t in record.borrowed)


def test_a_study_that_does_not_compare_is_refused_with_all_differences(tmp_path: Path, finished: Path) -> None:
    config = study("other", trial={"training": {"batch_size": 64, "learning_rate": 1e-4}})
    with open_study(tmp_path, config, data="d2") as ledger:
        with pytest.raises(UserError) as caught:
            borrow(config, ledger, read_study(ledger.path), read_study(finished))
        assert [line.split(",")[0] for line in caught.value.lines] == [
            "first: its data is another",
            "first: trial.training.batch_size is another",
            "first: trial.training.learning_rate is another",
        ]
        assert "borrowed" not in {e["event"] for e in read_events(ledger.path)}


def test_a_design_learns_from_nobody(tmp_path: Path, finished: Path) -> None:
    config = study("design", mode="design", sampler="sobol")
    with open_study(tmp_path, config) as ledger, pytest.raises(UserError, match="only a search can learn"):
        borrow(config, ledger, read_study(ledger.path), read_study(finished))


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`study run` with the simulated trainable in place of Ray and without building data; returns the root."""
    materials = tmp_path / "materials"
    materials.mkdir()
    (materials / "meta.json").write_text('{"fingerprint": "d1", "encoder": "e1"}', encoding="utf-8")
    monkeypatch.setattr(runner, "prepare", lambda *_: materials)
    monkeypatch.setattr(runner, "execute", lambda running, *_: run(running[0].trials, SIMULATED))
    monkeypatch.setattr(preflight, "check", lambda *arguments: None)
    return tmp_path / "studies"


def study_run(root: Path, *arguments: str) -> int:
    return execute(commands, "study", ["run", "quickstart", "--root", str(root), "--plain", *arguments])


def test_the_command_learns_and_tries_given_points_first(without_ray: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert study_run(without_ray, "name=first", "search.trials=6") == 0
    point = "perturbation.epsilon=0.05 perturbation.ascent_steps=2"
    assert study_run(without_ray, "name=second", "--from", "first", "--enqueue", point) == 0
    assert "learned from 5 trials of the study first" in capfd.readouterr().out
    record = read_study(without_ray / "second" / "ledger.jsonl")
    assert len(record.borrowed) == 5 and len(record.trials) == 8
    assert record.trials[1].kind == "enqueued"
    assert record.trials[1].point == {
        "perturbation.method": "adversarial",
        "perturbation.epsilon": 0.05,
        "perturbation.ascent_steps": 2,
    }


class Killed(BaseException):
    """The driver's process ends here."""


def test_who_is_killed_while_learning_has_begun_nothing(without_ray: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert study_run(without_ray, "name=first", "search.trials=6") == 0
    append, left = Ledger.append, iter(range(3))

    def killed(ledger: Ledger, event: str, **fields: Any) -> dict[str, Any]:
        if event == "borrowed" and next(left, None) is None:
            raise Killed
        return append(ledger, event, **fields)

    monkeypatch.setattr(Ledger, "append", killed)
    with pytest.raises(Killed):
        study_run(without_ray, "name=second", "--from", "first")
    monkeypatch.setattr(Ledger, "append", append)
    path = without_ray / "second" / "ledger.jsonl"
    assert len(read_study(path).borrowed) == 3 and begun_as(path) is None
    assert study_run(without_ray, "name=second", "--from", "first") == 0
    assert [t.number for t in read_study(path).borrowed] == [1, 2, 3, 4, 5]


def test_a_study_that_cannot_learn_leaves_no_trace(without_ray: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert study_run(without_ray, "name=first", "search.trials=3") == 0
    assert study_run(without_ray, "name=other", "--from", "firsd") == 2
    assert "firsd: no such study" in capfd.readouterr().err
    assert study_run(without_ray, "name=other", "--from", "first", "trial.training.batch_size=64") == 2
    assert "first: trial.training.batch_size is another, 32" in capfd.readouterr().err
    assert study_run(without_ray, "name=other", "--enqueue", "perturbation.epsilon") == 2
    assert "an argument looks like path=value" in capfd.readouterr().err
    assert not (without_ray / "other").exists()
