"""Scaled dot-product attention over batches with or without their padding, its dropout masks shared by all passes.

Three ways, by device: what a CPU drops out it computes in the open, as the library's kernel does there with masks of
its own; where kernels of variable length can be had they take all tokens in one row (Dao, arXiv 2307.08691); all else
is the library's fused kernel over the padded batch.

Suffixes: s sequences, t tokens of the longest, n tokens of all without padding, h heads, z size of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainables.layout import Layout
from trainables.model.dropout import SharedDropout

ATTENTION = "shared_dropout"
"""Name under which `attention` is known to the library."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """From queries, keys and values (s, h, t, z) to (s, t, h, z), as the library calls it for each layer.

    With a `layout` from (1, h, n, z) to (1, n, h, z), and each token attends to those of its own sequence.
    """
    if layout is not None and runs_packed(query):
        return varlen(query, key, value, layout, dropout, scaling), None
    shared = getattr(module, "dropout", None)
    is_open = dropout > 0.0 and query.device.type == "cpu" and isinstance(shared, SharedDropout)
    if layout is not None:
        heads, size = query.shape[1], query.shape[3]
        rows = torch.cat([each.transpose(1, 2).flatten(2) for each in (query, key, value)])
        padded = layout.spread(rows)
        padded = padded.view(*padded.shape[:-1], heads, size).transpose(2, 3)
        query, key, value = padded.contiguous() if is_open else padded
        attention_mask = layout.attention_mask
    if is_open:
        assert isinstance(shared, SharedDropout)
        hidden = _hidden(attention_mask, query) if layout is None else layout.hidden(query.shape[1])
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        drop = partial(shared.masks.drop, shared.place, p=dropout)
        output, weights = _open(query, key, value, hidden, scale, drop), None
    else:
        output, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    return (output if layout is None else layout.pack(output)), weights


def _hidden(attention_mask: Tensor | None, query: Tensor) -> Tensor | None:
    """What is added to the scores (s * h, 1 or t, t), of the library's mask (s, 1 or h, 1 or t, t)."""
    if attention_mask is None:
        return None
    if attention_mask.dtype == torch.bool:
        zeros = torch.zeros_like(attention_mask, dtype=query.dtype)
        attention_mask = zeros.masked_fill_(~attention_mask, -torch.inf)
    return attention_mask.expand(-1, query.shape[1], -1, -1).flatten(0, 1)


def _open(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None, scale: float, drop: Callable[[Tensor], Tensor]
) -> Tensor:
    """drop(softmax(scale q k^T + hidden)) v: (s, t, h, z)."""
    s, h = query.shape[:2]
    query, key, value = (each.flatten(0, 1) for each in (query, key, value))
    if hidden is None:
        scores = torch.baddbmm(query.new_empty(1, 1, 1), query, key.transpose(1, 2), beta=0.0, alpha=scale)
    else:
        scores = torch.baddbmm(hidden.to(query.dtype), query, key.transpose(1, 2), alpha=scale)
    output = torch.bmm(drop(scores.softmax(-1)), value)
    return output.view(s, h, *output.shape[1:]).transpose(1, 2).contiguous()


def runs_packed(query: Tensor) -> bool:
    """Whether attention within sequences that lie in one row has a fused kernel here: in half precision, on CUDA."""
    return query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16)


def varlen(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float, scaling: float | None) -> Tensor:
    """(1, h, n, z) -> (1, n, h, z): the fused kernel takes the bounds of the sequences instead of a mask."""

    def jagged(rows: Tensor) -> Tensor:
        nested: Tensor = torch.nested.nested_tensor_from_jagged(
            rows[0].transpose(0, 1), layout.bounds, min_seqlen=1, max_seqlen=layout.longest
        )
        return nested.transpose(1, 2)

    output = functional.scaled_dot_product_attention(
        jagged(query), jagged(key), jagged(value), dropout_p=dropout, scale=scaling
    )
    packed: Tensor = output.transpose(1, 2).values()
    return packed[None]


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
