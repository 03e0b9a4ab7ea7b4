"""Outputs kept near those of the weights' moving average (SMART's Bregman proximal point)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, begun
from tests.trainables.steps import stepped
from trainables.config import PerturbationConfig
from trainables.loading import apply_point
from trainables.model.encoder import Model
from trainables.perturbation import create
from trainables.perturbation.carried import Average, Start
from trainables.storage.checkpoint import load_weights, trainable_weights
from trainables.training import loop
from trainables.training.loop import fit
from trainables.training.trial import Trial

MU, BETA = 2.0, 0.6


def trial(folder: Path, **point: Any) -> Trial:
    settings = {"training.max_grad_norm": None, "training.schedule": "constant", "training.learning_rate": 1e-2}
    settings |= {"perturbation.proximal_weight": MU, "perturbation.momentum": BETA, "perturbation.method": "bregman"}
    return begun(apply_point(BASE, settings | point), "classification", folder)


def weights(made: Trial) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainable_weights(made.model).items()}


def carried(made: Trial) -> dict[str, Tensor]:
    assert made.perturbation.carries is not None
    return {name: tensor.clone() for name, tensor in made.perturbation.carries.tensors.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def kl(p: Tensor, q: Tensor) -> Tensor:
    p, q = p.log_softmax(-1), q.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def test_a_step_is_its_formula(tmp_path: Path) -> None:
    """Against a second model that has the averaged weights."""
    made = trial(tmp_path, **{"encoder.adapter.method": "lora", "training.learning_rate": 0.05})
    seen = [weights(made)]
    for _ in range(3):
        stepped(made)
        seen.append(weights(made))
    mean = seen[0]
    for after in seen[1:]:
        mean = {name: BETA * mean[name] + (1 - BETA) * after[name] for name in mean}
    for name, tensor in carried(made).items():
        torch.testing.assert_close(tensor, mean[name], rtol=1e-5, atol=1e-6)

    before: Model = copy.deepcopy(made.model)
    load_weights(before, carried(made))
    batch, _ = made.feed.take(0, made.batches.at(made.step), lambda: None)
    p, q = before.logits(before.embed(batch), batch).detach(), made.model.logits(made.model.embed(batch), batch)
    apart = kl(p, q) + kl(q, p)
    loss = (made.materials.shape.loss(q, batch.labels) + MU * apart).mean()
    trained = [parameter for parameter in made.model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, trained)
    expected = [w - g for w, g in zip((p.detach() for p in trained), gradients, strict=True)]
    made.optimizer = torch.optim.SGD(trained, lr=1.0)
    made.optimizer.param_groups[0]["peak"] = 1.0
    made.meters.diagnostics.apart = made.meters.diagnostics.compared = 0.0
    found, _ = stepped(made)
    assert found == pytest.approx(loss.item(), rel=1e-5)
    for parameter, each in zip(trained, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), each, rtol=1e-4, atol=1e-6)
    assert apart.mean().item() > 1e-4
    assert loop._training_metrics(made)["output_divergence"] == pytest.approx(apart.mean().item(), rel=1e-4)


@pytest.mark.parametrize("method", ["bregman", "smart+bregman", "rdrop+bregman+sam"])
def test_weight_zero_is_the_other_method_bit_for_bit(tmp_path: Path, method: str) -> None:
    other = method.replace("+bregman", "").replace("bregman", "none")
    point = {"encoder.dropout": 0.2, "perturbation.proximal_weight": 0.0}
    ours = trial(tmp_path / "ours", **point, **{"perturbation.method": method})
    plain = trial(tmp_path / "plain", **point, **{"perturbation.method": other})
    assert [stepped(ours)[0] for _ in range(3)] == [stepped(plain)[0] for _ in range(3)]
    assert equal(weights(ours), weights(plain))
    assert ours.perturbation.carries is None
    assert ours.perturbation.forward_equivalents == plain.perturbation.forward_equivalents


@pytest.mark.parametrize("method", ["bregman", "adversarial+bregman"])
def test_the_first_step_has_nothing_to_be_kept_near(tmp_path: Path, method: str) -> None:
    """The average begins at the weights, and the same dropout mask is over both."""
    made = trial(tmp_path, **{"encoder.dropout": 0.3, "perturbation.method": method})
    stepped(made)
    assert loop._training_metrics(made)["output_divergence"] == pytest.approx(0.0, abs=1e-6)


def test_how_much_the_average_keeps_of_itself() -> None:
    kept = []
    for done in (0.05, 0.1, 0.2, 1.0):
        average = Average(0.999)
        average.begin(Start({"w": torch.ones(1)}, torch.arange(1), width=1, sequences=1, longest=1, seed=0))
        average.update({"w": torch.zeros(1)}, done)
        kept.append(average.tensors["w"].item())
    assert kept == pytest.approx([0.99, 0.99, 0.999, 0.999])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_to_the_bit(tmp_path: Path, precision: str) -> None:
    point = {"training.budget": {"steps": 5}, "evaluation.every": 3, "training.precision": precision}
    whole = trial(tmp_path / "whole", **point)
    list(fit(whole))
    for evaluation in fit(trial(tmp_path / "parts", **point)):
        assert evaluation.step == 3
        break
    again = trial(tmp_path / "parts", **point)
    assert again.step == 3 and not equal(carried(again), weights(again))
    list(fit(again))
    assert equal(weights(whole), weights(again)) and equal(carried(whole), carried(again))


@pytest.mark.parametrize(
    ("method", "passes"), [("bregman", 4), ("smart+bregman", 11), ("adversarial+rdrop+bregman", 11), ("bregman+sam", 8)]
)
def test_it_costs_a_forward_pass(method: str, passes: float) -> None:
    found = create(PerturbationConfig(method=method, ascent_steps=2))
    assert found.forward_equivalents == passes
    assert found.weight_gradients == {4: 1, 11: 2, 8: 2}[int(passes)]
