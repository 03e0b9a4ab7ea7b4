"""Random perturbation (RS-RP of Huang et al., arXiv 2104.08645): training at a random point near the embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig
from trainables.perturbation.ascent import describe
from trainables.perturbation.balls import ball, gaussian
from trainables.perturbation.base import AtPoint, Describe, Perturbable, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class RandomPerturbation(AtPoint):
    """CE(x + noise), the noise Gaussian of scale sigma or uniform in the ball of radius epsilon."""

    name = "random_perturbation"
    description = "training at a random point: Gaussian noise, or a uniform draw from the ball"
    dose = "relative_norm"

    def point(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Describe]:
        delta = random_delta(self.config, self.reference_norm, batch, magnitude)
        return batch.embeddings + delta, lambda loss, logits: describe(batch, delta)

    @property
    def strength(self) -> float:
        return noise_strength(self.config)

    @property
    def forward_equivalents(self) -> float:
        return 3.0


def noise_strength(config: PerturbationConfig) -> float:
    """Sigma of Gaussian noise, epsilon of a uniform draw."""
    return config.sigma if config.distribution == "gaussian" else config.epsilon


def random_delta(config: PerturbationConfig, reference_norm: float, batch: Perturbable, magnitude: float) -> Tensor:
    """The configured noise (s, t, d); zero at padding and other excluded tokens."""
    scale = reference_norm if config.relative else None
    if config.distribution == "gaussian":
        return gaussian(config.sigma * magnitude, scale, batch.keys, batch.draw, batch.mask, batch.embeddings)
    around = ball(config.norm, config.scope, config.epsilon * magnitude, scale, batch.mask, batch.embeddings)
    return around.uniform(batch.keys, batch.draw)
