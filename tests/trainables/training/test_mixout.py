"""Weights of which a random part is, for a step, what it was before training (mixout)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import BASE, begun
from tests.trainables.steps import stepped
from trainables.loading import apply_point
from trainables.model import dropout
from trainables.perturbation.moved import WEIGHTS
from trainables.seeds import derive
from trainables.storage.checkpoint import trainable_weights
from trainables.training import loop
from trainables.training.loop import fit
from trainables.training.trial import Trial

P = 0.4


def trial(folder: Path, **point: Any) -> Trial:
    settings = {"training.max_grad_norm": None, "training.schedule": "constant", "perturbation.probability": P}
    return begun(apply_point(BASE, settings | {"perturbation.method": "mixout", **point}), "classification", folder)


def weights(made: Trial) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainable_weights(made.model).items()}


def test_a_step_is_its_formula(tmp_path: Path) -> None:
    """(m w0 + (1 - m) w - p w0) / (1 - p), m Bernoulli(p), differentiated to w by autograd."""
    ours = trial(tmp_path / "ours", **{"training.learning_rate": 1e-2})
    w0 = weights(ours)
    stepped(ours)
    w = weights(ours)
    ours.optimizer = torch.optim.SGD([p for p in ours.model.parameters() if p.requires_grad], lr=1.0)
    ours.optimizer.param_groups[0]["peak"] = 1.0
    batch, _ = ours.feed.take(0, ours.batches.at(1), lambda: None)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in w.items()}
    mixed, moved = dict(leaves), 0.0
    p = 1.0 - round((1.0 - P) * dropout.STEPS) / dropout.STEPS
    for name, leaf in leaves.items():
        if name.startswith("encoder."):
            m = (dropout.draw(derive(0, "weights", 1, name), leaf, P) == 0.0).float()
            mixed[name] = (m * w0[name] + (1 - m) * leaf - p * w0[name]) / (1 - p)
            moved += float((mixed[name] - leaf).detach().double().square().sum())

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = ours.model

        def forward(self) -> Tensor:
            return self.model.logits(self.model.embed(batch), batch)

    logits = torch.func.functional_call(Logits(), {f"model.{name}": tensor for name, tensor in mixed.items()}, ())
    loss = ours.materials.shape.loss(logits, batch.labels).mean()
    gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True))
    before = ours.meters.moved.norm
    found, _ = stepped(ours)
    assert found == pytest.approx(loss.item(), rel=1e-5)
    assert ours.meters.moved.norm - before == pytest.approx(moved**0.5, rel=1e-4)
    for name, after in weights(ours).items():
        gradient = gradients[name]
        torch.testing.assert_close(after, w[name] if gradient is None else w[name] - gradient, rtol=1e-4, atol=1e-6)
    metrics = loop._training_metrics(ours)
    assert metrics["relative_weight_norm"] > 0 and "sharpness" not in metrics


@pytest.mark.parametrize("point", [{"perturbation.probability": 0.0}, {"training.learning_rate": 1e-9}])
def test_nothing_to_mix_is_clean_training_bit_for_bit(tmp_path: Path, point: dict[str, Any]) -> None:
    """Without a chance of it, or where the weights are still those from before training."""
    point = {"encoder.dropout": 0.2, **point}
    ours, clean = (
        trial(tmp_path / "ours", **point),
        trial(tmp_path / "clean", **point | {"perturbation.method": "none"}),
    )
    losses = [
        [stepped(made)[0] for _ in range(1 if point.get("training.learning_rate") else 3)] for made in (ours, clean)
    ]
    assert losses[0] == losses[1]
    if "perturbation.probability" in point:
        assert all(torch.equal(a, b) for a, b in zip(weights(ours).values(), weights(clean).values(), strict=True))
        assert "weight_norm" not in loop._training_metrics(ours)


@pytest.mark.parametrize(
    "point",
    [{"encoder.adapter.method": "lora"}, {"encoder.adapter.method": "bitfit"}, {"encoder.freeze_embeddings": True}],
)
def test_what_is_trained_is_mixed_and_nothing_else(tmp_path: Path, point: dict[str, Any]) -> None:
    made = trial(tmp_path, **{"training.learning_rate": 1e-2, **point})
    for _ in range(2):
        stepped(made)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    for group in made.optimizer.param_groups:
        group["peak"] = 0.0
    seen: dict[str, Tensor] = {}
    backward = made.perturbation.backward

    def look(*arguments: Any) -> Any:
        seen.update({name: tensor.clone() for name, tensor in made.model.state_dict().items()})
        return backward(*arguments)

    made.perturbation.backward = look  # type: ignore[method-assign]
    stepped(made)
    changed = {name for name, tensor in seen.items() if not torch.equal(tensor, before[name])}
    assert changed and changed <= {n for n, p in made.model.named_parameters() if p.requires_grad and "head" not in n}
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.model.state_dict().items())


def test_resumed_trials_still_mix_with_what_was_before_training(tmp_path: Path) -> None:
    point = {"training.learning_rate": 1e-2, "training.budget": {"steps": 5}, "evaluation.every": 3}
    whole = trial(tmp_path / "whole", **point)
    list(fit(whole))
    first = trial(tmp_path / "parts", **point)
    for evaluation in fit(first):
        assert evaluation.step == 3
        break
    again = trial(tmp_path / "parts", **point)
    assert again.step == 3
    list(fit(again))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(again).values(), strict=True))


def test_it_costs_a_clean_step() -> None:
    from trainables.config import PerturbationConfig
    from trainables.perturbation import create

    found = create(PerturbationConfig(method="adversarial+mixout", ascent_steps=2))
    assert (found.forward_equivalents, found.weight_gradients) == (7.0, 1.0)
    assert "mixout" in WEIGHTS
