"""Adversarial training by projected gradient (Madry et al., arXiv 1706.06083; for text Miyato et al., 1605.07725)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.perturbation.ascent import AscentMethod, describe_ascent
from trainables.perturbation.base import Measured, Perturbable, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Adversarial(AscentMethod):
    """The training loss at the worst point that K ascent steps find: CE(x + delta_K)."""

    name = "adversarial"
    description = "training at the worst point that projected gradient finds in the ball (PGD)"

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Measured]:
        ascent = self._maximise(batch, magnitude, batch.loss, self._steps(magnitude))
        logits = batch.forward(batch.embeddings + ascent.delta)
        loss = batch.loss(logits)
        return loss, describe_ascent(batch, ascent, loss, logits)

    @property
    def forward_equivalents(self) -> float:
        return 3.0 + 2.0 * self._steps()
