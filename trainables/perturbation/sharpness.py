"""Robustness to a change of the weights: SAM and ASAM, the weight-space twins of an adversarial perturbation.

Their ascent is one step of length rho along the gradient of the whole batch; the gradient that trains the weights is
taken there, and applied where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.lazy import torch
from trainables.perturbation.base import Around, Diagnostics, Measured, Perturbable, Perturbation, WeightAscent

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: dict[str, type[WeightAscent]] = {}
"""Registered ways to move the weights, by name."""


def register(way: type[WeightAscent]) -> type[WeightAscent]:
    """Class decorator: make a way to move the weights available under its name."""
    assert way.name not in WEIGHTS, f"{way.name!r} is registered already"
    WEIGHTS[way.name] = way
    return way


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


class AtMovedWeights(Around):
    """The loss of another method, at weights that `way` moves."""

    def __init__(self, inner: Perturbation, way: WeightAscent) -> None:
        super().__init__(inner)
        self.weights = way
        self.dose = inner.dose or way.dose

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        return self.inner.loss(batch, magnitude)

    def backward(
        self, batch: Perturbable, magnitude: float, scale: float | Tensor
    ) -> tuple[Tensor, Diagnostics | Measured]:
        return self.inner.backward(batch, magnitude, scale)

    @property
    def forward_equivalents(self) -> float:
        """Twice what it stands around; once where nothing is moved."""
        return self.inner.forward_equivalents * self._times

    @property
    def weight_gradients(self) -> float:
        return self.inner.weight_gradients * self._times

    @property
    def _times(self) -> float:
        return 2.0 if self.config.rho > 0.0 else 1.0


def move(way: WeightAscent, weights: Sequence[Tensor], gradients: Sequence[Tensor], magnitude: float) -> Tensor:
    """Add e, of ``magnitude * rho``, to the weights in place. Returns ||e|| and ||w|| as they were before, (2,).

    Where the gradient is zero or not finite, which a step under fp16 may be, nothing is moved.
    """
    before = torch.nn.utils.get_total_norm(weights)
    directions, length = way.directions(weights, gradients)
    is_useless = ~((length > 0) & length.isfinite())
    steps = [(d * (magnitude * way.rho / length)).masked_fill_(is_useless, 0.0) for d in directions]
    for weight, step in zip(weights, steps, strict=True):
        weight.add_(step)
    return torch.stack([torch.nn.utils.get_total_norm(steps), before])
