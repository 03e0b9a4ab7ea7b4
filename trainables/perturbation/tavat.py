"""TAVAT (Li & Qiu, arXiv 2004.14543): a perturbation for each word, which outlives the batch, and one for each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.config import PerturbationConfig
from trainables.lazy import torch
from trainables.perturbation import noise
from trainables.perturbation.ascent import Ascent, Differentiate, Objective, gradient_at, inputs_only
from trainables.perturbation.base import Perturbable, register
from trainables.perturbation.carried import Rows, Start
from trainables.perturbation.freelb import FreeLB
from trainables.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2**14
"""Rows of the table that are drawn at once."""


@register
class Tavat(FreeLB):
    """The mean over k < K of CE(x + delta_k + eta_k): eta begins as a table has it for each word, and goes back there.

    (Algorithm 1 of the paper.) A step moves delta along the gradient of its ball and eta along that of each token; then
    eta_i is scaled by ||eta_i|| / max_j ||eta_j||, its share of the longest in its sequence, and both together are
    pulled back into the ball. Words that occur several times in a batch, over all workers, leave the mean behind.
    """

    name = "tavat"
    description = "as freelb, with a part of the perturbation that is each word's own and carried on (TAVAT)"

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        super().__init__(config, reference_norm)
        self.carries = self._rows = Rows(self._table)

    def _table(self, start: Start) -> Tensor:
        """Each word's own uniform noise: in (-1, 1) times the scale of a Gaussian start, (v, e)."""
        scale = self.config.sigma * (self.reference_norm / start.width**0.5 if self.config.relative else 1.0)
        draw = derive(start.seed, "perturbation of words")
        parts = [
            noise.uniform(words, draw, torch.ones_like(words, dtype=torch.bool).unsqueeze(1), start.width).squeeze(1)
            for words in torch.split(start.words, CHUNK)
        ]
        return torch.cat(parts) * scale

    def _maximise(
        self,
        batch: Perturbable,
        magnitude: float,
        objective: Objective,
        steps: int,
        differentiate: Differentiate = inputs_only,
    ) -> Ascent:
        assert batch.words is not None, "whoever trains says which words these are"
        around = self._ball(batch, magnitude)
        of_tokens = self._ball(batch, magnitude, "token")
        (own, shared), size = around.project_together(
            self._rows.read(batch.words, batch.mask), self._start(batch, around)
        )
        first: tuple[Tensor, Tensor] | None = None
        for _ in range(steps):
            gradient, values, logits = gradient_at(batch, own + shared, objective, differentiate)
            first = first or (values, logits)
            own = of_tokens.step(own, gradient, self.config.step_size)
            lengths = torch.linalg.vector_norm(own, dim=2, keepdim=True)
            own = own * (lengths / lengths.amax(dim=1, keepdim=True).clamp(min=torch.finfo(lengths.dtype).tiny))
            shared = around.step(shared, gradient, self.config.step_size)
            (own, shared), size = around.project_together(own, shared)
        if steps:  # in a ball that is a point, as at the start of a warm-up, there is nothing to learn
            self._rows.write(batch.words, batch.mask, own)
        return Ascent(around, own + shared, size, first)
