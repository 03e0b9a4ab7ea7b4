"""Clean training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.perturbation.base import AtPoint, Describe, Diagnostics, Perturbable, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Clean(AtPoint):
    """The training loss at the embeddings themselves."""

    name = "none"
    description = "clean training"

    def point(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Describe]:
        return batch.embeddings, lambda loss, logits: Diagnostics()

    @property
    def forward_equivalents(self) -> float:
        return 3.0
