"""CreAT (Wu et al., arXiv 2305.04557): the ascent also turns away what the encoder makes of a text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.lazy import torch
from trainables.perturbation.ascent import AscentMethod, describe_ascent
from trainables.perturbation.base import AtOutput, Passed, Perturbable, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Creat(AscentMethod, AtOutput):
    """(CE(x) + CE(x + delta)) / 2, delta from an ascent on CE(x + delta) - weight * cos(h(x + delta), h(x)).

    h is a sequence's vector, its states pooled; that of the clean text is held fixed while delta is looked for.
    """

    name = "creat"
    description = "clean loss and loss at the point that also turns the text's vector away, averaged (CreAT)"
    dose = "relative_norm"

    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        assert batch.encoded is not None, "whoever trains shows the vectors"
        encoded, seen = batch.encoded, list["Tensor"]()
        clean, vectors = encoded(batch.embeddings)
        held = vectors.detach()

        def forward(point: Tensor) -> Tensor:
            logits, turned = encoded(point)
            seen[:] = [turned]
            return logits

        def objective(logits: Tensor) -> Tensor:
            losses = batch.loss(logits)
            alike = torch.cosine_similarity(seen[-1].float(), held.float(), dim=1)
            # Several sequences of one item (multiple choice) count as one.
            return losses - self.config.weight * alike.view(len(losses), -1).mean(dim=1)

        ascent = self._maximise(replace(batch, forward=forward), magnitude, objective, self._steps(magnitude))
        moved = forward(batch.embeddings + ascent.delta)
        loss = (batch.loss(clean) + batch.loss(moved)) / 2
        return Passed(loss, describe_ascent(batch, ascent, objective(moved), moved), batch.embeddings, clean)

    @property
    def forward_equivalents(self) -> float:
        return 6.0 + 2.0 * self._steps()

    @property
    def weight_gradients(self) -> float:
        return 2.0
