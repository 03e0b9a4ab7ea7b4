"""Tokenised text: a whole split as flat arrays, and a padded batch of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.layout import Layout
from trainables.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """One split of one language, tokenised: flat arrays with offsets, so that they can be memory-mapped.

    Sequence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; item ``j`` has sequences ``j*c … j*c+c-1`` (c sequences per
    item) and labels ``labels[label_offsets[j]:label_offsets[j + 1]]``; it belongs to row ``rows[j]``.
    """

    ids: npt.NDArray[np.int32]
    special: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    label_offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    languages: npt.NDArray[np.int64] | None = None
    """Number of each sequence's language, for encoders that are told it. Not stored: it follows from the encoder."""

    def __len__(self) -> int:
        return len(self.rows)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for storing."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "languages"}

    def sequence(self, i: int) -> npt.NDArray[np.int32]:
        """Token ids of one sequence."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def item_labels(self, j: int) -> npt.NDArray[np.int64]:
        """Labels of one item."""
        return self.labels[self.label_offsets[j] : self.label_offsets[j + 1]]

    def pick(self, items: Sequence[int], sequences_per_item: int) -> Encoded:
        """Some of the items, as an `Encoded` of their own; `rows` keep their numbers."""
        sequences = [j * sequences_per_item + k for j in items for k in range(sequences_per_item)]
        spans = [slice(int(self.offsets[i]), int(self.offsets[i + 1])) for i in sequences]
        labels = [self.item_labels(j) for j in items]
        return Encoded(
            ids=np.concatenate([self.ids[span] for span in spans]),
            special=np.concatenate([self.special[span] for span in spans]),
            offsets=np.cumsum([0, *(span.stop - span.start for span in spans)]),
            labels=np.concatenate(labels),
            label_offsets=np.cumsum([0, *map(len, labels)]),
            rows=self.rows[list(items)],
            languages=None if self.languages is None else self.languages[sequences],
        )


@dataclass(frozen=True)
class Batch:
    """A padded batch (right padding). `special` marks start, end and separator tokens, never padding.

    `sequence_keys` (s,) names each sequence by a stable number, so that its random perturbation does not depend on
    the batch or the worker it happens to be in. `labels` is (n, …) as the task shape collates it. `languages` (s,) are
    the encoder's numbers of them, where it is told them.
    """

    input_ids: Tensor
    attention_mask: Tensor
    special: Tensor
    labels: Tensor
    sequence_keys: Tensor
    languages: Tensor | None = None

    @cached_property
    def layout(self) -> Layout:
        """Where its tokens lie."""
        return Layout.of(self.attention_mask, self.special, self.languages)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, with its layout, which is computed before."""
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        moved = Batch(**{name: value.to(device, non_blocking=True) for name, value in given.items()})
        vars(moved)["layout"] = self.layout.to(device)
        return moved
