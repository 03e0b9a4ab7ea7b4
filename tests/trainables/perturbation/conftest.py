"""Tiny real encoders, and batches of every task shape as a method sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from trainables.layout import Layout
from trainables.model.encoder import Encoder
from trainables.perturbation.base import Perturbable

LENGTHS = (6, 3, 9, 4, 5, 7)
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_encoder(kind: str, dropout: float = 0.0) -> Encoder:
    """A random encoder of two layers in double precision, so that perturbations can be read back exactly."""
    torch.manual_seed(0)
    options: dict[str, Any] = {**SIZES, "vocab_size": 60, "max_position_embeddings": 40, "initializer_range": 0.4}
    options |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if kind == "bert":
        return Encoder(BertModel(BertConfig(**options), add_pooling_layer=False), uses_segments=False).double()
    return Encoder(XLMRobertaModel(XLMRobertaConfig(**options), add_pooling_layer=False), uses_segments=False).double()


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) from logits over the last dimension."""
    p, q = p.log_softmax(-1), q.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


@dataclass
class Setting:
    """A model, a padded batch, and everything a method asks the model for, on record."""

    shape: str
    encoder: Encoder
    head: nn.Linear
    ids: Tensor
    attention: Tensor
    mask: Tensor
    labels: Tensor
    keys: Tensor
    points: list[Tensor] = field(default_factory=list)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in (*self.encoder.parameters(), *self.head.parameters()) if p.requires_grad]

    def logits(self, embeddings: Tensor, masks: int = 7) -> Tensor:
        return self.encoded(embeddings, masks)[0]

    def encoded(self, embeddings: Tensor, masks: int = 7) -> tuple[Tensor, Tensor]:
        """And the mean state of each sequence."""
        self.points.append(embeddings.detach())
        torch.manual_seed(masks)
        states = self.encoder.states(embeddings, Layout.of(self.attention, torch.zeros_like(self.mask)))
        weights = self.attention.unsqueeze(2).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
        if self.shape == "tagging":
            return self.head(states), pooled
        if self.shape == "spans":
            scores = self.head(states)[..., :2].masked_fill(self.attention.unsqueeze(2) == 0, -1e4)
            return scores.transpose(1, 2), pooled
        logits = self.head(pooled)
        return logits[:, 0].view(-1, 2) if self.shape == "choice" else logits, pooled

    def loss(self, logits: Tensor) -> Tensor:
        picked = _pick(-logits.log_softmax(-1), self.labels.clamp(min=0))
        return picked if self.labels.dim() == 1 else self._mean(picked)

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        return kl(p, q) if self.labels.dim() == 1 else self._mean(kl(p, q))

    def _mean(self, values: Tensor) -> Tensor:
        """Over an item's scored positions."""
        scored = self.labels >= 0
        return (values * scored).sum(1) / scored.sum(1)

    def answers(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1).masked_fill(self.labels < 0, -100)

    def view(self, draw: int = 5) -> Perturbable:
        """A fresh view, its embeddings with their graph."""
        return Perturbable(
            self.logits,
            self.encoder.embed(self.ids),
            self.mask,
            self.loss,
            self.divergence,
            self.answers,
            self.keys,
            draw,
            forward_again=lambda embeddings: self.logits(embeddings, masks=8),
            words=self.ids,
            places=torch.arange(len(self.keys)),
            encoded=self.encoded,
        )

    def deltas(self) -> list[Tensor]:
        """What was added to the embeddings at each forward pass."""
        clean = self.encoder.embed(self.ids).detach()
        return [point - clean for point in self.points]

    def gradients(self, run: Callable[[], Any]) -> list[Tensor]:
        """Weight gradients that `run` leaves behind."""
        for p in self.parameters:
            p.grad = None
        run()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters]


def setting(
    kind: str = "bert",
    shape: str = "classification",
    lengths: tuple[int, ...] = LENGTHS,
    width: int | None = None,
    first: int = 0,
    dropout: float = 0.0,
    special: bool = True,
) -> Setting:
    """Sequences `first`, `first + 1` … of a fixed endless list, with special tokens excluded at both ends."""
    encoder = tiny_encoder(kind, dropout)
    torch.manual_seed(1)
    head = nn.Linear(SIZES["hidden_size"], 4).double()
    width = width or max(lengths)
    s = len(lengths)
    ids, mask = torch.ones(s, width, dtype=torch.long), torch.zeros(s, width, dtype=torch.bool)
    for row, n in enumerate(lengths):
        ids[row, :n] = torch.randint(5, 60, (n,), generator=torch.Generator().manual_seed(100 + first + row))
        mask[row, :n] = True
    attention = mask.long()
    if special:
        mask = mask.clone()
        mask[:, 0] = False
        mask[range(s), torch.tensor(lengths) - 1] = False
    items = torch.arange(first, first + s)
    labels = items % 4
    if shape == "choice":
        labels = (items[::2] // 2) % 2
    elif shape == "tagging":
        labels = ((ids * 7) % 4).masked_fill(~mask, -100)
    elif shape == "spans":
        labels = torch.stack([torch.ones(s, dtype=torch.long), torch.tensor(lengths) - 2], dim=1)
    return Setting(shape, encoder, head, ids, attention, mask, labels, items + 1000)


@pytest.fixture
def make() -> Callable[..., Setting]:
    """`setting`, for tests to call."""
    return setting


@pytest.fixture(params=["bert", "xlm-roberta"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of encoder."""
    return str(request.param)


@pytest.fixture(params=["classification", "choice", "tagging", "spans"])
def shape(request: pytest.FixtureRequest) -> str:
    """Every task shape that trains by a loss on logits."""
    return str(request.param)
