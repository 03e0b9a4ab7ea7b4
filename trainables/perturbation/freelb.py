"""Methods that train at all points of the ascent: FreeLB, and VILLA, which adds a divergence at each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig
from trainables.errors import UserError
from trainables.lazy import torch
from trainables.perturbation.ascent import AscentMethod, Objective, describe_ascent, inputs_only
from trainables.perturbation.base import Measured, Perturbable, accumulate, register, symmetric

if TYPE_CHECKING:
    from torch import Tensor


@register
class FreeLB(AscentMethod):
    """The mean over k < K of CE(x + delta_k): delta_0 is the start, each next one an ascent step further.

    (FreeLB; Zhu et al., arXiv 1909.11764, algorithm 1.) The gradient that moves delta is a by-product of the one that
    trains the weights, so K points cost K clean steps.
    """

    name = "freelb"
    description = "training at all K points of the ascent, whose weight gradients are averaged (FreeLB)"
    dose = "relative_norm"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        if config.ascent_steps < 1:
            raise UserError(f"perturbation.ascent_steps: {self.name} needs at least 1 (got {config.ascent_steps})")

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Measured]:
        """One graph of all K passes; `backward` accumulates the same gradient in the memory of one."""
        losses: list[Tensor] = []

        def differentiate(values: Tensor, point: Tensor) -> Tensor:
            losses.append(values)
            return inputs_only(values, point, retain_graph=True)

        objective = self._objective(batch)
        ascent = self._maximise(batch, magnitude, objective, self._points(magnitude) - 1, differentiate)
        logits = batch.forward(batch.embeddings + ascent.delta)
        losses.append(objective(logits))
        return torch.stack(losses).mean(dim=0), describe_ascent(batch, ascent, losses[-1], logits)

    def backward(self, batch: Perturbable, magnitude: float, scale: float | Tensor) -> tuple[Tensor, Measured]:
        # Cut off at the embeddings, whose own graph all K passes share and the first of them would free.
        inner = replace(batch, embeddings=batch.embeddings.detach())
        points = self._points(magnitude)
        losses: list[Tensor] = []
        to_embeddings = torch.zeros_like(inner.embeddings)

        def differentiate(values: Tensor, point: Tensor) -> Tensor:
            accumulate(values, scale / points)
            assert point.grad is not None
            losses.append(values.detach())
            to_embeddings.add_(point.grad)
            return point.grad

        objective = self._objective(inner)
        ascent = self._maximise(inner, magnitude, objective, points - 1, differentiate)
        point = (inner.embeddings + ascent.delta).requires_grad_()
        logits = batch.forward(point)
        differentiate(objective(logits), point)
        if batch.embeddings.requires_grad:
            torch.autograd.backward(batch.embeddings, to_embeddings)
        return torch.stack(losses).mean(dim=0), describe_ascent(batch, ascent, losses[-1], logits)

    def _objective(self, batch: Perturbable) -> Objective:
        """What is raised by the ascent and lowered by the weights, at each point."""
        return batch.loss

    def _points(self, magnitude: float = 1.0) -> int:
        """K; in a ball of radius zero all points are one."""
        return max(1, self._steps(magnitude))

    @property
    def forward_equivalents(self) -> float:
        return 3.0 * self._points()

    @property
    def weight_gradients(self) -> float:
        return float(self._points())


@register
class Villa(FreeLB):
    """The mean over k < K of CE(x + delta_k) + weight * KLs(f(x), f(x + delta_k)), f(x) a constant.

    (VILLA, its text side; Gan et al., arXiv 2006.06195, algorithm 1 and equation 6.) Theirs starts at zero, and nothing
    bounds its steps; here they end in the ball, as everywhere.
    """

    name = "villa"
    description = "training at all K points of the ascent, and near the clean output at each (VILLA)"

    def _objective(self, batch: Perturbable) -> Objective:
        with torch.no_grad():
            clean = batch.forward(batch.embeddings)
        return lambda logits: batch.loss(logits) + self.config.weight * symmetric(batch, clean, logits)

    @property
    def forward_equivalents(self) -> float:
        return super().forward_equivalents + 1.0
