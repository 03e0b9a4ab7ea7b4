"""A search that learns from another study's trials, and from no study it can't be compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study import protocol
from study.config import StudyConfig
from study.ledger import Ledger, read_events, read_study
from study.proposals import Search
from study.simulation import Simulated, run
from study.trials import Trials
from study.warm_start import borrow
from trainables.loading import UserError, validate

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
            protocol_hash=protocol.protocol_hash(config),
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
    ended = [t for t in search.optuna_trials if t.state.name != "FAIL"]
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
