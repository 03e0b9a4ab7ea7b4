"""R-Drop (Wu et al., arXiv 2106.14448): one input under two dropout masks, whose outputs are kept alike."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.perturbation.base import Around, AtOutput, AtPoint, Passed, Perturbable, compared, symmetric


class RDrop(Around, AtOutput):
    """(CE1 + CE2) / 2 + weight / 2 * (KL(p1 || p2) + KL(p2 || p1)), p1 and p2 the outputs at a point under two masks.

    (The cross entropies are averaged, as the authors' code does; equation 3 of the paper adds them.) The point is the
    clean one, or where another method trains: `adversarial+rdrop` finds it under the first mask.
    """

    name = "rdrop"
    description = "one input under two dropout masks, their outputs kept alike by weight (R-Drop)"
    dose = "perturbation.weight"

    def __init__(self, inner: AtPoint) -> None:
        super().__init__(inner)
        self._point, self.two_masks = inner.point, True

    def problems(self, trial: TrialConfig) -> list[str]:
        """A trial whose second mask cannot be drawn again, or where there is nothing to drop."""
        found = super().problems(trial)
        if trial.training.gradient_checkpointing:
            found.append(
                "training.gradient_checkpointing: computes passes again under one mask, rdrop has two (got true)"
            )
        if trial.encoder.dropout == 0.0:
            found.append("encoder.dropout: rdrop compares two dropout masks, it needs more than 0 (got 0)")
        return found

    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        assert batch.forward_again is not None, "whoever trains gives a second mask"
        point, describe = self._point(batch, magnitude)
        first, second = batch.forward(point), batch.forward_again(point)
        losses = batch.loss(first), batch.loss(second)
        apart = symmetric(batch, first, second)
        loss = (losses[0] + losses[1] + self.config.weight * magnitude * apart) / 2
        return Passed(loss, compared(describe(losses[0], first), apart), point, first)

    @property
    def forward_equivalents(self) -> float:
        return self.inner.forward_equivalents + 3.0

    @property
    def weight_gradients(self) -> float:
        return self.inner.weight_gradients + 1.0
