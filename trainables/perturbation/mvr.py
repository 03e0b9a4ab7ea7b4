"""Multi-view subword regularisation (Wang, Ruder and Neubig, arXiv 2103.08490): two segmentations of one text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig, TrialConfig
from trainables.lazy import torch
from trainables.perturbation.base import (
    Diagnostics,
    Measured,
    Perturbable,
    Perturbation,
    View,
    describe_views,
    masks_problems,
    register,
)

if TYPE_CHECKING:
    from torch import Tensor


@register
class Mvr(Perturbation):
    """(CE(x) + CE(x')) / 2 + weight * KL(softmax(z(x) / T) || softmax(z(x'))), x' the text in a drawn segmentation.

    Both sides of the divergence carry gradient, and the temperature is the first view's alone, as in the authors' code
    (`run_mv_classify.py`). An item that has no second view, such as one whose answer did not fit into it, is trained on
    as it is.
    """

    name = "mvr"
    description = "two segmentations of a text, both trained on, their outputs kept alike by view.weight (MVR)"
    dose = "added_pieces"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        self.two_masks = config.view.masks == "two"

    @property
    def view(self) -> View | None:
        return "segments" if self.config.view.probability > 0.0 else None

    def problems(self, trial: TrialConfig) -> list[str]:
        return masks_problems(trial)

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        first = batch.forward(batch.embeddings)
        loss, other = batch.loss(first), batch.other
        if self.view is None:
            return loss, Diagnostics()
        assert other is not None, "whoever trains gives a second view"
        second = other.forward(other.embeddings)
        apart = other.divergence(*other.common(first / self.config.view.temperature, second))
        both = (loss + other.loss(second)) / 2 + self.config.view.weight * magnitude * apart
        return torch.where(other.there, both, loss), describe_views(batch, other, apart)

    @property
    def forward_equivalents(self) -> float:
        return 3.0 if self.view is None else 6.0

    @property
    def weight_gradients(self) -> float:
        return 1.0 if self.view is None else 2.0
