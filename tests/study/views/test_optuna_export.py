"""`optuna.db` equals the ledger point for point, and making it again changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.execution.simulation import run
from study.execution.trials import Trials
from study.proposals.outcomes import feedback_of
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.record.record import StudyRecord
from study.views.optuna_export import export_optuna
from tests.chaos import seam


def finished(folder: Path, search: dict[str, Any], trials: int = 12) -> tuple[Any, StudyRecord]:
    config = seam.study(search, trials)
    with Ledger.open(folder / "ledger.jsonl") as ledger:
        ledger.append(
            "study",
            uuid="u",
            config=config.model_dump(mode="json"),
            code_version="1",
            fingerprints={},
            protocol_hash="h",
        )
        trials_ = Trials(config, ledger, read_study(ledger.path))
        proposal = trials_.ask()
        assert proposal is not None
        trials_.finish(proposal.number, error="ValueError: boom")
        run(trials_, seam.trainable())
        return config, read_study(ledger.path)


@pytest.mark.parametrize("name", ["tpe, median", "conditional tpe, halving", "sobol x 2 seeds", "nsga2, two objectives",
                                  "tpe, constraint"])  # fmt: skip
def test_every_trial_is_there_as_it_is_in_the_ledger(tmp_path: Path, name: str) -> None:
    config, record = finished(tmp_path, seam.SEARCHES[name])
    path = tmp_path / "optuna.db"
    export_optuna(record, path)
    study = optuna.load_study(study_name="chaos", storage=f"sqlite:///{path}")
    assert [t.number for t in study.trials] == list(record.trials)
    for theirs, mine in zip(study.trials, record.trials.values(), strict=True):
        heard = feedback_of(config, mine)
        assert theirs.state.name == mine.state and theirs.user_attrs["trial"] == mine.number
        assert theirs.params == {k: v for k, v in mine.point.items() if k in mine.distributions}
        assert theirs.intermediate_values == heard.intermediate
        if mine.state == "COMPLETE":
            assert tuple(theirs.values) == heard.values
        assert theirs.constraints == heard.constraints
        assert theirs.datetime_complete is not None and theirs.datetime_complete.timestamp() == pytest.approx(
            mine.finished
        )
    assert study.trials[0].user_attrs["error"] == "ValueError: boom"
    points = optuna.load_study(study_name="chaos: points", storage=f"sqlite:///{path}")
    assert [t.user_attrs["trial"] for t in points.trials] == [n for n, t in record.trials.items() if t.distributions]


def test_again_changes_nothing(tmp_path: Path) -> None:
    _, record = finished(tmp_path, {"sampler": "random"}, 5)
    dumps = []
    for _ in range(2):
        export_optuna(record, tmp_path / "optuna.db")
        with sqlite3.connect(tmp_path / "optuna.db") as connection:
            dumps.append(list(connection.iterdump()))
    assert dumps[0] == dumps[1]
    assert sorted(p.name for p in tmp_path.iterdir() if "optuna" in p.name) == ["optuna.db"]


def test_trials_of_confirm_and_those_under_way_are_left_out(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    fresh = {"phase": "confirm", "kind": "winner", "control": None, "point": {"training.seed": 2**30}}
    sampled = {"phase": "run", "kind": "sampled", "control": None, "point": {}}
    later = [
        {"event": "asked", "time": 2000.0, "trial": 4, **fresh},
        {"event": "finished", "time": 2001.0, "trial": 4, "attempt": 1, "outcome": "PRUNED", "error": None},
        {"event": "asked", "time": 2002.0, "trial": 5, **sampled},
    ]
    export_optuna(StudyRecord.of([*events, *later]), tmp_path / "optuna.db")
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [t.user_attrs["trial"] for t in study.trials] == [0, 1, 2, 3]


def test_importances_can_be_had_of_the_points(tmp_path: Path) -> None:
    _, record = finished(tmp_path, {"sampler": "random"}, 20)
    export_optuna(record, tmp_path / "optuna.db")
    points = optuna.load_study(study_name="chaos: points", storage=f"sqlite:///{tmp_path}/optuna.db")
    importance = optuna.importance.get_param_importances(points)
    assert set(importance) == {"perturbation.epsilon", "perturbation.ascent_steps"}
    assert importance["perturbation.epsilon"] > 0.5
