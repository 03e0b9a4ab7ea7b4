"""Robustness to a change of the weights: SAM and ASAM, the weight-space twins of an adversarial perturbation.

Their ascent is one step of length rho along the gradient of the whole batch; the gradient that trains the weights is
taken there, and applied where they were.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.lazy import torch
from trainables.perturbation.base import Drop, MovedWeights
from trainables.perturbation.carried import Weights
from trainables.perturbation.moved import register

if TYPE_CHECKING:
    from torch import Tensor


class WeightAscent(MovedWeights):
    """Weights moved to where the loss is worse: the gradient is what trains them, and the direction first."""

    looks_first = True
    copies = 2

    @property
    def reach(self) -> float:
        return self.config.rho

    @abstractmethod
    def directions(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Of each weight, and what their length is divided by for a step of length rho: tensors, none read back."""

    def move(self, weights: Weights, gradients: Weights, magnitude: float, drop: Drop) -> Tensor:
        """By ``magnitude * rho``. Where the gradient is zero or not finite, as it may be under fp16, by nothing."""
        moved = [weights[name] for name in gradients]
        before = torch.nn.utils.get_total_norm(moved)
        directions, length = self.directions(moved, list(gradients.values()))
        is_useless = ~((length > 0) & length.isfinite())
        steps = [(d * (magnitude * self.reach / length)).masked_fill_(is_useless, 0.0) for d in directions]
        for weight, step in zip(moved, steps, strict=True):
            weight.add_(step)
        return torch.stack([torch.nn.utils.get_total_norm(steps), before])


@register
class Sam(WeightAscent):
    """e = rho g / ||g||, the norm over all trained weights (Foret et al., arXiv 2010.01412, equation 2)."""

    name = "sam"
    description = "the gradient is taken at weights moved by rho towards a higher loss (SAM)"

    def directions(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        return list(gradients), torch.nn.utils.get_total_norm(gradients)


@register
class Asam(WeightAscent):
    """e = rho w² g / || |w| g ||, element by element (Kwon et al., arXiv 2102.11600, equation 6).

    T_w = |w| for every weight, without the constant that the paper adds for weights near zero.
    """

    name = "asam"
    description = "as sam, each weight moved in proportion to its own size (ASAM)"

    def directions(self, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        scaled = [w.abs().mul_(g) for w, g in zip(weights, gradients, strict=True)]
        return [w.abs().mul_(s) for w, s in zip(weights, scaled, strict=True)], torch.nn.utils.get_total_norm(scaled)
