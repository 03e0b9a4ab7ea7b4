"""Question answering: characters and tokens, overlapping contexts, and the official comparison of answers."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.answers import normaliser, score_answer
from trainables.tasks.base import RowError, collate
from trainables.tasks.definition import catalogue
from trainables.tasks.plan import is_held_out
from trainables.tasks.span import MOST_ANSWER_TOKENS, SpanAnswering, answer_texts
from trainables.tasks.task import load_task

SHAPE = SpanAnswering("squad")


def row(context: str, answer: str, question: str = "what ?") -> dict[str, Any]:
    return {
        "question": question,
        "context": context,
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }


def gold_predictions(encoded: Any) -> list[list[Any]]:
    """What a perfect model says: the labelled span where there is one, and nothing elsewhere."""
    predictions = []
    for item in range(len(encoded)):
        start, end, first, _ = encoded.item_labels(item)[:4].tolist()
        predictions.append([1.0, start - first, end - first] if start else [-1.0, 0, 0])
    return predictions


@pytest.mark.parametrize("max_length", [32, 40, 64, 300])
def test_the_labelled_tokens_are_the_answer_in_contexts_of_any_length(tokenizer: Any, max_length: int) -> None:
    rows = [row(" ".join(f"w{i}" for i in range(60)), f"w{k}") for k in (0, 7, 30, 59)] + [row("ab c", "b c")]
    encoded = SHAPE.encode(rows, tokenizer, max_length)
    assert np.diff(encoded.offsets).max() <= max_length
    assert answer_texts(rows, encoded, gold_predictions(encoded)) == dict(enumerate(["w0", "w7", "w30", "w59", "b c"]))
    assert len(encoded) == 5 if max_length == 300 else len(encoded) > 10


def test_a_part_without_the_answer_points_at_the_start_token(tokenizer: Any) -> None:
    rows = [row(" ".join(f"w{i}" for i in range(60)), "w3")]
    encoded = SHAPE.encode(rows, tokenizer, 64)
    labels = [encoded.item_labels(j)[:4].tolist() for j in range(len(encoded))]
    assert labels[0][0] > 0
    assert labels[-1][:2] == [0, 0]
    for item, (_, _, first, count) in enumerate(labels):
        special = encoded.special[encoded.offsets[item] : encoded.offsets[item + 1]]
        assert special[first - 1]
        assert special[first + count :].all()
        assert not special[first : first + count].any()


def test_no_character_of_a_context_is_lost(tokenizer: Any) -> None:
    rows = [row(" ".join(f"w{i}" for i in range(60)), "w3")]
    encoded = SHAPE.encode(rows, tokenizer, 64)
    covered = np.zeros(len(rows[0]["context"]), dtype=bool)
    for item in range(len(encoded)):
        for start, end in encoded.item_labels(item)[4:].reshape(-1, 2):
            covered[start:end] = True
    assert covered[[i for i, c in enumerate(rows[0]["context"]) if c != " "]].all()


def test_long_questions_are_cut(tokenizer: Any) -> None:
    rows = [row("The answer is x here.", "x", question="why " * 100)]
    encoded = SHAPE.encode(rows, tokenizer, 128)
    assert int(encoded.item_labels(0)[2]) == 1 + 42 + 2
    with pytest.raises(UserError, match=r"task\.max_length: question answering needs at least 32"):
        SHAPE.encode(rows, tokenizer, 31)


def test_marks_at_the_start_of_a_context_are_counted(miniatures: Path) -> None:
    """Some Thai contexts begin with U+FEFF, and the answers' characters count it. The real tokenizer drops it."""
    from transformers import AutoTokenizer

    from trainables.offline.encoder import ensure

    task = load_task(TaskConfig(name=str(miniatures / "questions.yaml")), ("test",))
    rows = task.rows["test"]["th"]
    assert rows[0]["context"].startswith("\ufeff")
    encoded = task.shape.encode(rows, AutoTokenizer.from_pretrained(ensure()), 64)
    texts = answer_texts(rows, encoded, gold_predictions(encoded))
    assert all(text in found["context"] for text, found in zip(texts.values(), rows, strict=True))
    assert task.shape.score(rows, encoded, gold_predictions(encoded), "th")["f1"][0] > 0.4


def test_the_best_span_is_found_exactly() -> None:
    """Against trying all pairs."""
    torch.manual_seed(0)
    logits = torch.randn(5, 50, 2) * 3
    labels = torch.tensor([[0, 0, 5, 40], [0, 0, 1, 3], [0, 0, 10, 1], [0, 0, 2, 47], [0, 0, 30, 20]])
    for i, (score, first, last) in enumerate(SHAPE.predict(logits, labels)):
        begin, count = labels[i, 2:].tolist()
        tried = {
            (a - begin, b - begin): float(logits[i, a, 0] + logits[i, b, 1])
            for a in range(begin, begin + count)
            for b in range(a, min(begin + count, a + MOST_ANSWER_TOKENS))
        }
        best = max(tried, key=tried.__getitem__)
        assert (first, last) == best
        assert score == pytest.approx(tried[best], abs=1e-5)
        json.dumps([score, first, last])


def test_loss_and_divergence_see_the_context_and_the_start_token_alone() -> None:
    labels = torch.tensor([[3, 4, 3, 3], [0, 0, 3, 3]])
    logits = torch.zeros(2, 8, 2)
    logits[:, 1] = 100.0
    logits[:, 6:] = 100.0
    assert SHAPE.loss(logits, labels).tolist() == pytest.approx([math.log(4)] * 2, rel=1e-5)
    other = logits.clone()
    other[:, 1] = -100.0
    assert SHAPE.divergence(logits, other, labels).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    other[0, 4, 0] = math.log(5.0)
    expected = (0.75 * math.log(0.25 / 0.125) + 0.25 * math.log(0.25 / 0.625)) / 2
    assert SHAPE.divergence(logits, other, labels).tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    assert SHAPE.answers(other, labels).shape == (2, 2)
    assert SHAPE.answers(other, labels)[0, 0] == 4


def test_batches_carry_no_characters(tokenizer: Any) -> None:
    encoded = SHAPE.encode([row("ab c", "c"), row("a much longer context", "much")], tokenizer, 64)
    batch = collate(SHAPE, encoded, [0, 1], pad_id=1)
    assert batch.labels.shape == (2, 4)
    head = SHAPE.head(8, "mean", 0.0)
    assert head(torch.randn(2, batch.input_ids.shape[1], 8), batch.attention_mask).shape == (
        2, batch.input_ids.shape[1], 2,
    )  # fmt: skip


def test_miniature_scores_by_hand(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "questions.yaml")), ("train", "validation", "test"))
    rows = task.rows["test"]["en"]
    encoded = task.shape.encode(rows, tokenizer, 128)
    characters = encoded.item_labels(0)[4:].reshape(-1, 2)

    def span(text: str) -> list[Any]:
        start = rows[0]["context"].index(text)
        inside = np.flatnonzero((characters[:, 0] >= start) & (characters[:, 1] <= start + len(text)))
        return [0.0, int(inside[0]), int(inside[-1])]

    # "sold the red boat" against "red boat": 2 of 3 words without the article, both found: F1 0.8. "1990" is exact.
    scores = task.shape.score(rows, encoded, [span("sold the red boat"), span("1990")], "en")
    assert scores == {"f1": (pytest.approx(0.9), 2), "exact_match": (0.5, 2)}


@pytest.mark.parametrize("name", ["tydiqa.sw", "xquad.ar", "xquad.th", "xquad.zh", "mlqa.ar", "mlqa.de", "mlqa.zh"])
def test_answers_are_compared_as_the_official_scripts_do(name: str, shared_data: Path) -> None:
    kind = "mlqa" if name.startswith("mlqa") else "squad"
    fixture = json.loads((shared_data / "metric_fixtures" / f"evaluate_{kind}.{name}.json").read_text())
    gold, predictions, normalise = fixture["gold"], fixture["pred"], normaliser(kind, name.split(".")[1])
    # Questions without a prediction count, and score nothing.
    scores = [score_answer(predictions[key], gold[key], normalise) for key in gold.keys() & predictions.keys()]
    f1, exact = (sum(column) / len(gold) for column in zip(*scores, strict=True))
    assert 100 * f1 == pytest.approx(fixture["scores"]["f1"], abs=1e-6)
    assert 100 * exact == pytest.approx(fixture["scores"]["exact_match"], abs=1e-6)


@pytest.mark.parametrize(
    ("language", "text", "squad", "mlqa"),
    [
        ("en", "The  Cat, a dog!", "cat dog", "cat dog"),
        ("de", "Der „alte“ Mann", "der „alte“ mann", "alte mann"),
        ("es", "¿Los gatos?", "¿los gatos", "gatos"),
        ("vi", "cái nhà", "cái nhà", "nhà"),
        ("ar", "الكتاب والقلم،", "الكتاب والقلم،", "كتاب و قلم"),
        ("hi", "एक किताब।", "एक किताब।", "एक किताब"),
        ("zh", "在1990年，北京", "在1990年，北京", "在 1990 年 北 京"),
        ("zh-TW", "A廳B", "a廳b", "a 廳 b"),
    ],
)
def test_mlqas_rules_depend_on_the_language_and_squads_do_not(language: str, text: str, squad: str, mlqa: str) -> None:
    assert normaliser("squad", language)(text) == squad
    assert normaliser("mlqa", language)(text) == mlqa


def test_no_words_in_common_is_zero_and_so_is_no_answer() -> None:
    normalise = normaliser("squad", "en")
    assert score_answer("the", ["cat"], normalise) == (0.0, 0.0)
    assert score_answer("", ["cat", "dog"], normalise) == (0.0, 0.0)
    assert score_answer("A dog", ["cat", "dog"], normalise) == (1.0, 1.0)
    with pytest.raises(UserError, match="mlqa has rules for"):
        normaliser("mlqa", "th")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"text": [""], "answer_start": [0]}, "an answer is blank: these rows are published without their answers"),
        ({"text": ["zebra"], "answer_start": [0]}, 'an answer must stand in its context at character 0 (got "zebra")'),
        ({"text": ["cat"], "answer_start": [5]}, 'an answer must stand in its context at character 5 (got "cat")'),
        ({"text": [], "answer_start": []}, "answers must have lists text and answer_start of one length, not empty"),
        ({"text": ["cat"], "answer_start": []}, "answers must have lists text and answer_start of one length"),
        ({"text": ["cat"], "answer_start": [-1]}, "answers must have lists text and answer_start of one length"),
        ("cat", "answers must have lists text and answer_start of one length"),
    ],
)
def test_malformed_rows_are_named(answers: Any, message: str, miniatures: Path, tmp_path: Path) -> None:
    shutil.copytree(miniatures / "questions", tmp_path / "questions")
    shutil.copy(miniatures / "questions.yaml", tmp_path)
    with (tmp_path / "questions" / "train.en.jsonl").open("a") as file:
        file.write(json.dumps({"question": "?", "context": "The cat.", "answers": answers}) + "\n")
    with pytest.raises(UserError, match=re.escape(f"train.en.jsonl:4: {message}")):
        load_task(TaskConfig(name=str(tmp_path / "questions.yaml")), ("train",))


def test_answers_may_be_a_list_of_structs() -> None:
    raw = {"question": "?", "context": "The cat.", "answers": [{"text": "cat", "answer_start": 4}]}
    assert SHAPE.read(raw, {})["answers"] == {"text": ["cat"], "answer_start": [4]}
    with pytest.raises(RowError, match="must have lists"):
        SHAPE.read({**raw, "answers": [{"txt": "cat"}]}, {})


def test_english_selects_on_a_carved_part_of_squad(shared_data: Path) -> None:
    """XQuAD translates SQuAD's development set, so neither that nor any paragraph trained on may select."""
    config = TaskConfig(name="xquad", data_dir=shared_data)
    task = load_task(config, ("train", "validation", "test"))
    train, held = ({r["context"] for r in task.rows[split]["en"]} for split in ("train", "validation"))
    assert not train & held
    assert all(is_held_out(context) for context in held)
    assert len(task.rows["train"]["en"]) + len(task.rows["validation"]["en"]) == 2500
    assert 100 < len(task.rows["validation"]["en"]) < 400
    assert list(task.rows["validation"]) == ["en"]
    assert len(task.rows["test"]) == 12
    assert not catalogue()["xquad"].target_validation
    assert not catalogue()["tydiqa"].target_validation
    assert catalogue()["mlqa"].target_validation
    assert load_task(TaskConfig(name="xquad", data_dir=shared_data), ("validation",)).languages == ("en",)


def test_a_tenth_that_is_not_trained_on_selects(tmp_path: Path) -> None:
    answer = {"text": ["Text"], "answer_start": [0]}
    rows = [{"question": "What?", "context": f"Text {i}.", "answers": answer} for i in range(100)]
    (tmp_path / "tydiqa").mkdir()
    (tmp_path / "tydiqa" / "train.en.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = load_task(TaskConfig(name="tydiqa", data_dir=tmp_path, target_languages=()), ("train", "validation"))
    train, held = ({row["context"] for row in task.rows[split]["en"]} for split in ("train", "validation"))
    assert held == {row["context"] for row in rows if is_held_out(row["context"])}
    assert train == {row["context"] for row in rows} - held
    assert 2 < len(held) < 30


def test_mlqa_and_tydiqa_load(shared_data: Path) -> None:
    mlqa = load_task(TaskConfig(name="mlqa", data_dir=shared_data), ("train", "validation"))
    assert mlqa.languages == ("en", "ar", "de", "es", "hi", "vi", "zh")
    assert len(mlqa.rows["train"]["en"]) == 2500
    tydiqa = load_task(TaskConfig(name="tydiqa", data_dir=shared_data), ("train", "test"))
    assert tydiqa.languages == ("en", "ar", "bn", "fi", "id", "ko", "ru", "sw", "te")
    with pytest.raises(UserError, match="mlqa has test rows in no language"):
        load_task(TaskConfig(name="mlqa", data_dir=shared_data), ("test",))
