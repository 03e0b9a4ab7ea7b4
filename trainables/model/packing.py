"""Batches without their padding: all tokens in one row, so that nothing but attention computes what nobody reads.

Only attention looks at sequences; everything else in an encoder is a function of one token. So the tokens go through
the layers as one sequence, as for kernels of variable length (Dao, arXiv 2307.08691), and are laid out as a padded
batch for attention alone. Exact: padding never took part in what comes out.

Suffixes: s sequences, t tokens of the longest, n tokens of all without padding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Where the tokens of one batch lie."""

    mask: Tensor
    """(s, t), true where there is a token."""
    places: Tensor
    """(n,), the tokens' places in the flattened batch."""

    @classmethod
    def of(cls, attention_mask: Tensor) -> Packing:
        """Of a batch whose mask (s, t) is nonzero at its tokens."""
        mask = attention_mask.bool()
        return cls(mask, mask.flatten().nonzero().squeeze(1))

    @property
    def attention_mask(self) -> Tensor | None:
        """Which keys are attended to, (s, 1, 1, t); None: all."""
        return None if len(self.places) == self.mask.numel() else self.mask[:, None, None, :]

    def pack(self, padded: Tensor) -> Tensor:
        """(1, n, …) of (s, t, …)."""
        return padded.flatten(0, 1).index_select(0, self.places)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """(s, t, …) of (1, n, …), zero at the padding."""
        flat = packed.new_zeros(self.mask.numel(), *packed.shape[2:]).index_copy(0, self.places, packed[0])
        return flat.view(*self.mask.shape, *packed.shape[2:])
