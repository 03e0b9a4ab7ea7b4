"""``python -m trainables``: one trial in this process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import bare
from trainables.__main__ import HEADER, main, table_line
from trainables.scores import Evaluation, LanguageScores

TINY = """
encoder: {freeze_embeddings: true, freeze_lower_layers: 11}
training: {batch_size: 4, budget: {steps: 2}, learning_rate: 2e-4}
task: {target_languages: [de, sv]}
evaluation: {every: 1, examples_per_language: 4}
"""


def test_a_line_of_the_table() -> None:
    scores = LanguageScores({"en": 0.9, "de": 0.5, "sw": 0.25}, {"en": 10, "de": 10, "sw": 8})
    cost = {"train_seconds": 3.0, "evaluation_seconds": 1.5}
    line = table_line(Evaluation(30, "validation", {"accuracy": scores}, {"loss": 1.25}, cost), "en")
    assert line.split() == ["30", "1.2500", "0.900", "0.375", "sw", "0.250", "28", "4.5"]
    assert [len(HEADER), HEADER.index("targets") + 7] == [len(line), line.index("0.375") + 5]


def test_a_source_that_was_not_scored() -> None:
    line = table_line(Evaluation(1, "validation", {"f1": LanguageScores({"de": 0.5}, {"de": 4})}), "en")
    assert line.split()[2:4] == ["–", "0.500"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["missing.yaml"], "missing.yaml: no such file"),
        (["trial.yaml", "trial.training.seed=1"], "trial: unknown key 'trial', known: task, encoder, training"),
        (["study.yaml"], "study.yaml: is a study, of which a trial is a part: study run study.yaml"),
        (["trial.yaml", "training.seed=-1"], "training.seed: must be at least 0 (got -1)"),
    ],
)
def test_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.yaml").write_text(TINY)
    (tmp_path / "study.yaml").write_text("name: mine\ntrial: {}\n")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert line in err
    assert out == ""


@pytest.mark.slow
def test_a_real_trial_where_no_study_can_run_and_its_resumption(tmp_path: Path) -> None:
    (tmp_path / "trial.yaml").write_text(TINY)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        folder = ("--directory", str(tmp_path / "trial"))
        return bare.run(bare.DRIVERS, "trainables", str(tmp_path / "trial.yaml"), *folder, *arguments)

    done = run()
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.startswith(HEADER)
    assert [line.split()[0] for line in lines] == ["1", "2"]
    again = run("--json")
    last = json.loads(again.stdout.splitlines()[-1])
    assert (last["step"], last["final"]) == (2, True)
    assert {k: n for k, (_, n) in last["scores"]["accuracy"].items()} == {"de": 4, "en": 4, "sv": 4}
