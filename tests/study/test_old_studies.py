"""Studies written before the modules moved into rooms are read, reported, made again in views, and gone on with."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from study.cli import commands, execute
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER, read_events, read_study
from study.views.found import find
from tests.study.execution.test_runner import command, mlflow_runs
from tests.waiting import wait_for
from trainables.loading import validate

NAME = "quickstart"


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


def placed(shared_data: Path, name: str, root: Path) -> Path:
    """An old ledger where a study's belongs; returns the root."""
    ledger = root / NAME / LEDGER
    ledger.parent.mkdir()
    ledger.write_bytes((shared_data / "ledgers" / f"{name}.jsonl").read_bytes())
    return root


@pytest.fixture
def finished(shared_data: Path, tmp_path: Path) -> Path:
    return placed(shared_data, "quickstart-0.1", tmp_path)


@pytest.fixture
def interrupted(shared_data: Path, tmp_path: Path) -> Path:
    return placed(shared_data, "quickstart-0.1-interrupted", tmp_path)


def pivots_mean(events: list[dict[str, Any]], number: int) -> float:
    """The objective of a trial, from the bare events."""
    (last,) = [e for e in events if e["event"] == "report" and e["trial"] == number and e["evaluation"]["final"]]
    scores = last["evaluation"]["scores"]["accuracy"]
    values = [scores[k][0] for k in events[1]["config"]["protocol"]["pivots"]]
    return sum(values) / len(values)


def test_a_finished_one_is_shown_and_reported(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = read_events(finished / NAME / LEDGER)
    assert "schema" not in events[1] and read_study(finished / NAME / LEDGER).schema == 1
    assert study("show", NAME, "--root", finished) == 0
    values = {n: pivots_mean(events, n) for n in range(8)}
    best = max(range(1, 8), key=lambda n: values[n])
    text = capsys.readouterr().out
    assert f"{best} *" in text and f"{values[best]:.4f}" in text and "8 complete" in text
    assert study("show", NAME, "--root", finished, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["state"], document["best"], document["schema"]) == ("finished", best, 1)
    assert [t["objectives"]["selection_mean"] for t in document["trials"]] == pytest.approx(list(values.values()))
    assert study("report", NAME, "--root", finished) == 0
    table = pd.read_parquet(finished / NAME / "report" / "trials.parquet")
    assert set(table["trial"]) == set(range(8)) and (finished / NAME / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finished", "interrupted"])
def test_its_views_are_made_again(name: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(name)
    assert study("rebuild", NAME, "--root", root, "--optuna", "--mlflow") == 0
    record = read_study(root / NAME / LEDGER)
    stored = optuna.load_study(study_name=NAME, storage=f"sqlite:///{root / NAME / 'optuna.db'}")
    assert len(stored.trials) == sum(t.ended for t in record.trials.values())
    _, children = mlflow_runs(root, NAME)
    assert sorted(children) == sorted(record.trials)
    for number, trial in record.trials.items():
        for language, score in trial.reports[-1].evaluation.primary.values.items() if trial.reports else ():
            assert children[number].data.metrics[f"validation_accuracy/{language}"] == score


def test_an_interrupted_one_is_shown_and_reported(interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study("show", NAME, "--root", interrupted) == 0
    text = capsys.readouterr().out
    assert "1 complete" in text and "2 interrupted" in text and f"study resume {NAME}" in text
    assert study("report", NAME, "--root", interrupted) == 0
    assert (interrupted / NAME / "report" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_one_goes_on(interrupted: Path) -> None:
    """Really trained up to its second report, on small batches; the rest by a trainable without training."""
    ledger = interrupted / NAME / LEDGER
    written = ledger.read_text(encoding="utf-8")
    assert written.count('"batch_size":32') == 1
    ledger.write_text(written.replace('"batch_size":32', '"batch_size":4'), encoding="utf-8")
    before = read_study(ledger)
    with command("resume", NAME, "--root", str(interrupted), "--plain") as process:
        wait_for(lambda: _again(ledger) == 2, 600, "both trials report")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    record = read_study(ledger)
    assert record.uuid == before.uuid and record.trials[0].reports == before.trials[0].reports
    assert [t.attempts for t in record.trials.values()][:3] == [1, 2, 2]
    config = validate(StudyConfig, record.config)
    languages = record.trials[0].reports[-1].evaluation.primary.languages
    trainable = Simulated(lambda trial: 0.9 - trial.perturbation.epsilon, languages, steps=60, every=30)
    with Ledger.open(ledger) as opened:
        run(Trials(config, opened, read_study(ledger)), trainable, concurrent=2)
    ended = find(interrupted, NAME)
    assert ended.condition == "finished" and [t.state for t in ended.trials] == ["COMPLETE"] * 8
    assert read_study(ledger).schema == 1


def _again(ledger: Path) -> int:
    """Reports that second attempts have made."""
    return sum(r.attempt == 2 for t in read_study(ledger).trials.values() for r in t.reports)
