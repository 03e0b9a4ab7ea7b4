"""What stands on the encoder: from token states to the logits of a task."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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


class TokenHead(nn.Module):
    """Dropout -> linear at every token: states (n, t, d) -> (n, t, out)."""

    def __init__(self, hidden_size: int, out: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden_size, out)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(states))
        return logits


class ChoiceHead(nn.Module):
    """One logit per choice: states (n * c, t, d) and mask (n * c, t) -> (n, c)."""

    def __init__(self, hidden_size: int, choices: int, pooling: str, dropout: float) -> None:
        super().__init__()
        self.choices = choices
        self.score = PooledHead(hidden_size, 1, pooling, dropout)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.score(states, attention_mask)
        return logits.view(-1, self.choices)


class EmbeddingHead(nn.Module):
    """Unit vectors of an item's two sequences: states (n * 2, t, d) -> (n, 2, d). Has no parameters."""

    def __init__(self, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = functional.normalize(pool(states, attention_mask, self.pooling).float(), dim=-1)
        return vectors.view(-1, 2, vectors.shape[-1])


def pool(states: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Token states (s, t, d) -> sequence vectors (s, d): mean over the tokens of the mask (s, t), or the first one."""
    if pooling == "first":
        return states[torch.arange(len(states), device=states.device), attention_mask.argmax(1)]
    weights = attention_mask.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1)
