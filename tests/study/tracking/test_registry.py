"""An exported model in the registry of a real MLflow server, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER
from study.tracking import registry
from tests.study.conftest import place_of
from tests.study.tracking.conftest import Gate, Server
from tests.study.tracking.test_mirror import append
from tests.trainables import tiny
from trainables.errors import UserError
from trainables.model.encoder import Encoder
from trainables.model.heads import PooledHead
from trainables.model.stock import pipeline, stock

Event = dict[str, Any]
TASK = "text-classification"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As `study model` writes it."""
    from transformers import AutoModel

    encoder = Encoder(AutoModel.from_pretrained(tiny.write(tmp_path / "encoder", "bert")), uses_segments=True).eval()
    head = PooledHead(encoder.hidden_size, 3, "mean", 0.1)
    nn.init.normal_(head.linear.weight)
    stock(encoder, head, "AutoModelForSequenceClassification", ("a", "b", "c")).save_pretrained(tmp_path / "model")
    tiny.characters(segments=True).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")
    return tmp_path / "model"


@pytest.fixture
def ledger(tmp_path: Path, events: list[Event], config: StudyConfig) -> Path:
    events[0]["config"]["name"] = "registered"
    with Ledger.open(tmp_path / "registered" / LEDGER) as ledger:
        append(ledger, events)
    return ledger.path


@pytest.mark.slow
def test_a_servers_version_is_the_folder_and_is_there_once(
    gate: Gate, folder: Path, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the version's request is lost: it was made all the same, and no second one is."""
    lost: list[str] = []

    def fault(method: str, path: str) -> str:
        if path.endswith("model-versions/create") and not lost:
            lost.append(path)
            gate.released.set()
            return "lost"
        return ""

    gate.fault = fault
    assert registry.register(place_of(ledger.parent), folder, TASK, 2, gate.uri) == "1" and lost
    assert registry.register(place_of(ledger.parent), folder, TASK, 2, gate.uri) == "1"
    assert registry.register(place_of(ledger.parent), folder, TASK, 1, gate.uri) == "2"
    import mlflow

    client = mlflow.MlflowClient(gate.uri)
    first, second = sorted(client.search_model_versions("name = 'registered'"), key=lambda v: int(v.version))
    assert [v.tags["study.trial"] for v in (first, second)] == ["2", "1"] and first.run_id == second.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", gate.uri)
    there = Path(mlflow.artifacts.download_artifacts("models:/registered/1", dst_path=str(tmp_path)))
    names = sorted(path.name for path in folder.iterdir())
    assert sorted(path.name for path in (there / "model").iterdir()) == names
    assert all((there / "model" / name).read_bytes() == (folder / name).read_bytes() for name in names)
    texts = ["turn on the lights", "Wie spät ist es?"]
    assert mlflow.transformers.load_model("models:/registered/1")(texts) == pipeline(folder, TASK)(texts)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".study")]


def test_a_task_without_a_pipeline_is_said(folder: Path, ledger: Path, server: Server) -> None:
    with pytest.raises(UserError, match=r"transformers has no pipeline for such tasks \(got multiple-choice\)"):
        registry.register(place_of(ledger.parent), folder, "multiple-choice", 2, server.uri)


def test_an_absent_server_is_said(folder: Path, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.tracker.INSISTENCE", 1)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9: MLflow is not there"):
        registry.register(place_of(ledger.parent), folder, TASK, 2, "http://127.0.0.1:9")
