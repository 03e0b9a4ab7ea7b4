"""Heads on pooled token states."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PooledHead(nn.Module):
    """Pooled token states -> dropout -> linear: states (s, t, d) and mask (s, t) -> logits (s, out)."""

    def __init__(self, hidden_size: int, out: int, pooling: str, dropout: float) -> None:
        super().__init__()
        assert pooling in ("mean", "first"), pooling
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, out)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(pool(states, attention_mask, self.pooling)))
        return logits


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Token states (s, t, d) -> sequence vectors (s, d): mean over the tokens of the mask (s, t), or the first one."""
    if pooling == "first":
        return states[torch.arange(len(states), device=states.device), attention_mask.argmax(1)]
    weights = attention_mask.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1)
