"""A trained model, loaded by plain transformers, answers texts as the trial did, whatever its task and encoder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer

from tests.trainables import tiny
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.scores import Split
from trainables.scoring.evaluation import Found
from trainables.scoring.stream import Stream
from trainables.storage import checkpoint
from trainables.training import export as export_module
from trainables.training.export import Exported, export
from trainables.training.loop import run_trial

MINIATURES = Path(__file__).resolve().parents[2] / "data"

Predicted = dict[tuple[str, int], list[Any]]
"""(language, row) -> the predictions of its items."""


class Folder:
    """An exported folder, used as its card says: tokenizer, model, nothing of ours."""

    def __init__(self, path: Path, exported: Exported) -> None:
        self.exported = exported
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = getattr(transformers, exported.auto_class).from_pretrained(path).eval()

    @torch.no_grad()
    def ask(self, *texts: Any, **options: Any) -> tuple[Any, Any]:
        """What the tokenizer makes of texts, and what the model says."""
        inputs = self.tokenizer(*texts, padding=True, truncation=True, return_tensors="pt", **options)
        return inputs, self.model(**inputs)


def classify(folder: Folder, row: Mapping[str, Any]) -> list[Any]:
    _, output = folder.ask(row["text"], row["text_pair"])
    return list(output.logits.argmax(-1).tolist())


def choose(folder: Folder, row: Mapping[str, Any]) -> list[Any]:
    choices = [f"{row['question']} {choice}" for choice in row["choices"]]
    inputs = folder.tokenizer([row["premise"]] * len(choices), choices, padding=True, return_tensors="pt")
    with torch.no_grad():
        return list(folder.model(**{k: v[None] for k, v in inputs.items()}).logits.argmax(-1).tolist())


def tag(folder: Folder, row: Mapping[str, Any]) -> list[Any]:
    inputs, output = folder.ask([row["tokens"]], is_split_into_words=True)
    words = inputs.word_ids(0)
    first = [words.index(word) for word in range(len(row["tokens"]))]
    return [output.logits[0, first].argmax(-1).tolist()]


def span(folder: Folder, row: Mapping[str, Any]) -> list[Any]:
    inputs, output = folder.ask(row["question"], row["context"])
    context = [i for i, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    start, end = output.start_logits[0], output.end_logits[0]
    pairs = [(float(start[a] + end[b]), a, b) for a in context for b in context if a <= b < a + 30]
    score, a, b = max(pairs)
    return [[pytest.approx(score, abs=1e-4), a - context[0], b - context[0]]]


def embed(folder: Folder, row: Mapping[str, Any]) -> torch.Tensor:
    """The vectors of a row's query and candidate."""
    inputs, output = folder.ask([row["queries"][0]["text"], row["candidates"][0]["text"]])
    mask = inputs["attention_mask"][..., None]
    states = output.last_hidden_state
    vectors = states[:, 0] if folder.exported.pooling == "first" else (states * mask).sum(1) / mask.sum(1)
    return vectors / vectors.norm(dim=-1, keepdim=True)


def nearest(folder: Folder, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Of each row the id of the candidate that is nearest to its query."""
    vectors = torch.stack([embed(folder, row) for row in rows])
    found = (vectors[:, 0] @ vectors[:, 1].T).argmax(-1)
    return [[[rows[int(number)]["candidates"][0]["id"]]] for number in found]


SHAPES: dict[str, tuple[Callable[[Folder, Mapping[str, Any]], list[Any]] | None, str]] = {
    "pairs": (classify, "AutoModelForSequenceClassification"),
    "choices": (choose, "AutoModelForMultipleChoice"),
    "names": (tag, "AutoModelForTokenClassification"),
    "questions": (span, "AutoModelForQuestionAnswering"),
    "translations": (None, "AutoModel"),
}


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without token types, and one with them."""
    return tiny.write(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniatures, with a validation split for the one that has none."""
    folder = tmp_path_factory.mktemp("data") / "data"
    shutil.copytree(MINIATURES, folder)
    task = folder / "translations.yaml"
    source = "validation: [{split: train, languages: source}], "
    task.write_text(task.read_text(encoding="utf-8").replace("splits: {", f"splits: {{{source}"), encoding="utf-8")
    return folder


def config(data: Path, encoder: Path, name: str, **settings: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "task": {"name": str(data / f"{name}.yaml"), "max_length": 128},
            "encoder": {"name_or_path": str(encoder), **settings},
            "training": {"batch_size": 2, "budget": {"steps": 3}, "learning_rate": 1e-2, "head_learning_rate": 0.1},
        }
    )


def trained(config: TrialConfig, folder: Path, final_split: Split = "validation") -> Predicted:
    """Train, and what the trial itself predicted at its end, example by example."""
    found: Predicted = {}

    def keep(materials: Materials, outcomes: list[tuple[Split, Stream, Found]]) -> None:
        split, plan, told = outcomes[-1]
        for language, items in plan.items.items():
            for item, prediction in zip(items, told["answers"][language], strict=True):
                row = int(materials.evaluation[split][language].rows[item])
                found.setdefault((language, row), []).append(prediction)

    list(run_trial(config, folder, final_split=final_split, predicted=keep))
    return found


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", SHAPES)
def test_it_answers_as_the_trial_did(data: Path, encoder: Path, tmp_path: Path, name: str, pooling: str) -> None:
    ask, auto_class = SHAPES[name]
    settings = config(data, encoder, name, pooling=pooling)
    predicted = trained(settings, tmp_path / "trial", "test")
    (tmp_path / "model").mkdir()
    exported = export(settings, tmp_path / "trial", tmp_path / "model", ("validation", "test"))
    assert (exported.auto_class, exported.trimmed) == (auto_class, True)
    assert not list((tmp_path / "model").glob("*.bin"))
    folder = Folder(tmp_path / "model", exported)
    rows = materials_of.load(settings, ("validation", "test")).rows["test"]
    assert len(predicted) == sum(map(len, rows.values())) > 2
    for language in rows:
        theirs = rows[language]
        answers = nearest(folder, theirs) if ask is None else [ask(folder, row) for row in theirs]
        assert [predicted[language, number] for number in range(len(theirs))] == answers, language
    assert folder.model.config.id2label == dict(enumerate(exported.labels)) or not exported.labels


@pytest.fixture
def pairs(data: Path, encoder: Path) -> TrialConfig:
    return config(data, encoder, "pairs")


def test_the_vocabulary_is_whole_again(pairs: TrialConfig, encoder: Path, tmp_path: Path) -> None:
    """Rows of the study's words are the trial's, all others the pretrained ones."""
    trained(pairs, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    exported = export(pairs, tmp_path / "trial", tmp_path / "model")
    table = Folder(tmp_path / "model", exported).model.get_input_embeddings().weight.detach()
    before = transformers.AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach()
    found = checkpoint.latest(tmp_path / "trial")
    assert found is not None
    (own,) = (w for name, w in found.weights.items() if "word_embeddings" in name)
    kept = materials_of.load(pairs).kept
    assert kept is not None and len(kept) < len(table) / 10
    assert torch.equal(table[kept], own) and not torch.equal(own, before[kept])
    others = np.setdiff1d(np.arange(len(table)), kept)
    assert len(table) == len(before) and torch.equal(table[others], before[others])


@pytest.mark.parametrize(
    "settings",
    [
        {"trim_vocabulary": False},
        {"freeze_embeddings": True, "freeze_lower_layers": 1},
        *({"adapter": {"method": method}} for method in ("lora", "ia3", "bitfit")),
    ],
)
def test_what_was_not_trimmed_or_not_trained_is_there_too(
    data: Path, encoder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    given = config(data, encoder, "pairs", **settings)
    predicted = trained(given, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    exported = export(given, tmp_path / "trial", tmp_path / "model")
    assert not exported.trimmed and exported.largest_difference < 1e-4
    folder, rows = Folder(tmp_path / "model", exported), materials_of.load(given).rows["validation"]
    assert folder.model.state_dict().keys() == type(folder.model)(folder.model.config).state_dict().keys()
    assert all(expected == classify(folder, rows[k][row]) for (k, row), expected in predicted.items())


def test_the_best_checkpoint_is_what_leaves(data: Path, encoder: Path, tmp_path: Path) -> None:
    """Where the best evaluation counts, not the last, its weights are those written."""
    given = config(data, encoder, "pairs")
    evaluation = given.evaluation.model_copy(update={"every": 1, "checkpoint": "best_source_validation"})
    given = given.model_copy(update={"evaluation": evaluation})
    predicted = trained(given, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    folder = Folder(tmp_path / "model", export(given, tmp_path / "trial", tmp_path / "model"))
    found = checkpoint.latest(tmp_path / "trial")
    assert found is not None and found.best is not None and found.best[0] < found.step
    rows = materials_of.load(given).rows["validation"]
    assert all(expected == classify(folder, rows[k][row]) for (k, row), expected in predicted.items())


def test_an_unfinished_or_damaged_checkpoint_is_refused(pairs: TrialConfig, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    def refused() -> None:
        with pytest.raises(UserError, match=r"must have the whole checkpoint of a finished trial \(got none\)"):
            export(pairs, tmp_path / "trial", tmp_path / "model")
        assert not any((tmp_path / "model").iterdir())

    refused()
    trained(pairs, tmp_path / "trial")
    with (tmp_path / "trial" / "3" / checkpoint.WEIGHTS).open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"torn")
    refused()


def test_a_checkpoint_of_another_configuration_is_refused(
    pairs: TrialConfig, data: Path, encoder: Path, tmp_path: Path
) -> None:
    trained(pairs, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="the checkpoint's weights must be those of this trial"):
        export(config(data, encoder, "pairs", freeze_lower_layers=1), tmp_path / "trial", tmp_path / "model")
    assert not any((tmp_path / "model").iterdir())


def test_a_class_that_computes_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    """ELECTRA's class for texts has a head with another activation."""
    given = config(data, tiny.write(tmp_path / "encoder", "electra"), "pairs")
    trained(given, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match=r"no class of transformers computes .* \(got electra\)"):
        export(given, tmp_path / "trial", tmp_path / "model")
    assert not any((tmp_path / "model").iterdir())


def test_the_difference_that_is_told_is_measured(
    pairs: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(pairs, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    honest = export_module.logits
    monkeypatch.setattr(export_module, "logits", lambda *given: honest(*given) + 3e-5)
    assert export(pairs, tmp_path / "trial", tmp_path / "model").largest_difference == pytest.approx(3e-5, rel=0.2)


@pytest.mark.slow
def test_real_words_are_tagged_as_by_the_trial(shared_data: Path, tmp_path: Path) -> None:
    """The embedded encoder on published data, its words as they come."""
    given = TrialConfig.model_validate(
        {
            "task": {"name": "panx", "target_languages": ["de", "sw"], "data_dir": str(shared_data), "max_length": 64},
            "encoder": {"freeze_lower_layers": 11},
            "training": {"batch_size": 8, "budget": {"steps": 2}, "learning_rate": 2e-4, "head_learning_rate": 1e-2},
            "evaluation": {"examples_per_language": 20},
        }
    )
    predicted = trained(given, tmp_path / "trial")
    (tmp_path / "model").mkdir()
    folder = Folder(tmp_path / "model", export(given, tmp_path / "trial", tmp_path / "model"))
    rows = materials_of.load(given).rows["validation"]
    whole = {key: items for key, items in predicted.items() if len(items) == 1}  # what was not cut into several
    assert len(whole) > 0.8 * len(predicted) >= 40
    assert all(items == tag(folder, rows[language][row]) for (language, row), items in whole.items())
    assert len({str(items) for items in whole.values()}) > 1
