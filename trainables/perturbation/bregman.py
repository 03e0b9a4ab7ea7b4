"""SMART's proximal point iteration (Jiang et al., arXiv 1911.03437): outputs kept near those of earlier weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.perturbation.base import Around, AtOutput, Diagnostics, Measured, Perturbable, compared, symmetric
from trainables.perturbation.carried import Average

if TYPE_CHECKING:
    from torch import Tensor


class Bregman(Around):
    """L + mu * KLs(f(x), f'(x)), f' the model with the moving average of the weights so far, a constant.

    (Section 3.2 of the paper, with momentum: equation 7 and what follows; mu 1, b 0.99 and then 0.999.) x is where the
    other method trains: the clean point, unless its loss is the task's at another one. Both outputs are under one
    dropout mask, so that all of the divergence is the weights'.
    """

    name = "bregman"
    description = "outputs kept near those of the weights' moving average (SMART's Bregman proximal point)"
    dose = "perturbation.proximal_weight"

    def __init__(self, inner: AtOutput) -> None:
        super().__init__(inner)
        self._passed = inner.passed
        self.carries = Average(self.config.momentum) if self.config.proximal_weight > 0.0 else None

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        passed, weight = self._passed(batch, magnitude), self.config.proximal_weight * magnitude
        if weight == 0.0:
            return passed.loss, passed.diagnostics
        assert batch.averaged is not None, "whoever trains has the model with the weights that are carried"
        is_clean = passed.point is batch.embeddings
        earlier = batch.averaged(None if is_clean else (passed.point - batch.embeddings).detach())
        apart = symmetric(batch, earlier, passed.logits)
        return passed.loss + weight * apart, compared(passed.diagnostics, apart)

    @property
    def forward_equivalents(self) -> float:
        return self.inner.forward_equivalents + (1.0 if self.config.proximal_weight > 0.0 else 0.0)

    @property
    def weight_gradients(self) -> float:
        return self.inner.weight_gradients
