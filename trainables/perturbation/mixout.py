"""Mixout (Lee et al., arXiv 1909.11299): weights of which a random part is, for a step, what it was before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.lazy import torch
from trainables.perturbation.base import Drop, MovedWeights
from trainables.perturbation.carried import Weights
from trainables.perturbation.moved import register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Mixout(MovedWeights):
    """w_mix = (m w0 + (1 - m) w - p w0) / (1 - p), m Bernoulli(p) for each weight (equation 5 of the paper).

    That is w0 + (w - w0) f, f the factors of dropout: what training has added is dropped out, and its gradient is
    multiplied by f. Of the encoder's trained weights; the head has none from before training. One mask a step, for all
    passes, micro-batches and workers.
    """

    name = "mixout"
    description = "each weight is for a step what it was before training with chance probability, rescaled (mixout)"
    of_encoder = True
    looks_first = False
    copies = 3

    @property
    def reach(self) -> float:
        return self.config.probability

    def begin(self, pretrained: Weights) -> None:
        self._pretrained = {name: weight.detach().clone() for name, weight in pretrained.items()}
        # Kept from step to step: on a CPU new memory costs as much as what is computed in it.
        self._factors = {name: _room(weight) for name, weight in self._pretrained.items()}
        largest = max(self._pretrained.values(), key=lambda weight: weight.numel(), default=torch.empty(0))
        self._step = _room(largest).view(-1)

    def move(self, weights: Weights, gradients: Weights, magnitude: float, drop: Drop) -> Tensor:
        before = torch.nn.utils.get_total_norm(list(weights.values()))
        norms = []
        for name, origin in self._pretrained.items():
            weight = weights[name]
            factors = drop(name, weight, magnitude * self.reach, self._factors[name])
            step = torch.sub(weight, origin, out=self._step[: weight.numel()].view_as(weight))
            step.addcmul_(step, factors, value=-1.0)  # -e = (w - w0) (1 - f), with one temporary
            norms.append(torch.linalg.vector_norm(step))
            weight.sub_(step)
        return torch.stack([torch.linalg.vector_norm(torch.stack(norms)), before])

    def bring_back(self, gradients: Weights) -> None:
        for name, factors in self._factors.items():
            if name in gradients:
                gradients[name].mul_(factors)


def _room(weight: Tensor) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)
