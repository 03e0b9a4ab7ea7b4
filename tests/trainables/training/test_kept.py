"""Which checkpoint is a trial's result, on scores that are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.team import together
from tests.trainables.training.test_step import BASE, begun
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.scores import LanguageScores
from trainables.storage import checkpoint
from trainables.training import loop
from trainables.training.loop import fit
from trainables.training.trial import Trial

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


AVERAGE = {"evaluation.checkpoint": "average", "evaluation.every": 1, "training.budget.steps": 4}


def weights_of(trial: Trial) -> dict[str, Tensor]:
    return {name: tensor.double().clone() for name, tensor in checkpoint.trainable_weights(trial.model).items()}


@pytest.mark.parametrize(("last", "among"), [(None, [1, 2, 3, 4]), (2, [3, 4]), (1, [4]), (9, [1, 2, 3, 4])])
def test_the_mean_of_the_weights_at_the_last_evaluations_is_scored_and_kept(
    tmp_path: Path, last: int | None, among: list[int]
) -> None:
    plain = begun(apply_point(BASE, {**AVERAGE, "evaluation.checkpoint": "last"}), tmp_path / "plain", 6)
    at = {}
    for evaluation in fit(plain):
        found = checkpoint.read(tmp_path / "plain" / str(evaluation.step))
        assert found is not None
        at[evaluation.step] = {name: tensor.double() for name, tensor in found.weights.items()}
    averaging = begun(apply_point(BASE, {**AVERAGE, "evaluation.average_last": last}), tmp_path / "mean", 6)
    final = list(fit(averaging))[-1]
    assert (final.step, final.final) == (4, True)
    written = checkpoint.read(tmp_path / "mean" / "4")
    assert written is not None and not written.mean
    for name, tensor in weights_of(averaging).items():
        mean = torch.stack([at[step][name] for step in among]).mean(0)
        torch.testing.assert_close(tensor, mean, rtol=0, atol=1e-6)
        assert torch.equal(written.weights[name].double(), tensor)
    assert any(not torch.equal(at[3][name], tensor) for name, tensor in at[4].items())


def test_what_was_averaged_before_an_interruption_counts_once(tmp_path: Path) -> None:
    config = apply_point(BASE, AVERAGE)
    whole = begun(config, tmp_path / "whole", 6)
    list(fit(whole))
    parts = fit(begun(config, tmp_path / "parts", 6))
    for _ in range(2):
        next(parts)
    parts.close()
    stored = checkpoint.latest(tmp_path / "parts")
    assert stored is not None and (stored.step, stored.averaged) == (2, 2) and stored.mean
    again = begun(config, tmp_path / "parts", 6)
    list(fit(again))
    assert again.averaged == 4
    for name, tensor in weights_of(whole).items():
        assert torch.equal(weights_of(again)[name], tensor), name


def test_all_workers_go_on_from_the_mean_of_the_first(tmp_path: Path) -> None:
    config = apply_point(BASE, AVERAGE)
    parts = fit(begun(config, tmp_path, 6))
    next(parts)
    parts.close()
    folders = [tmp_path, tmp_path / "empty"]

    def work(group: Group) -> tuple[int, list[float]]:
        trial = begun(config, folders[group.rank], 6, group)
        return trial.averaged, [float(tensor.sum()) for tensor in trial.mean.values()]

    first, second = together(2, work)
    assert first == second and first[0] == 1 and first[1]
