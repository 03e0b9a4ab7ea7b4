"""Where the tokens of a padded batch lie: what the encoder needs to know of it, computed once and on the CPU.

Batches go through the layers without their padding where they can: all tokens in one row, so that nothing but attention
computes what nobody reads. Only attention looks at sequences; everything else in an encoder is a function of one token.
So the tokens go through the layers as one sequence, as for kernels of variable length (Dao, arXiv 2307.08691), and
are laid out as a padded batch for attention alone. Exact: padding never took part in what comes out.

Suffixes: s sequences, t tokens of the longest, n tokens of all without padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainables.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Paths:
    """The dependency trees of a batch, as lengths of paths in bytes; `syntax.trees.APART` where there is none."""

    between: Tensor
    """(s, t, t), of the path between each two tokens of a sequence."""
    depths: Tensor
    """(s, t), of the path from the uppermost token."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of one batch lie. Padding may be on either side."""

    mask: Tensor
    """(s, t), true where there is a token."""
    ordinary: Tensor
    """(s, t), true where there is one that is not special."""
    seen: Tensor
    """(s, t), what is attended to: the tokens, or all where there is none, since attention to nothing is no number."""
    ranks: Tensor
    """(s, t), each token's number in its sequence, from 0; 0 at the padding."""
    segments: Tensor
    """(s, t), token types of BERT's pairs: 0 up to and including the first separator, 1 after it."""
    places: Tensor
    """(n,), the tokens' places in the flattened batch."""
    sources: Tensor
    """(s t,), of each place in the flattened batch the token that is there, by its number; at the padding the first."""
    bounds: Tensor
    """(s + 1,): where each sequence begins among all tokens, and where the last one ends."""
    longest: int
    """Tokens of the longest sequence."""
    is_full: bool
    """Whether there is no padding."""
    languages: Tensor | None = None
    """(s,), the number that the encoder knows each sequence's language by; None where it is told none."""
    paths: Paths | None = None
    """The trees of the sequences, where they are asked for."""
    _hidden: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, attention_mask: Tensor, special: Tensor, languages: Tensor | None = None, paths: Paths | None = None
    ) -> Layout:
        """Of a batch whose mask (s, t) is nonzero at its tokens, with its special tokens (s, t) and languages (s,).

        Reads back from the device that the mask is on: to be called on the CPU.
        """
        mask = attention_mask.bool()
        lengths = mask.sum(1)
        before = special.long().cumsum(1) - special.long()
        bounds = torch.zeros(len(mask) + 1, dtype=torch.int64, device=mask.device)
        bounds[1:] = lengths.cumsum(0)
        return cls(
            mask=mask,
            ordinary=mask & ~special,
            seen=mask | ~mask.any(1, keepdim=True),
            ranks=(mask.cumsum(1) - 1).clamp_min(0),
            segments=(before >= 2).long(),
            places=mask.flatten().nonzero().squeeze(1),
            sources=(mask.flatten().cumsum(0) - 1).mul_(mask.flatten()),
            bounds=bounds,
            longest=int(lengths.max()),
            is_full=bool(mask.all()),
            languages=languages,
            paths=paths,
        )

    def times(self, copies: int) -> Layout:
        """Of a batch that has all of this one's sequences so many times, one copy after the other."""
        s, t = self.mask.shape
        n = len(self.places)
        copy = torch.arange(copies, device=self.mask.device)[:, None]
        ends = torch.full((1,), copies * n, dtype=self.bounds.dtype, device=self.bounds.device)
        paths = self.paths and Paths(self.paths.between.repeat(copies, 1, 1), self.paths.depths.repeat(copies, 1))
        return Layout(
            mask=self.mask.repeat(copies, 1),
            ordinary=self.ordinary.repeat(copies, 1),
            seen=self.seen.repeat(copies, 1),
            ranks=self.ranks.repeat(copies, 1),
            segments=self.segments.repeat(copies, 1),
            places=(self.places + copy * s * t).flatten(),
            sources=(self.sources + copy * n).flatten(),
            bounds=torch.cat([(self.bounds[:-1] + copy * n).flatten(), ends]),
            longest=self.longest,
            is_full=self.is_full,
            languages=None if self.languages is None else self.languages.repeat(copies),
            paths=paths,
        )

    @property
    def attention_mask(self) -> Tensor | None:
        """Which keys are attended to, (s, 1, 1, t); None: all."""
        return None if self.is_full else self.seen[:, None, None, :]

    def hidden(self, heads: int) -> Tensor:
        """What is added to the scores of attention, fp32: -inf at the keys of padding, else 0; (s * heads, 1, t)."""
        if heads not in self._hidden:
            hidden = torch.zeros(self.seen.shape, device=self.seen.device).masked_fill_(~self.seen, -torch.inf)
            self._hidden[heads] = hidden.repeat_interleave(heads, dim=0)[:, None]
        return self._hidden[heads]

    def pack(self, padded: Tensor) -> Tensor:
        """(1, n, …) of (s, t, …)."""
        flat = padded.flatten(0, 1)
        return (flat if self.is_full else flat.index_select(0, self.places))[None]

    def spread(self, packed: Tensor) -> Tensor:
        """(…, s, t, d) of (…, n, d), some token's at the padding: for who looks at none of that.

        Nothing is kept for its backward pass, unlike for `unpack`'s.
        """
        found: Tensor = packed.index_select(-2, self.sources)
        return found.view(*packed.shape[:-2], *self.mask.shape, packed.shape[-1])

    def unpack(self, packed: Tensor) -> Tensor:
        """(…, s, t, d) of (…, n, d), zero at the padding."""
        shape = (*packed.shape[:-2], *self.mask.shape, packed.shape[-1])
        if self.is_full:
            return packed.reshape(shape)
        flat = packed.new_zeros(*packed.shape[:-2], self.mask.numel(), packed.shape[-1])
        return flat.index_copy(-2, self.places, packed).view(shape)
