"""The shipped suite on a real local Ray: run, killed, resumed, confirmed, reported; a ledger for each member."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from study.cli import commands, execute
from study.record.lines import read_study
from study.record.record import StudyRecord
from tests.study.execution.test_runner import assert_consistent, command, family, finished
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

SMALL = [
    "trial.task.target_languages=[de,lb,th]",
    "trial.encoder.freeze_lower_layers=10",
    "trial.training.batch_size=8",
    "trial.training.budget.steps=2",
    "trial.evaluation={every: 1, examples_per_language: 4}",
    "protocol={selection: target_validation, confirm_seeds: 3, confirm_examples_per_language: 4}",
    "search.space=null",
    "trial.perturbation={method: random_perturbation, sigma: 0.1}",
    "suite.endpoint=target_mean",
]


def records(root: Path) -> dict[str, StudyRecord]:
    """What each member's ledger holds."""
    found = {name: root / f"intents_suite.{name}" / "ledger.jsonl" for name in ("intents", "areas")}
    return {name: read_study(path) for name, path in found.items() if path.exists()}


def tracked(root: Path, study: str) -> int:
    """Trials of a study in MLflow."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return sum("study.trial" in run.data.tags for run in client.search_runs([experiment.experiment_id]))


def test_a_suite_is_run_killed_resumed_confirmed_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "studies"
    place = ["--root", str(root)]
    with command("run", "intents_suite", *SMALL, *place, "--plain") as process:

        def second_is_under_way() -> bool:
            areas = records(root).get("areas")
            return areas is not None and any(t.state == "running" and t.reports for t in areas.trials.values())

        wait_for(second_is_under_way, 240, "a trial of the second member")
        children = family(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        for child in children:
            if child.is_running():
                child.kill()
    first = (root / "intents_suite.intents" / "ledger.jsonl").read_bytes()
    began = {name: {n for n, t in record.trials.items() if t.ended} for name, record in records(root).items()}
    assert began["intents"]  # the members follow one another

    status, output = finished("resume", "intents_suite", *place, "--plain")
    assert status == 0, output
    for name in ("intents", "areas"):
        assert_consistent(root / f"intents_suite.{name}" / "ledger.jsonl", 2, 1)
    again = (root / "intents_suite.intents" / "ledger.jsonl").read_bytes()
    assert again.startswith(first)
    assert again == first or began["intents"] != {0, 1}  # who is finished is not touched
    assert "areas: trial " in output

    status, output = finished("confirm", "intents_suite", *place, "--plain")
    assert status == 0, output
    for name, record in records(root).items():
        confirmed = [t for t in record.trials.values() if t.phase == "confirm"]
        assert {t.state for t in confirmed} == {"COMPLETE"}, name
        assert len(record.openings) == 1
        assert (root / f"intents_suite.{name}" / "results.parquet").exists()
        assert tracked(root, f"intents_suite.{name}") == len(record.trials)

    assert execute(commands, "study", ["show", "intents_suite", *place]) == 0
    output = capsys.readouterr().out
    assert "finished, 2 members: 2 finished" in output
    assert "Confirmed on the test split" in output
    assert execute(commands, "study", ["show", "intents_suite", "--member", "areas", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["trial"]["task"]["name"] == "intents_areas"

    assert execute(commands, "study", ["report", "intents_suite", *place]) == 0
    page = Path(capsys.readouterr().out.strip())
    text = page.read_text(encoding="utf-8")
    assert "All members together" in text and "Missing" not in text
    assert {link.parent.name for link in page.parent.glob("*/report.html")} == {"intents", "areas"}
