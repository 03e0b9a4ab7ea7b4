"""Retrieval encodes each different sequence once, and an absent half never; vectors are those of whole items."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables import shaped, texts
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.distributed import Group
from trainables.scoring import evaluation
from trainables.scoring.evaluation import predict_sequences, predict_stream
from trainables.scoring.sequences import sequences
from trainables.scoring.stream import planned
from trainables.tasks.retrieval import Retrieval

NOTHING = (0, 2)


def items(language: int) -> list[Item]:
    """Two questions of the language, two sentences that all languages share, and a pair whose halves are equal."""
    return [
        *(Item((shaped.words(i, language), NOTHING), (i, -1, -1), 0) for i in range(2)),
        *(Item((NOTHING, shaped.words(i, 3)), (-1, i, 70 + i), 0) for i in range(2)),
        Item((shaped.words(5), shaped.words(5)), (0, 0, 90 + language), 1),
    ]


@pytest.mark.parametrize("budget", [12, 1000])
def test_each_different_sequence_is_encoded_once(budget: int) -> None:
    rows = {language: [{}, {}] for language in ("de", "en")}
    materials = texts.write(Retrieval("paragraphs", "map_at_20"), {"de": items(0), "en": items(1)}, rows)
    torch.manual_seed(0)
    model = torch.nn.Embedding(100, 6)
    head = Retrieval("paragraphs", "map_at_20").head(6, "mean", 0.0)
    read: list[int] = []

    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        read.append(int(batch.attention_mask.sum()))
        logits = head(model(batch.input_ids).detach(), batch.attention_mask)
        return lambda: {"answers": materials.shape.predict(logits, batch.labels)}

    plan = planned(materials, "validation", None, budget)
    whole = predict_stream(model, materials, "validation", plan, Group(), respond)["answers"]  # type: ignore[arg-type]
    tokens = sum(read)
    own = sequences(materials, "validation", plan, budget)
    keys = [key for batch in own.batches for key in batch]
    assert len(keys) == len(set(keys)) == 2 + 2 + 2 + 1, "two questions of each language, two sentences, one text"
    read.clear()
    found = predict_sequences(model, materials, "validation", plan, own, Group(), respond)  # type: ignore[arg-type]
    assert sum(read) < tokens
    assert [[half is None for half in item] for item in found["de"]] == [[False, True]] * 2 + [[True, False]] * 2 + [
        [False, False]
    ]
    for language, expected in whole.items():
        for one, other in zip(found[language], expected, strict=True):
            assert [half is None for half in one] == [half is None for half in other]
            for half, same in ((a, b) for a, b in zip(one, other, strict=True) if a is not None):
                vectors = [np.frombuffer(base64.b64decode(text), "<f4") for text in (half, same)]
                np.testing.assert_allclose(*vectors, atol=1e-6)


def test_an_evaluation_of_retrieval_reads_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [{"queries": [{"targets": [str(i)]}], "candidates": [{"id": str(i)}]} for i in range(shaped.ITEMS)]
    trial = shaped.begun(shaped.BASE, "retrieval", tmp_path, rows={"validation": {"en": pairs}})
    plan = planned(trial.materials, "validation", None, 64)

    @torch.no_grad()
    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        logits = trial.model.logits(trial.model.embed(batch), batch)
        return lambda: {"answers": trial.materials.shape.predict(logits, batch.labels)}

    whole = predict_stream(trial.model, trial.materials, "validation", plan, Group(), respond)["answers"]
    expected = evaluation.score(trial.materials, "validation", plan, whole)
    monkeypatch.setattr(evaluation, "predict_stream", None)
    scores, _, _ = evaluation.evaluate(
        trial.model, trial.materials, "validation", None, trial.config.evaluation, Group()
    )
    assert scores == expected
