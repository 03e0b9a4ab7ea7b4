"""Retrieval embeds each different sequence once, and an absent half never; what it finds is what whole items give."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables import shaped, texts
from tests.trainables.texts import Item
from trainables.batch import Batch, Encoded
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.scoring import evaluation, search
from trainables.scoring.search import Embedded, gather, rankings
from trainables.scoring.sequences import Sequences, batches, sequences
from trainables.scoring.stream import planned
from trainables.tasks.base import collate
from trainables.tasks.ranking import Vectors, top_k
from trainables.tasks.retrieval import Retrieval

NOTHING = (0, 2)
PARAGRAPHS = Retrieval("paragraphs", "map_at_20")


def items(language: int) -> list[Item]:
    """Two questions of the language, two sentences that all languages share, and a pair whose halves are equal."""
    return [
        *(Item((shaped.words(i, language), NOTHING), (i, -1, -1), 0) for i in range(2)),
        *(Item((NOTHING, shaped.words(i, 3)), (-1, i, 70 + i), 0) for i in range(2)),
        Item((shaped.words(5), shaped.words(5)), (0, 0, 90 + language), 1),
    ]


def paragraphs() -> Materials:
    """Two languages with the same two rows: a paragraph, and a pair."""
    rows: list[dict[str, Any]] = [
        {"queries": [{"targets": ["a"]}, {"targets": ["b"]}], "candidates": [{"id": "a"}, {"id": "b"}]},
        {"queries": [{"targets": ["c"]}], "candidates": [{"id": "c"}]},
    ]
    return texts.write(PARAGRAPHS, {"de": items(0), "en": items(1)}, {"de": rows, "en": rows})


class Words:
    """An encoder of random word embeddings, and how many tokens it has read."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.table, self.head, self.read = torch.nn.Embedding(100, 6), PARAGRAPHS.head(6, "mean", 0.0), 0

    @torch.no_grad()
    def __call__(self, batch: Batch) -> torch.Tensor:
        self.read += int(batch.attention_mask.sum())
        vectors: torch.Tensor = self.head(self.table(batch.input_ids), batch.attention_mask)
        return vectors

    def embed(self, batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        """As evaluation reads it."""
        vectors = self(batch)
        return lambda: {"vectors": [*vectors.flatten(0, 1).numpy()]}


def by_whole_items(materials: Materials, words: Words) -> dict[str, list[Any]]:
    """What each language's queries find, embedded item by item, by a full sort; None for what is no query."""
    found = {}
    for language, encoded in materials.evaluation["validation"].items():
        batch = collate(materials.shape, encoded, range(len(encoded)), materials.pad_id)
        queries, candidates = words(batch).numpy().transpose(1, 0, 2)
        labels = np.stack([encoded.item_labels(i) for i in range(len(encoded))])
        own, there = np.flatnonzero(labels[:, 0] >= 0), np.flatnonzero(labels[:, 1] >= 0)
        order = np.argsort(-(queries[own] @ candidates[there].T), axis=1, kind="stable")
        rows = materials.rows["validation"][language]
        names = [rows[encoded.rows[i]]["candidates"][labels[i, 1]]["id"] for i in there]
        ranked = {int(i): [names[k] for k in each] for i, each in zip(own, order, strict=True)}
        found[language] = [ranked.get(i) for i in range(len(encoded))]
    return found


@pytest.mark.parametrize("budget", [12, 1000])
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_each_different_sequence_is_embedded_once(budget: int, in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory and in a file."""
    monkeypatch.setattr(Embedded.__init__, "__defaults__", (in_memory,))
    materials, words = paragraphs(), Words()
    expected, tokens = by_whole_items(materials, words), words.read
    plan = planned(materials, "validation", None, budget)
    own = sequences(materials, "validation", plan.items, budget)
    keys = [key for batch in own.batches for key in batch]
    assert len(own) == len(set(keys)) == 2 + 2 + 2 + 1, "two questions of each language, two sentences, one text"
    words.read = 0
    found = evaluation.search_sequences(
        words.table,
        materials,
        "validation",
        plan,
        own,
        Group(),
        words.embed,  # type: ignore[arg-type]
    )
    assert words.read < tokens
    assert found == expected
    assert [each is None for each in found["de"]] == [False, False, True, True, False]


@pytest.mark.parametrize("world", [2, 3])
def test_workers_have_all_vectors_of_each_other(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each embeds its own batches and hands them on, a few at a time; the last may have fewer."""
    monkeypatch.setattr(search, "AT_ONCE", 1)
    materials, words = paragraphs(), Words()
    plan = planned(materials, "validation", None, 12)
    own = sequences(materials, "validation", plan.items, 12)

    def of_rank(rank: int) -> list[Vectors]:
        group = Group(rank, world)
        found = batches(materials, "validation", own, group)
        return [np.stack(words.embed(batch)()["vectors"][: len(keys)]) for keys, batch in found]

    each = [of_rank(rank) for rank in range(world)]
    rounds = iter(range(100))

    class Told(Group):
        """A worker that is told what the others of its round have."""

        def gather(self, value: Any) -> list[Any]:
            number = next(rounds)
            assert len(value) <= 1
            return [[(number, part[number])] if number < len(part) else [] for part in each]

    with Embedded(len(own)) as embedded:
        gather(each[0], own, Told(0, world), embedded)
        found = rankings(materials, "validation", plan.items, own, embedded.vectors())
    assert found == by_whole_items(materials, words)


def test_an_evaluation_of_retrieval_reads_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [{"queries": [{"targets": [str(i)]}], "candidates": [{"id": str(i)}]} for i in range(shaped.ITEMS)]
    trial = shaped.begun(shaped.BASE, "retrieval", tmp_path, rows={"validation": {"en": pairs}})
    encoded: Encoded = trial.materials.evaluation["validation"]["en"]
    batch = collate(trial.materials.shape, encoded, range(len(encoded)), trial.materials.pad_id)
    trial.model.eval()
    with torch.no_grad():
        queries, candidates = trial.model.logits(trial.model.embed(batch), batch).numpy().transpose(1, 0, 2)
    right = float(np.mean(np.argmax(queries @ candidates.T, axis=1) == np.arange(len(encoded))))
    monkeypatch.setattr(evaluation, "predict_stream", None)
    scores, _, _ = evaluation.evaluate(
        trial.model, trial.materials, "validation", None, trial.config.evaluation, Group()
    )
    assert dict(scores["accuracy"].values) == {"en": right}


def test_memory_does_not_grow_with_the_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """60,000 vectors of 256 numbers are 61 MB; the search among them has 12 MB at most, and leaves no file."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    count, size = 60_000, 256
    own = Sequences([[("en", i) for i in range(k, k + 1000)] for k in range(0, count, 1000)], {})
    draw = np.random.default_rng(0)
    tracemalloc.start()
    with Embedded(count, in_memory=1 << 20) as embedded:
        gather((draw.random((1000, size), dtype=np.float32) for _ in own.batches), own, Group(), embedded)
        vectors = embedded.vectors()
        _, written = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found = top_k(vectors[:40], vectors, 20, candidate_block=4096)
        _, searched = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        np.testing.assert_array_equal(found[:, 0], np.argmax(vectors[:40] @ vectors.T, axis=1))
        assert list(tmp_path.iterdir()), "they lie in a file"
    assert not list(tmp_path.iterdir())
    assert searched < 12e6
    assert written < 2 * search.AT_ONCE * 1000 * size * 4 + 4e6, "no more than what is handed on at a time"
