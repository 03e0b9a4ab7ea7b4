"""`study model`: a real study's model on the disk and in MLflow's registry; what is refused with nothing written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from study import launch
from study.cli import commands, execute
from study.execution.checkpoints import Checkpoints
from study.execution.runner import made_from, write_study
from study.execution.trials import Trials
from study.models import models
from study.proposals import ranking
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER, read_study
from study.tracking.server import QUIET
from study.views.found import find
from tests.study.conftest import place_of
from tests.trainables import tiny
from trainables.loading import validate
from trainables.materials import materials as materials_of
from trainables.model.pretrained import load_encoder
from trainables.scoring.stream import subset
from trainables.storage import checkpoint
from trainables.tasks.base import collate
from trainables.training.loop import run_trial
from trainables.training.trial import build_model

NAME = "small"
MINIATURES = Path(__file__).resolve().parents[2] / "data"

CONFIG: dict[str, Any] = {
    "name": NAME,
    "trial": {
        "task": {"target_languages": ["de", "lb", "th"]},
        "encoder": {"freeze_lower_layers": 10},
        "training": {"batch_size": 16, "budget": {"steps": 6}, "learning_rate": 2e-4, "head_learning_rate": 0.2},
        "perturbation": {"method": "adversarial"},
        "evaluation": {"examples_per_language": 24},
    },
    "search": {"space": "adversarial", "sampler": "random", "trials": 2},
    "models": {"keep": 1},
}

PLAIN = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, texts = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
assert not {name.split(".")[0] for name in sys.modules} & {"study", "trainables"}
names = [model.config.id2label[i] for i in logits.argmax(-1).tolist()]
print(json.dumps({"logits": logits.tolist(), "labels": names, "vocabulary": model.config.vocab_size}))
"""
"""What somebody does who has the folder and nothing of ours."""


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ran(root: Path, config: StudyConfig) -> Path:
    """Run a study in this process: its ledger and its checkpoints."""
    with Ledger.open(root / NAME / LEDGER) as ledger:
        write_study(config, ledger, read_study(ledger.path), made_from(config))
        record = read_study(ledger.path)
        trials, kept = Trials(config, ledger, record), Checkpoints(config, record, place_of(root / NAME))
        while (proposal := trials.ask()) is not None:
            trials.started(proposal.number, proposal.attempt)
            for evaluation in run_trial(proposal.trial, kept.of(proposal.number)):
                trials.report(proposal.number, proposal.attempt, evaluation)
            competes = ranking.competes(proposal.phase, proposal.kind, proposal.control)
            kept.finished(proposal.number, trials.finish(proposal.number), competes)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of the embedded encoder."""
    return ran(tmp_path_factory.mktemp("studies"), validate(StudyConfig, CONFIG))


@pytest.fixture(scope="module")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of an encoder and data so small that a test may write its model."""
    task = {"name": str(MINIATURES / "pairs.yaml")}
    encoder = {"name_or_path": str(tiny.write(tmp_path_factory.mktemp("encoder"), "xlm-roberta"))}
    trial = {**CONFIG["trial"], "task": task, "encoder": encoder}
    return ran(tmp_path_factory.mktemp("tiny"), validate(StudyConfig, {**CONFIG, "trial": trial}))


@pytest.fixture(scope="module")
def folder(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chosen trial's model."""
    folder = tmp_path_factory.mktemp("out") / "deeper" / "model"
    assert study("model", NAME, "--root", root, "--to", folder) == 0
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    return folder


def chosen(root: Path) -> int:
    choice = find(root, NAME).choice
    assert choice is not None
    return choice.winner.numbers[0]


def test_plain_transformers_scores_what_the_ledger_has(root: Path, folder: Path) -> None:
    """The sentences that were scored, as text: the same answers, the same accuracy, the trial's own logits."""
    found = find(root, NAME)
    trial = found.record.trials[chosen(root)]
    config = ranking.trial_config(found.config, trial)
    recorded = trial.result(config)
    materials = materials_of.load(config)
    model = build_model(config, materials, load_encoder(config.encoder, False, materials.encoder_folder)).eval()
    weights = checkpoint.latest(root / NAME / "checkpoints" / str(trial.number))
    assert recorded is not None and weights is not None
    checkpoint.load_weights(model, weights.weights)
    expected, texts, gold, languages = [], [], [], []
    for language, encoded in materials.evaluation["validation"].items():
        items = subset(encoded, 24, language)
        batch = collate(materials.shape, encoded, items, materials.pad_id)
        with torch.no_grad():
            expected.append(model.logits(model.embed(batch), batch))
        rows = [materials.rows["validation"][language][int(encoded.rows[item])] for item in items]
        texts += [row["text"] for row in rows]
        gold += [materials.shape.labels[row["label"]] for row in rows]
        languages += [language] * len(items)
    answer = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, str(folder)], input=json.dumps(texts), capture_output=True, text=True,
        cwd=folder.parent, check=True,
    )  # fmt: skip
    said = json.loads(answer.stdout)
    logits = torch.tensor(said["logits"])
    assert (logits - torch.cat(expected)).abs().max() < 1e-4 and logits.abs().max() > 1
    for language in recorded.primary.languages:
        right = [a == b for a, b, k in zip(said["labels"], gold, languages, strict=True) if k == language]
        assert sum(right) / len(right) == recorded.primary[language], language
    assert said["vocabulary"] == 250037 and len(set(said["labels"])) > 3


def test_the_card_says_what_it_is(root: Path, folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["base_model"], head["license"]) == ("intfloat/multilingual-e5-small", "mit")
    assert (head["language"], head["pipeline_tag"]) == (["en", "de", "lb", "th"], "text-classification")
    record = find(root, NAME).record
    recorded = record.trials[chosen(root)].evaluation()
    assert recorded is not None
    scores = {r["dataset"]["config"]: r["metrics"][0]["value"] for r in head["model-index"][0]["results"]}
    assert scores == pytest.approx(dict(recorded.primary.values), abs=1e-6)
    for fact in (str(record.protocol_hash), str(record.code_version), "source_validation", "num_hidden_layers=12"):
        assert fact in text
    assert "ranks first by the selection rule" in text and "There is one seed" in text
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([NAME], "model: name a folder with --to, or give --register, or both"),
        ([NAME, "9", "--to", "new"], "TRIAL: small has no such trial, its trials are 0 to 1 (got 9)"),
        ([NAME, "0", "--to", "new"], "models.keep: a study keeps as many trained models, small has those of trials"),
        ([NAME, "--to", "full"], "--to: must be a new or an empty folder (got full, which has files)"),
        (["smal", "--to", "new"], "smal: no such study under"),
    ],
)
def test_what_is_refused_is_one_line_and_nothing_is_written(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert study("model", *arguments, "--root", tiny_root) == 2
    out, err = capsys.readouterr()
    assert line in err and len(err.splitlines()) == 1 and out == ""
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "mine.txt"]


def test_what_breaks_off_leaves_nothing(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the weights and the card: the folder that was asked for is not there, and no other."""

    def interrupted(*given: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "card", interrupted)
    assert study("model", NAME, "--root", tiny_root, "--to", tmp_path / "model") == 130
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_taken(tiny_root: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert study("model", NAME, chosen(tiny_root), "--root", tiny_root, "--to", tmp_path / "model") == 0
    assert (tmp_path / "model" / "README.md").exists()


def test_other_data_is_refused(tiny_root: Path, tmp_path: Path, capsys: Any) -> None:
    ledger = tiny_root / NAME / LEDGER
    other = tmp_path / "studies" / NAME
    (other / "checkpoints").mkdir(parents=True)
    (other / "checkpoints" / str(chosen(tiny_root))).symlink_to(
        tiny_root / NAME / "checkpoints" / str(chosen(tiny_root))
    )
    fingerprint = find(tiny_root, NAME).record.fingerprints["data"]
    (other / LEDGER).write_text(ledger.read_text(encoding="utf-8").replace(fingerprint, "f" * 64), encoding="utf-8")
    assert study("model", NAME, "--root", other.parent, "--to", tmp_path / "model") == 2
    assert "small: its data must be what it was when the study ran" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_the_registry_has_a_model_that_answers_the_same(
    tiny_root: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    texts = [{"text": "It rains.", "text_pair": "It is wet."}, {"text": "Es regnet.", "text_pair": "Es ist Montag."}]
    assert study("model", NAME, "--root", tiny_root, "--to", tmp_path / "model") == 0
    for _ in range(2):  # the same trial again is the same version
        assert study("model", NAME, "--register", "--root", tiny_root) == 0
        assert f"trial {chosen(tiny_root)} of small: version 1 of the model small in MLflow" in capsys.readouterr().out
    import mlflow
    from transformers import pipeline

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny_root / 'mlflow.db'}")
    loaded = mlflow.transformers.load_model("models:/small/1")
    assert loaded(texts) == pipeline("text-classification", model=str(tmp_path / "model"))(texts)
    (version,) = mlflow.MlflowClient().search_model_versions("name = 'small'")
    assert version.tags == {"study.uuid": find(tiny_root, NAME).record.uuid, "study.trial": str(chosen(tiny_root))}
    assert not [path for path in (tiny_root / NAME).iterdir() if path.name.startswith(".study")]


@pytest.mark.parametrize("asked", [False, True])
def test_a_study_registers_at_its_end_if_asked(tiny_root: Path, monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    """Once its trials are run, whoever ran them."""
    did: list[str] = []
    monkeypatch.setattr("study.execution.runner.run_study", lambda *given, **named: did.append("run"))
    monkeypatch.setattr(models, "register_chosen", lambda name, *_: did.append(f"register {name}"))
    config = validate(StudyConfig, {**CONFIG, "tracking": {"register_model": asked}})
    found, options = find(tiny_root, NAME), launch.Options(tiny_root, mode="quiet")
    assert launch._execute(config, found.place, options, found.reading) == 0
    assert did == ["run", "register small"][: 1 + asked]


def test_a_study_goes_on_where_nothing_can_be_registered(
    tiny_root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that it tracks to is not there: a line that says so and how to do it later."""
    monkeypatch.setattr("study.tracking.tracker.INSISTENCE", 1)
    monkeypatch.setattr("study.tracking.server.default_uri", lambda root: "http://127.0.0.1:9")
    monkeypatch.setattr("study.tracking.store.default_uri", lambda root: "http://127.0.0.1:9")
    models.register_chosen(NAME, tiny_root)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("no model registered: http://127.0.0.1:9: MLflow is not there")
    assert err.endswith("once that is mended: study model small --register\n") and err.count("\n") == 1


def test_the_mean_of_the_weights_that_were_kept(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of those that go together, though the very best go with none."""
    config = find(tiny_root, NAME).config
    several = config.model_copy(update={"models": config.models.model_copy(update={"keep": "all"})})
    ran(tmp_path / "studies", several.model_copy(update={"search": config.search.model_copy(update={"trials": 3})}))
    capsys.readouterr()
    found = find(tmp_path / "studies", NAME)
    assert found.choice is not None
    (best,) = found.choice.winner.numbers
    (step,) = checkpoint.steps(found.place.checkpoints / str(best))
    folder = found.place.checkpoints / str(best) / str(step)
    checkpoint.write_meta(folder, {**checkpoint.read_meta(folder), "kin": "another seed's"})
    assert study("soup", NAME, "--root", tmp_path / "studies", "--to", tmp_path / "out") == 0
    said = capsys.readouterr().out
    others = [number for number in range(3) if number != best]
    listed = re.search(r"mean of the kept best: the weights of trials (\d, \d) of", said)
    assert listed and sorted(map(int, listed[1].split(", "))) == others and "not control (e)" in said
    mean = mean_of([found.place.checkpoints / str(number) for number in others], tmp_path)
    *_, scored = run_trial(config.trial, tmp_path / "by_hand", weights=mean)
    values = {line.split()[0]: line.split()[1] for line in said.splitlines()[2:-2]}
    assert values == {language: f"{value:.4f}" for language, value in scored.primary.values.items()}
    assert {"README.md", "config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert "mean of the kept best" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert study("soup", NAME, "--root", tiny_root, "--to", tmp_path / "none") == 2
    assert "two trials at least must have kept their weights" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def mean_of(trials: Sequence[Path], folder: Path) -> Path:
    """Of trials' weights, as plainly as can be."""
    states = [checkpoint.latest(trial) for trial in trials]
    whole = [state for state in states if state is not None]
    mean = {k: sum(state.weights[k].double() for state in whole) / len(whole) for k in whole[0].weights}
    checkpoint.write(folder / "mean", replace(whole[0], weights=mean, evaluations=()))
    return folder / "mean"
