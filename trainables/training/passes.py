"""How much of a batch goes through the model at once: a worker's share of it, cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from trainables.config import TrainingConfig

Items = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """Most of a batch in one pass; None: no limit."""

    items: int | None = None
    tokens: int | None = None
    """Of all its sequences, padded to the longest."""
    halved: bool = False
    """Whether memory did not suffice, and one of these is half of what it was."""

    @classmethod
    def of(cls, config: TrainingConfig) -> Limits:
        """As a trial is configured."""
        return cls(config.micro_batch_size, config.micro_batch_tokens)

    @classmethod
    def least(cls, several: Sequence[Limits]) -> Limits:
        """What holds where all of them do."""
        items = min((each.items for each in several if each.items is not None), default=None)
        tokens = min((each.tokens for each in several if each.tokens is not None), default=None)
        return cls(items, tokens, any(each.halved for each in several))

    def cut(self, items: Items, lengths: Items) -> list[Items]:
        """Micro-batches of items, in their order; `lengths` are the tokens of each. One item always fits."""
        parts: list[Items] = []
        begin = 0
        for end in range(1, len(items) + 1):
            if end == len(items) or not self._fits(lengths[begin : end + 1]):
                parts.append(items[begin:end])
                begin = end
        return parts

    def _fits(self, lengths: Items) -> bool:
        if self.items is not None and len(lengths) > self.items:
            return False
        return self.tokens is None or len(lengths) * int(lengths.max()) <= self.tokens

    def half(self, items: int) -> tuple[Limits, str] | None:
        """What to go on with where memory did not suffice for so many items, and words for it; None: nothing."""
        if self.halved:
            return None
        if self.tokens is not None:
            before, after, what, key = self.tokens, self.tokens // 2, "tokens", "micro_batch_tokens"
            smaller = replace(self, tokens=after, halved=True)
        else:
            before = items if self.items is None else min(items, self.items)
            after, what, key = before // 2, "examples", "micro_batch_size"
            smaller = replace(self, items=after, halved=True)
        if after == 0:
            return None
        return smaller, f"out of memory with {before} {what} at once: goes on with {after} (training.{key}: {after})"
