"""The GATE layer: self-attention without positions whose heads see along paths of bounded length, the more the nearer.

Ahmad, Peng and Chang, AAAI 2021, arXiv 2010.03009. A weight is divided by the length of the path and the weights of a
token are made to sum up to one, which is a softmax of the score less the logarithm of that length. A token is 1 from
itself there. Their feed-forward after it is left out. Suffixes: s sequences, t tokens, h heads, z size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.layout import Layout
from trainables.syntax.trees import APART


class Gate(nn.Module):
    """States (s, t, d) -> norm(states + attention(states)); states of sequences without a tree stay as they are.

    `deltas`: of each head the longest path that it sees along; None: it sees all, and divides by nothing.
    """

    def __init__(self, hidden: int, deltas: Sequence[int | None], dropout: float) -> None:
        super().__init__()
        self.deltas = tuple(deltas)
        inner = len(self.deltas) * max(1, hidden // len(self.deltas))
        self.query, self.key, self.value = (nn.Linear(hidden, inner) for _ in range(3))
        self.output = nn.Linear(inner, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.attention_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """`states` (s, t, d)."""
        if layout.paths is None:
            return states
        h = len(self.deltas)
        query, key, value = (
            each(states).unflatten(-1, (h, -1)).transpose(1, 2) for each in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]) + self._nearness(layout.paths.between)
        mixed = self.attention_dropout(scores.softmax(-1)).to(value.dtype) @ value
        changed: Tensor = self.norm(states + self.dropout(self.output(mixed.transpose(1, 2).flatten(2))))
        return torch.where((layout.paths.depths != APART)[..., None], changed, states)

    def _nearness(self, between: Tensor) -> Tensor:
        """What is added to the scores (s, h, t, t): minus the logarithm of the length, -inf where a head is blind."""
        nearer = -between.clamp_min(1).float().log()
        each = [
            torch.zeros_like(nearer).masked_fill(between == APART, -torch.inf)
            if delta is None
            else nearer.masked_fill(between > min(delta, APART - 1), -torch.inf)
            for delta in self.deltas
        ]
        return torch.stack(each, 1)
