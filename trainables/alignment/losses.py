"""What alignment minimises: distances between the states of translations, and what anchors the encoder.

Wu and Dredze (arXiv 2010.02537) compare them under one protocol; Cao et al. (2002.03518) and Pan et al. (2010.12547)
are where they are from. Suffixes: p pairs of one batch, d size of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PROJECTED = 128
"""Size of the space in which vectors are contrasted (2010.02537, section 3)."""


class Projector(nn.Module):
    """Linear without bias, ReLU, linear: (p, d) -> (p, `PROJECTED`); thrown away once the encoder is aligned."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size, size, bias=False), nn.ReLU(), nn.Linear(size, PROJECTED))

    def forward(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.layers(vectors)
        return projected


def l2(one: Tensor, two: Tensor) -> Tensor:
    """Mean over pairs of the squared distance ‖x − y‖² of two (p, d) (2010.02537, equation 1)."""
    return (one - two).square().sum(-1).mean()


def contrastive(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """Each vector (p, d) finds its own translation among those of the batch, both ways (InfoNCE; "weak" in 2010.02537).

    ½ [CE(x_i → y_i among all y) + CE(y_i → x_i among all x)] of cosines over the temperature.
    """
    similar = F.normalize(one, dim=-1) @ F.normalize(two, dim=-1).T / temperature
    own = torch.arange(len(one), device=one.device)
    return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2


def strong_contrastive(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """The same among all other 2p − 1 vectors of both languages (NT-Xent; "strong" in 2010.02537)."""
    every = F.normalize(torch.cat([one, two]), dim=-1)
    similar = (every @ every.T / temperature).fill_diagonal_(-torch.inf)
    own = torch.arange(len(every), device=one.device).roll(len(one))
    return F.cross_entropy(similar, own)


def parameter_anchor(parameters: Iterable[tuple[str, Tensor]], pretrained: Mapping[str, Tensor]) -> Tensor:
    """‖θ − θ₀‖₂, the root of the summed squares over all trained parameters (2010.02537, equation 4).

    At θ₀ itself its gradient is zero here, where the norm has none.
    """
    squares = torch.stack([(parameter - pretrained[name]).square().sum() for name, parameter in parameters]).sum()
    return torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)


def state_anchor(states: Tensor, pretrained: Tensor, mask: Tensor) -> Tensor:
    """Mean over tokens of the squared distance of source states (s, t, d) to the frozen encoder's (2002.03518)."""
    return (states - pretrained).square().sum(-1)[mask].mean()


LOSSES = {
    "sentence_contrastive": contrastive,
    "word_contrastive": contrastive,
    "word_strong_contrastive": strong_contrastive,
}
"""Of objectives with a temperature, on projected vectors; `word_l2` is `l2` on the states themselves."""
