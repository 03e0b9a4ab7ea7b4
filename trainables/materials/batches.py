"""Which items a step trains on: a function of (seed, step) alone, so that resuming needs no saved position."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainables.config import Budget
from trainables.seeds import derive


@dataclass(frozen=True)
class Batches:
    """Epochs of random batches over items of the given lengths, each batch sorted by length.

    `pool` batches are drawn together and sorted before they are cut into batches of like length. Length says something
    of the class, so such batches pull to and fro: docs/performance.md. Encoders that take batches without their padding
    (`packing`) gain next to nothing by them.
    """

    lengths: npt.NDArray[np.int64]
    batch_size: int
    seed: int
    pool: int = 1
    _drawn: dict[int, list[npt.NDArray[np.int64]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def epoch_of(self, step: int) -> int:
        """Which pass over the items a step belongs to, counted from 0."""
        return step // self.per_epoch

    def at(self, step: int) -> npt.NDArray[np.int64]:
        """Items of a step, counted from 0."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch not in self._drawn:  # the newest one is kept: drawing takes as long as there are items
            self._drawn.clear()
            self._drawn[epoch] = self.epoch(epoch)
        return self._drawn[epoch][position]

    def epoch(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        """All batches of an epoch: every item once."""
        random = np.random.default_rng(derive(self.seed, "data order", epoch))
        order = random.permutation(len(self.lengths))
        batches: list[npt.NDArray[np.int64]] = []
        for start in range(0, len(order), self.pool * self.batch_size):
            pool = order[start : start + self.pool * self.batch_size]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches.extend(pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size))
        return [batches[i] for i in random.permutation(len(batches))]


ROUNDED = 9
"""Decimals of a number of steps that count: .07 of 100 batches are 7, and not a bit more."""


def total_steps(budget: Budget, batches_per_epoch: int, forward_equivalents_per_step: float) -> int:
    """Optimiser steps that a budget pays for; at least one."""
    if budget.steps is not None:
        return budget.steps
    if budget.epochs is not None:
        return max(1, math.ceil(round(budget.epochs * batches_per_epoch, ROUNDED)))
    assert budget.forward_equivalents is not None
    return max(1, int(round(budget.forward_equivalents / forward_equivalents_per_step, ROUNDED)))
