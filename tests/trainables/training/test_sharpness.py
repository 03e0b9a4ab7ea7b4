"""Weights that are moved before the gradient is taken that trains them (SAM, ASAM)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, SHAPES, begun
from tests.trainables.steps import stepped
from trainables.config import PerturbationConfig
from trainables.loading import apply_point
from trainables.perturbation.sharpness import Asam, Sam, WeightAscent
from trainables.training import loop
from trainables.training.trial import Trial

RHO = 0.05


def trial(folder: Path, shape: str = "classification", **point: Any) -> Trial:
    """One whose update subtracts the gradient itself."""
    settings = {"training.max_grad_norm": None, "training.schedule": "constant", "perturbation.rho": RHO}
    made = begun(apply_point(BASE, settings | {"perturbation.method": "sam", **point}), shape, folder)
    made.optimizer = torch.optim.SGD(trained(made), lr=1.0)
    for group in made.optimizer.param_groups:
        group["peak"] = 1.0
    return made


def trained(made: Trial) -> list[Tensor]:
    return [p for p in made.model.parameters() if p.requires_grad]


def weights(made: Trial) -> list[Tensor]:
    return [p.detach().clone() for p in trained(made)]


def gradient(made: Trial) -> list[Tensor]:
    """Of the mean loss of the batch to come, restated: of the whole batch at once."""
    batch, _ = made.feed.take(0, made.batches.at(made.step), lambda: None)
    loss = made.materials.shape.loss(made.model.logits(made.model.embed(batch), batch), batch.labels).mean()
    found = torch.autograd.grad(loss, trained(made), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(trained(made), found, strict=True)]


def norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def sam(w: list[Tensor], g: list[Tensor]) -> list[Tensor]:
    return [RHO * each / norm(g) for each in g]


def asam(w: list[Tensor], g: list[Tensor]) -> list[Tensor]:
    length = norm([a.abs() * b for a, b in zip(w, g, strict=True)])
    return [RHO * a.square() * b / length for a, b in zip(w, g, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("restated", [sam, asam])
def test_a_step_is_its_formula(tmp_path: Path, shape: str, restated: Callable[..., list[Tensor]]) -> None:
    ours = trial(tmp_path / "ours", shape, **{"perturbation.method": restated.__name__})
    other = trial(tmp_path / "other", shape)
    other.model.train()
    before = weights(other)
    e = restated(before, gradient(other))
    with torch.no_grad():
        for p, moved in zip(trained(other), e, strict=True):
            p.add_(moved)
    there = gradient(other)
    stepped(ours)
    for found, w, g in zip(weights(ours), before, there, strict=True):
        torch.testing.assert_close(found, w - g, rtol=1e-3, atol=1e-5)
    metrics = loop._training_metrics(ours)
    assert metrics["weight_norm"] == pytest.approx(norm(e), rel=1e-4)
    assert metrics["relative_weight_norm"] == pytest.approx(norm(e) / norm(before), rel=1e-4)
    assert metrics["sharpness"] > 0
    assert "relative_norm" not in metrics


def test_the_norm_is_over_all_weights_whatever_the_micro_batches(tmp_path: Path) -> None:
    whole, parts = (trial(tmp_path / str(size), **{"training.micro_batch_size": size}) for size in (None, 2))
    for made in (whole, parts):
        stepped(made)
    for ours, theirs in zip(weights(whole), weights(parts), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert loop._training_metrics(parts)["weight_norm"] == pytest.approx(RHO, rel=1e-5)


@pytest.mark.parametrize("method", ["sam", "asam"])
def test_rho_zero_is_clean_training_bit_for_bit(tmp_path: Path, method: str) -> None:
    point = {"encoder.dropout": 0.2}
    ours = trial(tmp_path / "ours", **point, **{"perturbation.method": method, "perturbation.rho": 0.0})
    clean = trial(tmp_path / "clean", **point, **{"perturbation.method": "none"})
    for made in (ours, clean):
        stepped(made)
        stepped(made)
    assert all(torch.equal(a, b) for a, b in zip(weights(ours), weights(clean), strict=True))
    assert "weight_norm" not in loop._training_metrics(ours)


def test_the_weights_come_back_to_the_bit_and_warm_up_scales_the_step(tmp_path: Path) -> None:
    made = trial(tmp_path, **{"perturbation.warmup_fraction": 0.5})
    for group in made.optimizer.param_groups:
        group["peak"] = 0.0
    before, seen = weights(made), []
    for _ in range(4):
        stepped(made)
        seen.append(made.meters.moved.norm)
    assert all(torch.equal(a, b) for a, b in zip(weights(made), before, strict=True))
    assert seen == pytest.approx([0.0, RHO / 4, RHO * 3 / 4, RHO * 6 / 4], rel=1e-4)
    assert made.meters.moved.steps == 3


def test_both_passes_are_under_one_dropout_mask(tmp_path: Path) -> None:
    """Else the loss would change by more than so small a step can do."""
    made = trial(tmp_path, **{"encoder.dropout": 0.4, "perturbation.rho": 1e-5, "perturbation.method": "sam"})
    stepped(made)
    assert 0 < loop._training_metrics(made)["sharpness"] < 1e-3


def move(way: type[WeightAscent], weights: list[Tensor], gradients: list[Tensor]) -> Tensor:
    named = ({str(number): each for number, each in enumerate(tensors)} for tensors in (weights, gradients))
    return way(PerturbationConfig()).move(*named, 1.0, lambda name, weight, p, out: weight)


@pytest.mark.parametrize("way", [Sam, Asam])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_without_a_usable_gradient_nothing_is_moved(way: type[WeightAscent], value: float) -> None:
    kept = [torch.tensor([1.0, -2.0]), torch.tensor([0.5])]
    moved = [w.clone() for w in kept]
    norms = move(way, moved, [torch.tensor([value, value]), torch.tensor([value])])
    assert all(torch.equal(a, b) for a, b in zip(moved, kept, strict=True))
    assert norms[0] == 0.0


def test_a_common_factor_of_the_gradients_cancels() -> None:
    """So the scale of fp16 needs not be taken out."""
    torch.manual_seed(0)
    w, g = [torch.randn(5), torch.randn(2, 3)], [torch.randn(5), torch.randn(2, 3)]
    for way in (Sam, Asam):
        found = []
        for factor in (1.0, 2.0**16):
            at = [each.clone() for each in w]
            move(way, at, [each * factor for each in g])
            found.append(at)
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b)


def test_it_stands_around_other_methods(tmp_path: Path) -> None:
    made = trial(tmp_path, **{"perturbation.method": "adversarial+sam", "encoder.dropout": 0.2})
    stepped(made)
    metrics = loop._training_metrics(made)
    assert metrics["relative_norm"] == pytest.approx(0.3, rel=0.05)
    assert metrics["weight_norm"] == pytest.approx(RHO, rel=1e-4)


def test_biases_that_are_all_zero_have_no_relative_norm(tmp_path: Path) -> None:
    """As they may be before the first step; the head of retrieval has no weights."""
    made = trial(tmp_path, "retrieval", **{"encoder.adapter.method": "bitfit"})
    assert norm(weights(made)) == 0.0
    stepped(made)
    assert made.meters.moved.norm == pytest.approx(RHO) and made.meters.moved.relative == 0.0
    stepped(made)
    assert math.isfinite(made.meters.moved.relative) and made.meters.moved.relative > 0.0
