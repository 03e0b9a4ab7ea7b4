"""Second views of training items: the same texts, segmented by draws that are a function of (seed, epoch, item)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from trainables.batch import Encoded
from trainables.model.resegmenting import Resegmenting
from trainables.model.segments import Sampler
from trainables.seeds import derive
from trainables.tasks.base import Row, TaskShape


@dataclass(frozen=True)
class Resegmented:
    """From (epoch, item) to the item in another segmentation; None where it has no such.

    Nothing is kept: an item's view is made when it is asked for, the same on every worker and after every resumption.
    """

    shape: TaskShape
    rows: Sequence[Row]
    train: Encoded
    tokenizer: Resegmenting
    draws: Sampler
    probability: float
    max_length: int
    seed: int
    """Of the stream."""
    numbers: npt.NDArray[np.int32] | None
    """Row of the trimmed vocabulary of each row of the whole; None where that is whole."""

    def __call__(self, epoch: int, item: int) -> Encoded | None:
        part = self.shape.part(self.rows[int(self.train.rows[item])], self.train, item)
        if part is None:
            return None
        tokenizer = self.tokenizer.seeded(self.draws, self.probability, derive(self.seed, epoch, item))
        c = self.shape.sequences_per_item
        found = self.shape.encode([part], tokenizer, self.max_length).pick([0], c)
        languages = None if self.train.languages is None else self.train.languages[item * c : (item + 1) * c]
        ids = found.ids if self.numbers is None else self.numbers[found.ids]
        return replace(found, ids=ids, languages=languages)


def reachable(
    tokenizer: Resegmenting, shape: TaskShape, rows: Sequence[Row], train: Encoded, max_length: int
) -> npt.NDArray[np.int64]:
    """Every piece that a view of any item can have, whatever the draw and its strength; rising."""
    words: set[str] = set()
    for some in _batches(shape, rows, train):
        words |= tokenizer.words(partial(shape.encode, some, max_length=max_length))
    draws = tokenizer.sampler(0.0, 0.0)
    return np.asarray(sorted(set().union(*map(draws.reachable, words))), dtype=np.int64)


def _batches(shape: TaskShape, rows: Sequence[Row], train: Encoded, size: int = 1000) -> Iterator[list[Row]]:
    for begin in range(0, len(train), size):
        items = range(begin, min(begin + size, len(train)))
        yield [p for i in items if (p := shape.part(rows[int(train.rows[i])], train, i)) is not None]


def numbering(kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Where each of a vocabulary's rows is among those that were kept; -1 for the others."""
    numbers = np.full(int(kept.max()) + 1, -1, dtype=np.int32)
    numbers[kept] = np.arange(len(kept), dtype=np.int32)
    return numbers
