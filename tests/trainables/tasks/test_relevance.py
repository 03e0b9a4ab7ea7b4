"""Graded relevance: which rows are one query's, nDCG with ties, and what else is scored of a ranking."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainables import texts
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.config import EvaluationConfig, TaskConfig
from trainables.errors import UserError
from trainables.model.encoder import Model
from trainables.scoring.evaluation import evaluate
from trainables.tasks.base import IGNORED, Row, TaskShape
from trainables.tasks.ranking import ndcg
from trainables.tasks.relevance import Relevance
from trainables.tasks.tagging import Tagging
from trainables.tasks.task import load_task

GRADES = ("Bad", "Fair", "Good")
SHAPE = Relevance(GRADES)

RANKED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(RANKED)
def test_ties_count_as_the_mean_over_their_orders(documents: list[tuple[int, int]]) -> None:
    def gained(order: tuple[int, ...]) -> float:
        return sum(documents[i][0] / math.log2(rank + 2) for rank, i in enumerate(order))

    orders = list(itertools.permutations(range(len(documents))))
    best = max(map(gained, orders))
    allowed = [o for o in orders if all(documents[a][1] >= documents[b][1] for a, b in itertools.pairwise(o))]
    expected = statistics.fmean(map(gained, allowed)) / best if best else 0.0
    assert ndcg(*zip(*documents, strict=True)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-3, 3) | st.integers(0, 4)), min_size=2, max_size=30))
def test_it_is_scikit_learns(documents: list[tuple[int, float]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    gains, scores = zip(*documents, strict=True)
    assert ndcg(gains, scores) == pytest.approx(metrics.ndcg_score([gains], [scores]), abs=1e-12)


def test_a_model_that_broke_ranks_nothing() -> None:
    assert ndcg([4, 0, 0], [math.nan] * 3) == ndcg([0, 0, 4], [1, 1, 1]) == pytest.approx(0.71031, abs=1e-5)


def grouped(*queries: str) -> list[Row]:
    rows = [{"text": query, "text_pair": str(i), "label": i % 3} for i, query in enumerate(queries)]
    return list(SHAPE.assemble({"en": rows})["en"])


def test_a_query_is_a_run_of_rows_with_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows = grouped("a", "a", "b", "a", "a", "c", "c", "d")
    assert [(row["text"], row["text_pair"]) for row in rows] == [
        ("a", ["0", "1"]),
        ("a", ["3", "4"]),
        ("c", ["5", "6"]),
    ]
    assert rows[1]["label"] == [0, 1]
    assert caplog.messages == ["queries with one document are left out: en 2 of 5"]
    # As XGLUE's script has it, no query begins after an empty one.
    assert grouped("", "b", "b", "c", "c")[0] == {
        "text": ["", "b", "b"],
        "text_pair": ["0", "1", "2"],
        "label": [0, 1, 2],
    }
    with pytest.raises(UserError, match="no query of the rows in en has two documents"):
        grouped("a", "b", "a")


def test_an_item_is_a_query_with_one_document(tokenizer: Any) -> None:
    train = {"text": "q", "text_pair": "d", "label": 2}
    encoded = SHAPE.encode([train, *grouped("ab", "ab", "", "c")], tokenizer, 32)
    read = [tokenizer.decode(encoded.sequence(i).tolist()).replace(" ", "").replace("▁", "") for i in range(5)]
    assert read == [f"<s>{q}</s></s>{d}</s>" for q, d in (("q", "d"), ("ab", "0"), ("ab", "1"), ("", "2"), ("c", "3"))]
    assert encoded.rows.tolist() == [0, 1, 1, 2, 2]
    assert encoded.labels.tolist() == [2, 0, 1, 2, 0]


def test_scores_by_hand(tokenizer: Any) -> None:
    rows = [
        {"text": "a", "text_pair": ["1", "2", "3"], "label": [2, 0, 0]},
        {"text": "b", "text_pair": ["4", "5"], "label": [0, 0]},  # nothing to find, which counts
    ]
    encoded = SHAPE.encode(rows, tokenizer, 32)
    logits = torch.log(
        torch.tensor([[0.2, 0.2, 0.6], [0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    )
    predictions = SHAPE.predict(logits, torch.zeros(5))
    assert [answer for answer, _ in predictions] == [2, 2, 0, 0, 0]
    assert [expected for _, expected in predictions] == pytest.approx([1.4, 1.6, 0.1, 0.5, 0.0], abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SHAPE.predict(logits, torch.zeros(5)) == predictions
    # By class the first two are equal; by expected grade the wrong one is before.
    second = 1 / math.log2(3)
    scores = SHAPE.score(rows, encoded, predictions, "en")
    assert scores == {
        "ndcg": (pytest.approx((1 + second) / 4), 2),
        "ndcg_expected": (pytest.approx(second / 2), 2),
        "accuracy": (pytest.approx(4 / 5), 5),
    }
    by_row = SHAPE.row_scores(rows, encoded, predictions, "en")
    assert by_row == {0: (pytest.approx((1 + second) / 2), 1.0), 1: (0.0, 1.0)}


class Reading(nn.Module):
    """Its logits follow from what it reads of a sequence up to its padding, bit by bit the same in any batch."""

    def __init__(self, answers: int, per_token: bool) -> None:
        super().__init__()
        self.encoder = SimpleNamespace(frozen_layers=0)
        self.answers, self.per_token = answers, per_token

    def embed(self, batch: Batch) -> Tensor:
        return batch.input_ids

    def logits(self, ids: Tensor, batch: Batch) -> Tensor:
        states = (
            torch.sin(ids.double()[..., None] * (1.0 + torch.arange(self.answers))) * batch.attention_mask[..., None]
        )
        return 4 * (states if self.per_token else states[:, 1:4].sum(1))


@pytest.mark.parametrize("shape", [SHAPE, Tagging(("ADP", "CCONJ", "SCONJ"), "chunk_precision")], ids=["wpr", "pos"])
def test_workers_and_batches_do_not_matter(shape: TaskShape) -> None:
    is_tagging = isinstance(shape, Tagging)
    rows: list[Row] = []
    items: list[Item] = []
    for number in range(20):
        count = 2 + number % 3
        labels = [(number + k) % 3 for k in range(count)]
        rows.append({"tags": labels} if is_tagging else {"text": "q", "text_pair": ["d"] * count, "label": labels})
        if is_tagging:
            items.append(Item(((0, *(5 + number + k for k in range(count)), 2),), (IGNORED, *labels, IGNORED), number))
        else:
            items += [Item(((0, 5 + number, 9 + k, *range(4, 4 + k), 2),), (labels[k],), number) for k in range(count)]
    materials = texts.write(shape, {"en": items}, {"en": rows})
    model = cast(Model, Reading(len(shape.labels), is_tagging))
    whole = materials.evaluation["validation"]["en"]

    def scored(world: int, token_budget: int, examples: int | None) -> list[tuple[list[int], list[Any], Any]]:
        config = EvaluationConfig(token_budget=token_budget)
        found = together(world, lambda group: evaluate(model, materials, "validation", examples, config, group))
        return [
            (plan.items["en"], told["answers"]["en"], {m: (s.values["en"], s.counts["en"]) for m, s in scores.items()})
            for scores, told, plan in found
        ]

    for examples in (None, 4):
        found = [each for setup in ((1, 4096), (2, 4096), (3, 64), (2, 90)) for each in scored(*setup, examples)]
        picked, answers, scores = found[0]
        assert all(each == found[0] for each in found)
        chosen = whole.pick(picked, 1)
        assert scores == shape.score(rows, chosen, answers, "en")
        assert scores[shape.metrics[0]][1] == (examples or 20)  # of a query all documents, or none
        by_row = shape.row_scores(rows, chosen, answers, "en").values()
        mean = sum(score * weight for score, weight in by_row) / sum(weight for _, weight in by_row)
        if not is_tagging:
            assert mean == pytest.approx(scores["ndcg"][0])
        assert 0.1 < scores[shape.metrics[0]][0] < 0.95


def test_wpr_is_read_as_published(tmp_path: Path) -> None:
    """Grades by number or by name; the pages of training rows one by one."""
    for name, lines in {
        "en.train": "q\tt\ts\t4\nq\tt\t\tBad\n",
        "en.dev": "q\tt\ts\t3\r\nq\tt\ts2\tBad\r\n",
        "de.dev": 'q "x"\tt\ts\t0\nq "x"\tt\ts\t1\nq2\tt\ts\t1',
    }.items():
        (tmp_path / f"xglue.wpr.{name}").write_bytes(lines.encode())
    task = load_task(TaskConfig(name="wpr", data_dir=tmp_path), ("train", "validation"))
    assert task.rows["train"]["en"] == [
        {"text": "q", "text_pair": "t s", "label": 4},
        {"text": "q", "text_pair": "t", "label": 0},
    ]
    assert task.rows["validation"] == {
        "de": [{"text": 'q "x"', "text_pair": ["t s", "t s"], "label": [0, 1]}],
        "en": [{"text": "q", "text_pair": ["t s", "t s2"], "label": [3, 0]}],
    }
    assert task.label_counts == {"de": 2, "en": 2}
    (tmp_path / "xglue.wpr.de.dev").write_text("q\tt\ts\t5\nq\tt\t1\n")
    with pytest.raises(UserError) as caught:
        load_task(TaskConfig(name="wpr", data_dir=tmp_path), ("validation",))
    first, second = (line.partition(":")[2] for line in caught.value.lines)
    assert (
        first == '1: relavance_label must be one of Bad, Fair, Good, Excellent, Perfect, or a number below 5 (got "5")'
    )
    assert second == "2: must have as many cells as the header, 4 (got 3)"
