"""xTune (Zheng et al., arXiv 2106.08226): consistency of the outputs on an example and on its second view.

The second stage holds them to those of a model that the first has trained, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig, TrialConfig
from trainables.lazy import torch
from trainables.perturbation.ascent import describe
from trainables.perturbation.base import (
    Diagnostics,
    Measured,
    Other,
    Perturbable,
    Perturbation,
    View,
    describe_views,
    masks_problems,
    register,
)
from trainables.perturbation.random_perturbation import noise_strength, random_delta

if TYPE_CHECKING:
    from torch import Tensor


@register
class XTune(Perturbation):
    """CE(x) + l1 / C (KL(p || p') + KL(p' || p)) [+ l2 / C KL(t' || p')], p, p' the outputs on an example and its view.

    The first side of each divergence is held constant; t' is the frozen teacher's output on the view. C is the number
    of classes, since the authors' code averages over them (`F.kl_div`'s reduction ``mean``); 1 for spans, where it
    sums.
    """

    name = "xtune"
    description = "outputs on an example kept like those on its second view, and a teacher's (xTune, both stages)"
    dose = "perturbation.example_weight"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        self.two_masks = config.view.masks == "two"

    @property
    def view(self) -> View | None:
        kind = self.config.view.kind
        return None if kind == "noise" or self._is_clean else kind

    @property
    def teacher(self) -> Path | None:
        return self.config.teacher

    @property
    def strength(self) -> float:
        return noise_strength(self.config)

    def problems(self, trial: TrialConfig) -> list[str]:
        return masks_problems(trial)

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        first = batch.forward(batch.embeddings)
        loss = batch.loss(first)
        if self._is_clean:
            return loss, Diagnostics()
        other = self._noisy(batch, magnitude) if self.config.view.kind == "noise" else batch.other
        assert other is not None, "whoever trains gives a second view"
        second = other.forward(other.embeddings)
        p, q = other.common(first, second)
        apart = other.divergence(p.detach(), q) + other.divergence(q.detach(), p)
        more = self.config.example_weight * apart
        if self.teacher is not None:
            assert other.taught is not None, "whoever trains asks the teacher"
            more = more + self.config.model_weight * other.own_divergence(other.taught(), second)
        total = torch.where(other.there, loss + magnitude / batch.classes * more, loss)
        if self.config.view.kind == "noise":
            return total, describe(batch, other.embeddings.detach() - batch.embeddings.detach())
        return total, describe_views(batch, other, apart)

    def _noisy(self, batch: Perturbable, magnitude: float) -> Other:
        """The embeddings under noise; the teacher sees them without."""
        forward = batch.forward_again if self.config.view.masks == "two" else batch.forward
        assert forward is not None, "whoever trains gives a second mask"
        return Other(
            forward=forward,
            embeddings=batch.embeddings + random_delta(self.config, self.reference_norm, batch, magnitude),
            mask=batch.mask,
            there=torch.ones((), dtype=torch.bool, device=batch.mask.device),
            loss=batch.loss,
            common=lambda p, q: (p, q),
            divergence=batch.divergence,
            own_divergence=batch.divergence,
            taught=batch.taught,
        )

    @property
    def _is_clean(self) -> bool:
        return self.config.view.kind == "segments" and self.config.view.probability == 0.0

    @property
    def forward_equivalents(self) -> float:
        return 3.0 if self._is_clean else 6.0 + (self.teacher is not None)

    @property
    def weight_gradients(self) -> float:
        return 1.0 if self._is_clean else 2.0
