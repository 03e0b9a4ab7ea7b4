"""Tokenised text: a whole split as flat arrays, and a padded batch of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.layout import Layout, Paths
from trainables.lazy import torch
from trainables.transfer import move

if TYPE_CHECKING:
    from torch import Tensor


NO_TREE = -1
"""In place of a token's parent, in a text whose tree is not known."""

IMPOSSIBLE = -1e4
"""Logit of what cannot be: its probability is 0 and its gradient too, and nothing overflows."""


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
    parents: npt.NDArray[np.int16] | None = None
    """Where each token hangs in the tree of its sequence, by its place there (`syntax.trees`); None: nobody asks."""

    def __len__(self) -> int:
        return len(self.rows)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, for storing."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "languages"}
        return {name: array for name, array in found.items() if array is not None}

    def sequence(self, i: int) -> npt.NDArray[np.int32]:
        """Token ids of one sequence."""
        return self.ids[self.offsets[i] : self.offsets[i + 1]]

    def tree(self, i: int) -> npt.NDArray[np.int16]:
        """Parents of the tokens of one sequence."""
        begin, end = self.offsets[i], self.offsets[i + 1]
        return np.full(end - begin, NO_TREE, np.int16) if self.parents is None else self.parents[begin:end]

    def with_trees(self) -> Encoded:
        """With parents, of no token where it had none."""
        return self if self.parents is not None else replace(self, parents=np.full(len(self.ids), NO_TREE, np.int16))

    def item_labels(self, j: int) -> npt.NDArray[np.int64]:
        """Labels of one item."""
        return self.labels[self.label_offsets[j] : self.label_offsets[j + 1]]

    def pick(self, items: Sequence[int], sequences_per_item: int) -> Encoded:
        """Some of the items, as an `Encoded` of their own; `rows` keep their numbers. All of them in order: itself."""
        if len(items) == len(self) and all(i == j for i, j in enumerate(items)):
            return self
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
            parents=None if self.parents is None else np.concatenate([self.parents[span] for span in spans]),
        )


@dataclass(frozen=True)
class Batch:
    """A padded batch (right padding). `special` marks start, end and separator tokens, never padding.

    `sequence_keys` (s,) names each sequence by a stable number, so that its random perturbation does not depend on
    the batch or the worker it happens to be in. `labels` is (n, …) as the task shape collates it. `languages` (s,) are
    the encoder's numbers of them, where it is told them; `paths` their trees, where those are asked for.
    """

    input_ids: Tensor
    attention_mask: Tensor
    special: Tensor
    labels: Tensor
    sequence_keys: Tensor
    languages: Tensor | None = None
    paths: Paths | None = None

    @cached_property
    def layout(self) -> Layout:
        """Where its tokens lie."""
        return Layout.of(self.attention_mask, self.special, self.languages, self.paths)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, with its layout, which is computed before."""
        own, where, lengths = move(device, vars(self), vars(self.layout), vars(self.paths) if self.paths else {})
        paths = replace(self.paths, **lengths) if self.paths else None
        moved = replace(self, **own, paths=paths)
        vars(moved)["layout"] = replace(self.layout, **where, paths=paths, _hidden={})
        return moved

    def times(self, copies: int) -> Batch:
        """All sequences so many times, one copy of the batch after the other; nothing is read back from the device."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        repeated = {n: v.repeat(copies, *[1] * (v.dim() - 1)) for n, v in own.items() if isinstance(v, torch.Tensor)}
        layout = self.layout.times(copies)
        found = replace(self, **repeated, paths=layout.paths)
        vars(found)["layout"] = layout
        return found


@dataclass(frozen=True)
class View:
    """The items of a batch once more: segmented otherwise, or in other words.

    Where logits are of tokens, tokens of both stand at `places`, counted from 0; at one place there may be several, and
    those at none (-1) are not compared. Suffixes: n items, s sequences, t tokens of the first view, u of this one.
    """

    batch: Batch
    there: Tensor
    """(n,): 0 for items of which there is none; what stands in their place here does not count. Else 1."""
    places: tuple[Tensor, Tensor] | None = None
    """(s, t) and (s, u): the places of both views' tokens; None where logits are of whole items."""
    width: int = 0
    """How many places there are."""
    labels: Tensor | None = None
    """What the shape's divergence is given as the labels of the places; None: those of the batch."""

    def at(self, number: int, logits: Tensor) -> Tensor:
        """Logits (s, tokens, c) of the first view (0) or of this one (1), brought to the places: (s, places, c), fp32.

        A place has the logarithm of the sum of its tokens' exponentials, so that its probability among all is theirs
        together; one that has no token is next to impossible.
        """
        assert self.places is not None, "logits of whole items are compared as they are"
        logits, places = logits.float() if logits.dtype != torch.float64 else logits, self.places[number]
        bins = torch.where(places < 0, self.width, places)[..., None].expand_as(logits)
        top = logits.new_full((len(logits), self.width + 1, logits.shape[-1]), IMPOSSIBLE)
        top = top.scatter_reduce(1, bins, logits.detach(), "amax")
        total = torch.zeros_like(top).scatter_add(1, bins, (logits - top.gather(1, bins)).exp())
        return (top + total.clamp_min(torch.finfo(total.dtype).tiny).log())[:, : self.width]

    def to(self, device: torch.device) -> View:
        """The same on a device."""
        first, other = self.places or (None, None)
        own, places = move(device, vars(self), {"first": first, "other": other})
        there = (places["first"], places["other"]) if places else None
        return replace(self, **own, batch=self.batch.to(device), places=there)
