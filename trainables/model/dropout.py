"""Dropout whose masks are drawn once a batch and shared by every pass over it.

Adversarial methods pass over a batch several times under one mask (FreeLB, arXiv 1909.11764, section 3.3). Seeding the
generator anew before each pass gives the same masks, and draws them again each time: on a CPU a quarter of a pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainables.model.packing import Packing
from trainables.seeds import derive

ATTENTION = "shared_dropout"
"""Name under which `attention` is known to the library."""

STEPS = 2**16
"""Probabilities are rounded to multiples of one over this: a mask costs 16 random bits an element."""


class Masks:
    """The masks of one batch: each a function of (seed, place, shape), whatever the order of the passes."""

    def __init__(self) -> None:
        self._seed = 0
        self._kept: dict[int, Tensor] = {}

    def begin(self, seed: int) -> None:
        """Forget the masks of the batch before."""
        self._seed = seed
        self._kept.clear()

    def factors(self, place: int, like: Tensor, p: float) -> Tensor:
        """What `like` is multiplied by at a place of the model: 0 with probability p, else 1 / (1 - p)."""
        kept = self._kept.get(place)
        if kept is None or kept.shape != like.shape or kept.dtype != like.dtype:
            kept = self._kept[place] = draw(derive(self._seed, place), like, p)
        return kept


def draw(seed: int, like: Tensor, p: float) -> Tensor:
    """Factors of independent dropout in the shape, type and place of `like`; 0 <= p < 1, to 2^-17."""
    if p == 0.0:
        return torch.ones_like(like)
    generator = torch.Generator(like.device).manual_seed(seed)
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    survive = min(round((1 - p) * STEPS), STEPS - 1)
    return (bits < survive - STEPS // 2).to(like.dtype).mul_(STEPS / survive).view(like.shape)


class SharedDropout(nn.Dropout):
    """`nn.Dropout` with the masks of its model."""

    def __init__(self, p: float, masks: Masks, place: int) -> None:
        super().__init__(p)
        self.masks, self.place = masks, place

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return input
        return input * self.masks.factors(self.place, input, self.p)


def share(model: nn.Module) -> Masks:
    """Replace every `nn.Dropout` of a model; what is returned is told of each batch."""
    masks = Masks()
    holders = [(m, name, d) for m in model.modules() for name, d in m.named_children() if isinstance(d, nn.Dropout)]
    for place, (module, name, dropout) in enumerate(holders):
        setattr(module, name, SharedDropout(dropout.p, masks, place).train(dropout.training))
    return masks


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention (s, heads, t, size), the library's own but where a CPU drops out.

    There its kernel is this same arithmetic with masks that it draws itself. With a `packing` all is (1, heads, n,
    size), and each token attends to those of its own sequence.
    """
    if packing is not None:
        query, key, value = (packing.unpack(each.transpose(1, 2)).transpose(1, 2) for each in (query, key, value))
        output, weights = attention(module, query, key, value, packing.attention_mask, dropout, scaling, **options)
        return packing.pack(output), weights
    shared = getattr(module, "dropout", None)
    if dropout == 0.0 or query.device.type != "cpu" or not isinstance(shared, SharedDropout):
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = (
            scores.masked_fill(~attention_mask, -torch.inf)
            if attention_mask.dtype == torch.bool
            else scores + attention_mask
        )
    weights = scores.softmax(-1)
    weights = weights * shared.masks.factors(shared.place, weights, dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
