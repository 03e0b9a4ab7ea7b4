"""Clean training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.perturbation.base import Diagnostics, Perturbable, Perturbation, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Clean(Perturbation):
    """The training loss at the embeddings themselves."""

    name = "none"
    description = "clean training"

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics]:
        return batch.loss(batch.forward(batch.embeddings)), Diagnostics()

    @property
    def forward_equivalents(self) -> float:
        return 3.0
