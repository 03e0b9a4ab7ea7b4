"""Which checkpoint is a trial's result, on scores that are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.training.test_step import BASE, begun
from trainables.loading import apply_point
from trainables.scores import LanguageScores
from trainables.storage import checkpoint
from trainables.training import loop
from trainables.training.loop import fit

BEST = {"evaluation.checkpoint": "best_source_validation", "evaluation.every": 1, "training.budget.steps": 4}


def given(scores: Iterator[float]) -> Any:
    """In place of an evaluation: the next of these scores in the source language."""

    def evaluate(*_: Any) -> Any:
        return {"accuracy": LanguageScores({"en": next(scores)}, {"en": 4})}, {}, None

    return evaluate


@pytest.mark.parametrize(("scores", "best"), [([0.5, 0.9, 0.9, 0.7], 2), ([0.5, 0.4, 0.3, 0.2], 1)])
def test_the_earliest_of_the_best_on_the_source_is_loaded_and_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: list[float], best: int
) -> None:
    monkeypatch.setattr(loop, "evaluate", given(iter([*scores, 0.123])))
    trial = begun(apply_point(BASE, BEST), tmp_path, 6)
    weights: dict[int, Mapping[str, Tensor]] = {}
    for evaluation in fit(trial):
        written = checkpoint.read(tmp_path / str(evaluation.step))
        assert written is not None
        weights[evaluation.step] = written.weights
    assert (evaluation.step, evaluation.final, evaluation.primary["en"]) == (4, True, 0.123)
    assert all(torch.equal(tensor, weights[4][name]) for name, tensor in weights[best].items())
    assert any(not torch.equal(tensor, weights[4][name]) for name, tensor in weights[3].items())


def test_a_last_evaluation_that_is_the_best_is_not_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "evaluate", given(iter([0.5, 0.4, 0.6, 0.7])))
    *_, final = fit(begun(apply_point(BASE, BEST), tmp_path, 6))
    assert (final.step, final.final, final.primary["en"]) == (4, True, 0.7)
