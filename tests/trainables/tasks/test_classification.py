"""Classification of texts and pairs: tensors, head, loss, and the official score."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.model.heads import PooledHead, pool
from trainables.tasks.base import TaskShape, collate
from trainables.tasks.classification import Classification
from trainables.tasks.tagging import Tagging
from trainables.tasks.task import load_task

SHAPE = Classification(("yes", "unclear", "no"), pair=True)
ROWS = [{"text": "ab", "text_pair": "c", "label": 2}, {"text": "", "text_pair": "defghi", "label": 0}]


def test_pairs_are_encoded_with_their_separators(tokenizer: Any) -> None:
    encoded = SHAPE.encode(ROWS, tokenizer, 64)
    pieces = [tokenizer.convert_ids_to_tokens(encoded.sequence(i).tolist()) for i in range(2)]
    assert pieces[0] == ["<s>", "▁", "a", "b", "</s>", "</s>", "▁", "c", "</s>"]
    assert encoded.special[: len(pieces[0])].tolist() == [True, False, False, False, True, True, False, False, True]
    assert encoded.rows.tolist() == [0, 1]
    assert [encoded.item_labels(j).tolist() for j in range(2)] == [[2], [0]]
    single = Classification(("a", "b"), pair=False).encode([{"text": "xy", "label": 1}], tokenizer, 64)
    assert tokenizer.convert_ids_to_tokens(single.sequence(0).tolist()) == ["<s>", "▁", "x", "y", "</s>"]


def test_long_texts_are_cut_and_chunks_change_nothing(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "x" * i, "text_pair": "y" * (40 - i), "label": 0} for i in range(40)]
    whole = SHAPE.encode(rows, tokenizer, 20)
    assert np.diff(whole.offsets).max() == 20
    monkeypatch.setattr("trainables.tasks.encoding.CHUNK", 7)
    parts = SHAPE.encode(rows, tokenizer, 20)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(array, parts.arrays()[name], err_msg=name)
        assert array.dtype == parts.arrays()[name].dtype


def test_a_batch_is_padded_right(tokenizer: Any) -> None:
    encoded = SHAPE.encode(ROWS, tokenizer, 64)
    batch = collate(SHAPE, encoded, [1, 0], pad_id=1, key_offset=10)
    assert batch.input_ids.shape == batch.attention_mask.shape == batch.special.shape
    assert batch.labels.tolist() == [0, 2]
    assert batch.sequence_keys.tolist() == [11, 10]
    lengths = np.diff(encoded.offsets)[[1, 0]]
    assert lengths.tolist() == [11, 9]
    assert batch.attention_mask.sum(1).tolist() == lengths.tolist()
    assert (batch.input_ids[batch.attention_mask == 0] == 1).all()


def test_pooling_ignores_padding() -> None:
    states = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    torch.testing.assert_close(pool(states, mask, "mean"), torch.stack([states[0, :2].mean(0), states[1, 1:].mean(0)]))
    torch.testing.assert_close(pool(states, mask, "first"), torch.stack([states[0, 0], states[1, 1]]))


def test_the_head_is_dropout_and_one_linear_layer() -> None:
    torch.manual_seed(0)
    head = SHAPE.head(8, "mean", 0.5)
    assert isinstance(head, PooledHead)
    states, mask = torch.randn(4, 6, 8), torch.ones(4, 6, dtype=torch.int64)
    assert head(states, mask).shape == (4, 3)
    assert not torch.equal(head(states, mask), head(states, mask))
    head.eval()
    torch.testing.assert_close(head(states, mask), head.linear(states.mean(1)))


def test_loss_and_divergence_are_those_of_the_books() -> None:
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]))
    other = torch.log(torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])) + 3.0
    labels = torch.tensor([1, 1])
    assert SHAPE.loss(logits, labels).tolist() == pytest.approx([-math.log(0.3), -math.log(0.8)], rel=1e-5)
    expected = 0.6 * math.log(3) - 0.1 * math.log(5)  # the other way round it is 0.58, not 0.50
    assert SHAPE.divergence(logits, other, labels).tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    assert SHAPE.answers(logits, labels).tolist() == SHAPE.predict(logits, labels) == [0, 1]


@pytest.mark.parametrize("shape", [SHAPE, Tagging(("O", "B-PER", "B-LOC"))])
def test_gradients_in_half_precision_are_those_of_the_logits_as_they_were_rounded(shape: TaskShape) -> None:
    """Under a CPU's autocast, which computes `log_softmax` in what its input is in."""
    torch.manual_seed(0)
    size = (64, 3) if isinstance(shape, Classification) else (64, 2, 3)
    p, labels = 2 * torch.randn(size), torch.randint(3, size[:-1])
    rounded = [each.bfloat16() for each in (p, p + 0.02 * torch.randn(size))]

    def gradients(logits: list[Tensor]) -> list[Tensor]:
        one, other = (each.detach().requires_grad_() for each in logits)
        apart = shape.divergence(one, other, labels) + shape.divergence(other, one, labels)
        return [torch.autograd.grad(each.sum(), one)[0].double() for each in (apart, shape.loss(one, labels))]

    exact = gradients([each.double() for each in rounded])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(rounded)
    for mine, true in zip(found, exact, strict=True):
        assert (mine - true).norm() / true.norm() < 0.0025  # they are rounded themselves, once


def test_the_score_counts_right_answers_per_row(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "pairs.yaml")), ("test",))
    rows = task.rows["test"]["sw"]
    encoded = task.shape.encode(rows, tokenizer, 64)
    # Right are the first, the third and the fourth: yes, no, no.
    assert task.shape.score(rows, encoded, [0, 0, 2, 2], "sw") == {"accuracy": (0.75, 4)}


@pytest.mark.parametrize("name", ["accuracy.xnli.sw", "accuracy.xcopa.qu"])
def test_accuracy_is_the_official_one(name: str, shared_data: Path, tokenizer: Any) -> None:
    fixture = json.loads((shared_data / "metric_fixtures" / f"{name}.json").read_text())
    rows = [{"text": "a", "label": gold} for gold in fixture["gold"]]
    shape = Classification(("0", "1", "2"), pair=False)
    value, count = shape.score(rows, shape.encode(rows, tokenizer, 8), fixture["pred"], "sw")["accuracy"]
    assert 100 * value == pytest.approx(fixture["scores"]["accuracy"], abs=1e-6)
    assert count == len(fixture["gold"])


def crossed_task(folder: Path, rows: dict[str, list[dict[str, Any]]], **columns: str) -> TaskConfig:
    """A crossed task of one's own, its validation rows given by language."""
    definition = {"shape": "classification", "crossed": True, "labels": ["0", "1"]}
    definition["columns"] = {"text": "a", "text_pair": "b", **columns}
    (folder / "own.yaml").write_text(json.dumps(definition))
    for language, found in rows.items():
        (folder / f"validation.{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return TaskConfig(name=str(folder / "own.yaml"))


def test_crossed_pairs_by_hand(tmp_path: Path) -> None:
    english = [{"a": "one", "b": "two", "label": 0, "id": 7}, {"a": "three", "b": "four", "label": 1, "id": 9}]
    german = [{"a": "drei", "b": "vier", "label": 0, "id": 9}, {"a": "eins", "b": "zwei", "label": 0, "id": 7}]
    task = load_task(crossed_task(tmp_path, {"en": english, "de": german}, key="id"), ("validation",))
    pairs = {name: [(r["text"], r["text_pair"]) for r in rows] for name, rows in task.rows["validation"].items()}
    # Row 9 has another label in German: it stays within each language, and out of the pairs of languages.
    assert pairs == {
        "de": [("drei", "vier"), ("eins", "zwei")],
        "de.en": [("eins", "two")],
        "en": [("one", "two"), ("three", "four")],
        "en.de": [("one", "zwei")],
    }
    assert task.source_language == "en"
    assert task.target_languages == ("de", "de.en", "en.de")


def test_crossed_pairs_need_parallel_rows(tmp_path: Path) -> None:
    row = {"a": "x", "b": "y", "label": 0}
    with pytest.raises(UserError, match=r"the same rows in all languages \(got de 2, en 1\)"):
        load_task(crossed_task(tmp_path, {"en": [row], "de": [row, row]}), ("validation",))
    twice = [{**row, "id": name} for name in ("p1", "p2", "p2")]
    with pytest.raises(UserError, match=r"a key of its own for each row \(got 'p2' 2 times in de\)"):
        load_task(crossed_task(tmp_path, {"en": twice[:2], "de": twice}, key="id"), ("validation",))


@pytest.mark.parametrize(("name", "languages"), [("xnli_crossed", 15), ("pawsx_crossed", 7)])
def test_the_generalised_setting_crosses_all_languages(name: str, languages: int, shared_data: Path) -> None:
    plain = load_task(TaskConfig(name=name.removesuffix("_crossed"), data_dir=shared_data), ("validation",))
    task = load_task(TaskConfig(name=name, data_dir=shared_data), ("validation",))
    rows = task.rows["validation"]
    assert len(rows) == languages**2
    for code, found in plain.rows["validation"].items():
        assert [r["text"] for r in rows[code]] == [r["text"] for r in found]
    both = list(zip(plain.rows["validation"]["de"], plain.rows["validation"]["zh"], strict=True))
    expected = [(de["text"], zh["text_pair"]) for de, zh in both if de["label"] == zh["label"]]
    assert [(row["text"], row["text_pair"]) for row in rows["de.zh"]] == expected
    assert len(expected) > 480


def test_every_language_of_pawsx_keeps_its_own_labels(shared_data: Path) -> None:
    task = load_task(TaskConfig(name="pawsx", data_dir=shared_data), ("validation",))
    labels = {code: [row["label"] for row in rows] for code, rows in task.rows["validation"].items()}
    different = {code: sum(a != b for a, b in zip(labels["en"], found, strict=True)) for code, found in labels.items()}
    assert different["en"] == 0
    assert min(different[code] for code in ("de", "es", "ja", "ko", "zh")) > 0
