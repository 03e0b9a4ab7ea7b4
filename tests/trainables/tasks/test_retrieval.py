"""Retrieval: exact search, official scores of ranked lists, dual-encoder training, candidates in all languages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.base import RowError, collate
from trainables.tasks.ranking import average_precision, reciprocal_rank, top_k
from trainables.tasks.retrieval import SCALE, Retrieval, sentence_at
from trainables.tasks.span import SpanAnswering
from trainables.tasks.task import load_task

SHAPE = Retrieval("pairs", "accuracy")


def unit(rows: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows scaled to length 1."""
    array = np.asarray(rows, dtype=np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def found(rows: Any, encoded: Any, shape: Retrieval, vectors: torch.Tensor) -> list[Any]:
    """Predictions out of given vectors (items, 2, d), by a full sort."""
    queries, candidates = torch.nn.functional.normalize(vectors, dim=-1).unbind(1)
    searched = shape.searched(rows, encoded, range(len(encoded)))
    order = (queries @ candidates[list(searched.candidates.values())].T).argsort(-1, descending=True)
    names = list(searched.candidates)
    ranked = {i: [names[k] for k in order[i].tolist()][: searched.depth] for i in searched.queries}
    return [ranked.get(i) for i in range(len(encoded))]


def test_search_is_exact_in_blocks_of_any_size() -> None:
    rng = np.random.default_rng(0)
    queries, candidates = unit(rng.normal(size=(23, 8))), unit(rng.normal(size=(101, 8)))
    expected = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")
    for k in (1, 7, 101, 200):
        for blocks in ((512, 65536), (5, 10), (23, 101), (1, 1)):
            np.testing.assert_array_equal(top_k(queries, candidates, k, *blocks), expected[:, :k])
    equal = np.ones((4, 8), dtype=np.float32)
    assert top_k(equal[:1], equal, 3).tolist() == [[0, 1, 2]]


def test_tatoeba_is_scored_as_the_official_script_does(shared_data: Path) -> None:
    fixture = json.loads((shared_data / "metric_fixtures" / "tatoeba.synthetic.json").read_text())
    source, english = unit(fixture["src"]), unit(fixture["eng"])
    found = top_k(english, source, 1)[:, 0]
    accuracy = float(np.mean(found == np.asarray(fixture["gold"])))
    assert 100 * accuracy == pytest.approx(fixture["scores"]["accuracy"], abs=1e-6)


def test_lareqa_is_scored_as_the_official_script_does(shared_data: Path) -> None:
    fixture = json.loads((shared_data / "metric_fixtures" / "lareqa_map.json").read_text())
    for k, name, mean in ((None, "ap", "map"), (20, "ap_at_20", "map_at_20")):
        scores = [average_precision(set(case["targets"]), case["ranked"], k) for case in fixture["cases"]]
        assert scores == pytest.approx([case[name] for case in fixture["cases"]], abs=1e-6)
        assert np.mean(scores) == pytest.approx(fixture[mean], abs=1e-6)


def test_mewslix_is_scored_as_the_official_script_does(shared_data: Path) -> None:
    fixture = json.loads((shared_data / "metric_fixtures" / "mewslix_mrr.json").read_text())
    targets = {name: gold[0] for name, gold in fixture["gold"].items()}
    assert len(fixture["pred"]) < len(targets)
    ranks = [reciprocal_rank(target, fixture["pred"].get(query, ())) for query, target in targets.items()]
    assert np.mean(ranks) == pytest.approx(fixture["mrr"], abs=1e-6)


def test_ranked_lists_by_hand() -> None:
    assert average_precision({3, 5}, [3, 1, 5, 2]) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision({3, 5}, [3, 1, 5, 2], 2) == pytest.approx(1 / 2)
    assert average_precision({3}, [3, 3]) == 1.0
    assert average_precision({1, 2, 3}, [1], 1) == 1.0
    assert reciprocal_rank("b", ["a", "b"]) == 0.5
    assert reciprocal_rank("z", [*"abcdefghijklmnopqrstz"], 20) == 0.0


def test_of_equal_candidates_the_first_comes_first() -> None:
    """In blocks and out of them; an unstable partition takes any of them."""
    draw = np.random.default_rng(0)
    for _ in range(60):
        candidates = draw.integers(0, 3, (40, 2)).astype(np.float32)
        queries = draw.integers(0, 3, (5, 2)).astype(np.float32)
        expected = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, :7]
        for block in (3, 16, 100):
            assert top_k(queries, candidates, 7, query_block=2, candidate_block=block).tolist() == expected.tolist()
    broken = np.array([[np.nan, 1.0], [1.0, 1.0]], dtype=np.float32)
    assert top_k(broken[1:], broken, 1).tolist() == [[1]]


def test_pairs_are_items_of_two_sequences(tokenizer: Any) -> None:
    adopted = SHAPE.adoption(SHAPE, {})
    rows = [adopted(SHAPE.read({"query": q, "candidate": c}, {})) for q, c in (("ab", "c"), ("d", "efg"))]
    encoded = SHAPE.encode(rows, tokenizer, 32)
    texts = [tokenizer.decode(encoded.sequence(i).tolist(), skip_special_tokens=True) for i in range(4)]
    assert [text.replace(" ", "").removeprefix("▁") for text in texts] == ["ab", "c", "d", "efg"]
    batch = collate(SHAPE, encoded, [1, 0], pad_id=1)
    assert len(batch.input_ids) == 4
    assert batch.labels[:, :2].tolist() == [[0, 0], [0, 0]]
    head = SHAPE.head(8, "mean", 0.1)
    vectors = head(torch.randn(4, batch.input_ids.shape[1], 8), batch.attention_mask)
    assert vectors.shape == (2, 2, 8)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 2))
    assert list(head.parameters()) == []


def test_each_query_must_pick_its_own_candidate() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    logits = torch.tensor([[east, east], [north, north], [north, north]])
    labels = torch.tensor([[0, 0, 5], [0, 0, 6], [0, 0, 7]])
    right, wrong = math.exp(SCALE), 1.0
    expected = [-math.log(right / (right + 2 * wrong)), *[-math.log(right / (2 * right + wrong))] * 2]
    assert SHAPE.loss(logits, labels).tolist() == pytest.approx(expected, abs=1e-5)
    # Equal candidates are no wrong answers to each other.
    labels[2, 2] = 6
    assert SHAPE.loss(logits, labels)[1].item() == pytest.approx(-math.log(right / (right + wrong)), abs=1e-6)
    assert SHAPE.answers(logits, labels).tolist() == [0, 1, 2]
    # The other model shares its probability between two candidates.
    assert SHAPE.divergence(logits, logits.flip(0), labels)[0].item() == pytest.approx(math.log(2), rel=1e-4)
    assert SHAPE.divergence(logits, logits, labels).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_candidates_are_told_apart_in_whole_precision() -> None:
    """Cosines of a space whose vectors are much alike: near 20 numbers of half precision are an eighth apart."""
    torch.manual_seed(0)
    logits = torch.nn.functional.normalize(torch.randn(16, 2, 8) + 6.0, dim=-1)
    labels = torch.tensor([[0, 0, i] for i in range(16)])
    expected = SHAPE.loss(logits, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(SHAPE.loss(logits, labels), expected)


def test_miniature_pairs_by_hand(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "translations.yaml")), ("train", "test"))
    assert task.languages == ("en", "sw")
    rows = task.rows["test"]["sw"]
    encoded = task.shape.encode(rows, tokenizer, 64)
    assert isinstance(task.shape, Retrieval)
    # Queries 0 and 1 are nearest to their own candidates, query 2 to candidate 0.
    vectors = torch.tensor([[[1.0, 0.0], [1.0, 0.1]], [[0.0, 1.0], [0.1, 1.0]], [[1.0, 0.2], [-1.0, 0.0]]])
    predictions = found(rows, encoded, task.shape, vectors)
    json.dumps(predictions)
    assert task.shape.score(rows, encoded, predictions, "sw") == {"accuracy": (pytest.approx(2 / 3), 3)}
    assert task.shape.row_scores(rows, encoded, predictions, "sw") == {0: (1.0, 1.0), 1: (1.0, 1.0), 2: (0.0, 1.0)}


def test_miniature_paragraphs_by_hand(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "paragraphs.yaml")), ("test",))
    rows = task.rows["test"]["de"]
    assert [query["text"] for query in rows[0]["queries"]] == ["Wer bellt?", "Wann schläft die Katze?"]
    names = [candidate["id"] for candidate in rows[0]["candidates"]]
    assert names == ["de_0_0", "de_0_1", "en_0_0", "en_0_1"]
    assert rows[0]["candidates"] == task.rows["test"]["en"][0]["candidates"]
    assert rows[0]["queries"][1]["targets"] == ["de_0_1", "en_0_1"]
    encoded = task.shape.encode(rows, tokenizer, 64)
    assert encoded.rows.tolist() == [0] * 6
    # Both questions at angle 0. Candidates by angle: de_0_0 at 10°, de_0_1 at 50°, en_0_0 at 30°, en_0_1 at 20°.
    angles = torch.tensor([0.0, 0.0, 10.0, 50.0, 30.0, 20.0]).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], dim=-1)[:, None].expand(-1, 2, -1)
    predictions = found(rows, encoded, task.shape, vectors)  # type: ignore[arg-type]
    # Ranking: de_0_0, en_0_1, en_0_0, de_0_1. First question: ranks 1 and 3; second: 2 and 4.
    expected = ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 2
    assert task.shape.score(rows, encoded, predictions, "de") == {"map_at_20": (pytest.approx(expected), 2)}
    assert task.shape.row_scores(rows, encoded, predictions, "de") == {0: (pytest.approx(expected), 2.0)}


def test_languages_share_the_items_of_candidates(miniatures: Path, tokenizer: Any) -> None:
    """So that an evaluation, which meets equal items once, encodes every candidate once."""
    task = load_task(TaskConfig(name=str(miniatures / "paragraphs.yaml")), ("test",))
    one, other = (task.shape.encode(task.rows["test"][code], tokenizer, 64) for code in ("de", "en"))
    for item in range(2, 6):
        np.testing.assert_array_equal(one.sequence(2 * item + 1), other.sequence(2 * item + 1))
        np.testing.assert_array_equal(one.item_labels(item), other.item_labels(item))


def test_a_question_and_the_sentence_that_answers_it_are_a_training_pair() -> None:
    context = 'It was 3.5 km long. "Who built it?" asked Dr. Smith (U.S.A.). In 1990 it closed! Nobody came.'
    assert sentence_at(context, context.index("3.5")) == "It was 3.5 km long."
    assert sentence_at(context, context.index("1990")) == "In 1990 it closed!"
    assert sentence_at(context, context.index("Nobody")) == "Nobody came."
    span = SpanAnswering("squad").read(
        {
            "question": "When?",
            "context": context,
            "answers": {"text": ["1990"], "answer_start": [context.index("1990")]},
        },
        {},
    )
    alone = SHAPE.adoption(SpanAnswering("squad"), {})(span)
    assert alone["candidates"][0]["text"] == "In 1990 it closed!"
    assert alone["queries"][0]["targets"] == [alone["candidates"][0]["id"]]
    within = Retrieval("paragraphs", "map_at_20").adoption(SpanAnswering("squad"), {})(span)
    assert within["candidates"][0]["context"] == context


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentence_breaks": [[0]]}, "must have sentence_breaks of two numbers each"),
        ({"qas": [{"id": "1"}]}, "must have sentence_breaks of two numbers each, and qas"),
        ({"qas": [{"id": "1", "question": "?", "answers": [{"text": "", "answer_start": 0}]}]}, "must stand in"),
        ({"qas": [{"id": "1", "question": "?", "answers": [{"text": "zz", "answer_start": 0}]}]}, "must stand in"),
        ({"context": None}, "context must be text"),
    ],
)
def test_malformed_paragraphs_are_named(change: dict[str, Any], message: str) -> None:
    raw = {"context": "A dog.", "sentence_breaks": [[0, 6]], "qas": []}
    with pytest.raises(RowError, match=message):
        Retrieval("paragraphs", "map_at_20").read({**raw, **change}, {})


def test_tatoeba_and_lareqa_load(shared_data: Path, tokenizer: Any) -> None:
    tatoeba = load_task(TaskConfig(name="tatoeba", data_dir=shared_data), ("train", "validation", "test"))
    assert len(tatoeba.rows["test"]) == 41
    assert "en" not in tatoeba.rows["test"]
    assert list(tatoeba.rows["validation"]) == ["en"]
    assert tatoeba.rows["test"]["sw"][3]["candidates"][0]["id"] == "3"
    lareqa = load_task(TaskConfig(name="lareqa", data_dir=shared_data, target_languages=("de", "th")), ("test",))
    assert lareqa.languages == ("en", "de", "th")
    for code, rows in lareqa.rows["test"].items():
        assert len(rows) == 90
        for row in rows:
            assert all(len(query["targets"]) >= 3 for query in row["queries"]), code
    with pytest.raises(UserError, match="lareqa is not on the hub; name a folder"):
        load_task(TaskConfig(name="lareqa"), ("test",))


def test_paragraphs_must_be_the_same_in_all_languages(miniatures: Path, tmp_path: Path) -> None:
    english = (miniatures / "paragraphs" / "test.en.jsonl").read_text()
    (tmp_path / "paragraphs").mkdir()
    (tmp_path / "paragraphs" / "test.en.jsonl").write_text(english)
    (tmp_path / "paragraphs" / "test.de.jsonl").write_text(english * 2)
    (tmp_path / "own.yaml").write_text((miniatures / "paragraphs.yaml").read_text())
    with pytest.raises(UserError, match=r"the same paragraphs \(got de 2, en 1\)"):
        load_task(TaskConfig(name=str(tmp_path / "own.yaml")), ("test",))
