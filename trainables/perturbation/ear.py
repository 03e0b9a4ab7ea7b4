"""EAR (Ding et al., arXiv 2210.09934): Embedding-push, Attention-pull and Robust targets on copies in other words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.config import TrialConfig
from trainables.perturbation.base import Diagnostics, Inside, Perturbable, Perturbation, View, register

if TYPE_CHECKING:
    from torch import Tensor


@register
class Ear(Perturbation):
    """CE(x) + CE(x') - push * MSE(pooled embeddings) + pull * MSE(attention of one layer), x' a synonym copy of x.

    The copy's embeddings are pushed away while its attention, and so its meaning, is held. Nothing bounds the push but
    its weight.
    """

    name = "ear"
    description = "examples and their synonym copies: embeddings pushed apart, attention pulled together (EAR)"
    supervision = "monolingual"
    reads_attention = True

    @property
    def view(self) -> View:
        return "copies"

    def problems(self, trial: TrialConfig) -> list[str]:
        """A trial in which neither push nor pull has a gradient."""
        encoder, layer = trial.encoder, self.config.attention_layer
        if encoder.trains_embedding_layer or encoder.freeze_lower_layers <= layer:
            return []
        if self.config.push_weight == self.config.pull_weight == 0.0:
            return []
        return [
            "encoder.freeze_lower_layers: with frozen embeddings must be at most perturbation.attention_layer "
            f"({layer}), or ear has nothing to push or pull (got {encoder.freeze_lower_layers})"
        ]

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics]:
        assert batch.reworded is not None, "a method that compares with copies is given them"
        own, copy = batch.reworded(self.config.attention_layer)
        push = (own.pooled - copy.pooled).square().mean(dim=1)
        apart = self.config.pull_weight * _attention_distance(own, copy) - self.config.push_weight * push
        loss = batch.loss(own.logits) + batch.loss(copy.logits)
        # Several sequences of one item (multiple choice) count as one.
        return loss + magnitude * apart.view(len(loss), -1).mean(dim=1), Diagnostics()

    @property
    def forward_equivalents(self) -> float:
        return 6.0

    @property
    def weight_gradients(self) -> float:
        return 2.0


def _attention_distance(own: Inside, copy: Inside) -> Tensor:
    """Mean squared difference (s,) over heads and over pairs of positions that hold a token in either sequence."""
    # Nothing attends to padding, but padding attends: its rows are left out.
    ours, theirs = (each.attention.float() * each.tokens[:, None, :, None] for each in (own, copy))
    return (ours - theirs).square().mean(dim=1).sum((1, 2)) / (own.tokens | copy.tokens).sum(dim=1).square()
