"""Methods that keep the model's output near its clean output: SMART and VAT (at the worst point found) and R3F.

Their loss is CE(x) + weight * D(f(x), f(x + delta)), D a Kullback-Leibler divergence per item, as the task's shape
defines it (averaged over an item's scored positions).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig
from trainables.errors import UserError
from trainables.perturbation.ascent import AscentMethod, describe, describe_ascent
from trainables.perturbation.base import AtOutput, Passed, Perturbable, register, symmetric
from trainables.perturbation.random_perturbation import noise_strength, random_delta

if TYPE_CHECKING:
    from torch import Tensor


class _WorstDivergence(AscentMethod, AtOutput):
    """The ascent raises the divergence from the clean output, which is held fixed while it does."""

    dose = "relative_norm"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        if config.start == "zero":
            raise UserError(
                f"perturbation.start: {self.name} needs uniform or gaussian, at the clean point its divergence has no "
                "gradient (got 'zero')"
            )

    @abstractmethod
    def _divergence(self, batch: Perturbable, clean: Tensor, moved: Tensor) -> Tensor:
        """Per-item divergence (n,) of two outputs."""

    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        clean = batch.forward(batch.embeddings)
        held = clean.detach()
        ascent = self._maximise(
            batch, magnitude, lambda moved: self._divergence(batch, held, moved), self._steps(magnitude)
        )
        moved = batch.forward(batch.embeddings + ascent.delta)
        divergence = self._divergence(batch, clean, moved)
        loss = batch.loss(clean) + self.config.weight * divergence
        return Passed(loss, describe_ascent(batch, ascent, divergence, moved), batch.embeddings, clean)

    @property
    def forward_equivalents(self) -> float:
        return 6.0 + 2.0 * self._steps()

    @property
    def weight_gradients(self) -> float:
        return 2.0


@register
class Smart(_WorstDivergence):
    """Smoothness-inducing regularisation (SMART; Jiang et al., arXiv 1911.03437, equations 1 to 3).

    The divergence is symmetric, and the weights' gradient flows through both of its sides. SMART's other half, its
    proximal point iteration, is a part of its own: `smart+bregman` has both.
    """

    name = "smart"
    description = "clean loss plus the symmetric KL at the worst point that the ascent finds (SMART)"

    def _divergence(self, batch: Perturbable, clean: Tensor, moved: Tensor) -> Tensor:
        return symmetric(batch, clean, moved)


@register
class Vat(_WorstDivergence):
    """Virtual adversarial training (Miyato et al., arXiv 1704.03976, equations 5 and 8; ALUM, 2004.08994).

    The one-sided KL(clean || moved), with the clean output a constant for the weights too.
    """

    name = "vat"
    description = "clean loss plus KL(clean || perturbed) at the worst point that the ascent finds (VAT, ALUM)"

    def _divergence(self, batch: Perturbable, clean: Tensor, moved: Tensor) -> Tensor:
        return batch.divergence(clean.detach(), moved)


@register
class R3F(AtOutput):
    """CE(x) + weight * KLs(f(x), f(x + noise)) at one random draw (R3F; Aghajanyan et al., arXiv 2008.03156)."""

    name = "r3f"
    description = "clean loss plus the symmetric KL at one random point (R3F)"
    dose = "relative_norm"

    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        delta = random_delta(self.config, self.reference_norm, batch, magnitude)
        clean, moved = batch.forward(batch.embeddings), batch.forward(batch.embeddings + delta)
        loss = batch.loss(clean) + self.config.weight * symmetric(batch, clean, moved)
        return Passed(loss, describe(batch, delta), batch.embeddings, clean)

    @property
    def strength(self) -> float:
        return noise_strength(self.config)

    @property
    def forward_equivalents(self) -> float:
        return 6.0

    @property
    def weight_gradients(self) -> float:
        return 2.0
