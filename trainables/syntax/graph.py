"""Graph attention: words look at the words near them in the tree.

Veličković et al., arXiv 1710.10903, with the tree's paths for edges (Ahmad et al., ACL 2021, section 3.1). Suffixes: s
sequences, t tokens, h heads, z size of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of the leaky rectifier below zero."""


class GraphAttention(nn.Module):
    """One layer: states (s, t, d) -> (s, t, h z), each the mean of Wh_j over near tokens j, weighted by e_ij.

    e_ij = LeakyReLU(a1 . Wh_i + a2 . Wh_j), a softmax over j.
    """

    def __init__(self, entering: int, heads: int, size: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.linear = nn.Linear(entering, heads * size, bias=False)
        self.looking = nn.Parameter(torch.empty(heads, size))
        self.seen = nn.Parameter(torch.empty(heads, size))
        self.dropout = nn.Dropout(dropout)
        for vector in (self.looking, self.seen):
            nn.init.xavier_uniform_(vector)

    def forward(self, states: Tensor, near: Tensor) -> Tensor:
        """`near` (s, t, t) is true where a token sees another; each sees itself."""
        mapped = self.linear(states).unflatten(-1, (self.heads, self.size))
        looking, seen = ((mapped * vector).sum(-1).transpose(1, 2) for vector in (self.looking, self.seen))
        scores = functional.leaky_relu(looking[:, :, :, None] + seen[:, :, None, :], SLOPE)
        weights = scores.masked_fill(~near[:, None], -torch.inf).softmax(-1)
        found: Tensor = self.dropout(weights) @ mapped.transpose(1, 2)
        return found.transpose(1, 2).flatten(2)


class Graph(nn.Module):
    """Several layers of it over the same tree, and a layer norm: embeddings (s, t, e) -> (s, t, h z)."""

    def __init__(self, entering: int, layers: int, heads: int, size: int, dropout: float) -> None:
        super().__init__()
        widths = [entering, *[heads * size] * (layers - 1)]
        self.layers = nn.ModuleList(GraphAttention(width, heads, size, dropout) for width in widths)
        self.norm = nn.LayerNorm(heads * size)

    def forward(self, embeddings: Tensor, near: Tensor) -> Tensor:
        """`near` as in each layer."""
        states = embeddings
        for layer in self.layers:
            states = layer(states, near)
        normed: Tensor = self.norm(states)
        return normed
