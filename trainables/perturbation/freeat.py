"""FreeAT (Shafahi et al., arXiv 1904.12843): the gradient that trains the weights also moves the perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig
from trainables.lazy import torch
from trainables.perturbation import noise
from trainables.perturbation.ascent import AscentMethod, describe_step, without_overflows
from trainables.perturbation.balls import Ball
from trainables.perturbation.base import Measured, Perturbable, accumulate, register
from trainables.perturbation.carried import Rows, Start

if TYPE_CHECKING:
    from torch import Tensor


@register
class FreeAT(AscentMethod):
    """CE(x + delta), each batch `replays` times in a row: after each, delta <- project(delta + step * normalise(g)).

    (Algorithm 1 of the paper.) delta begins at zero and is carried over, to the next batch too: by a sequence's place
    in the batch, and a token's among those that may be perturbed. A budget in epochs counts passes over the batches, so
    that each text is seen in epochs / replays of them, and a step costs what a clean one does.
    """

    name = "freeat"
    description = "each batch several times, the perturbation moved by the gradients that train (FreeAT)"
    dose = "relative_norm"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        self.replays = config.replays
        self.carries = self._rows = Rows(_still)

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Measured]:
        around, delta, size = self._carried(batch, magnitude)
        loss = batch.loss(batch.forward(batch.embeddings + delta))
        return loss, describe_step(batch, around, delta, size, loss.new_zeros(()), len(loss))

    def backward(self, batch: Perturbable, magnitude: float, scale: float | Tensor) -> tuple[Tensor, Measured]:
        around, delta, _ = self._carried(batch, magnitude)
        point = (batch.embeddings.detach() + delta).requires_grad_()
        loss = batch.loss(batch.forward(point))
        accumulate(loss, scale)
        assert point.grad is not None
        if batch.embeddings.requires_grad:
            torch.autograd.backward(batch.embeddings, point.grad)
        gradient = without_overflows(point.grad, point)
        moved, size = around.project(around.step(delta, gradient, self.config.step_size))
        self._rows.write(self._numbers(batch), batch.mask, moved)
        rise = (gradient.float() * (moved - delta)).sum() / scale
        return loss.detach(), describe_step(batch, around, delta, size, rise, len(loss))

    def _carried(self, batch: Perturbable, magnitude: float) -> tuple[Ball, Tensor, Tensor]:
        around = self._ball(batch, magnitude)
        return around, *around.project(self._rows.read(self._numbers(batch), batch.mask))

    def _numbers(self, batch: Perturbable) -> Tensor:
        """The row of each token (s, t)."""
        assert batch.places is not None, "whoever trains says where in the batch a sequence is"
        return batch.places.unsqueeze(1) * self._rows.longest + noise.ranks(batch.mask).clamp(min=0)

    @property
    def forward_equivalents(self) -> float:
        return 3.0


def _still(start: Start) -> Tensor:
    return torch.zeros(start.sequences * start.longest, start.width, device=start.words.device)
