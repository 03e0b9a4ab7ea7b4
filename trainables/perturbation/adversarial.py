"""Adversarial training by projected gradient (Madry et al., arXiv 1706.06083; for text Miyato et al., 1605.07725)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trainables.perturbation.ascent import AscentMethod, describe_ascent
from trainables.perturbation.base import AtPoint, Describe, Perturbable, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Adversarial(AscentMethod, AtPoint):
    """The training loss at the worst point that K ascent steps find: CE(x + delta_K)."""

    name = "adversarial"
    description = "training at the worst point that projected gradient finds in the ball (PGD)"
    dose = "relative_norm"

    def point(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Describe]:
        ascent = self._maximise(batch, magnitude, batch.loss, self._steps(magnitude))
        return batch.embeddings + ascent.delta, partial(describe_ascent, batch, ascent)

    @property
    def forward_equivalents(self) -> float:
        return 3.0 + 2.0 * self._steps()
