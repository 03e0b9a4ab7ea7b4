"""Batches are a function of (seed, step), cover every item once an epoch, and group like lengths."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.batches import Batches, total_steps
from trainables.config import Budget


@pytest.fixture
def batches() -> Batches:
    lengths = np.random.default_rng(0).integers(4, 40, size=331)
    return Batches(lengths, batch_size=16, seed=5)


def test_an_epoch_has_every_item_once(batches: Batches) -> None:
    for epoch in range(3):
        items = np.concatenate(batches.epoch(epoch))
        assert sorted(items.tolist()) == list(range(331))
    assert batches.per_epoch == len(batches.epoch(0)) == 21


def test_a_step_needs_no_history(batches: Batches) -> None:
    again = Batches(batches.lengths, 16, 5)
    assert np.array_equal(again.at(30), batches.epoch(1)[9])
    assert not np.array_equal(Batches(batches.lengths, 16, 6).at(30), batches.at(30))


def test_epochs_differ(batches: Batches) -> None:
    assert not np.array_equal(batches.epoch(0)[0], batches.epoch(1)[0])


def test_lengths_are_bucketed(batches: Batches) -> None:
    def padded(groups: list[np.ndarray]) -> int:
        return sum(int(batches.lengths[g].max()) * len(g) for g in groups)

    order = np.random.default_rng(1).permutation(331)
    plain = [order[i : i + 16] for i in range(0, 331, 16)]
    assert padded(batches.epoch(0)) < 0.8 * padded(plain)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [(Budget(steps=7), 7), (Budget(epochs=1.5), 32), (Budget(forward_equivalents=100), 20), (Budget(epochs=0.01), 1)],
)
def test_budgets_become_steps(budget: Budget, steps: int) -> None:
    assert total_steps(budget, 21, forward_equivalents_per_step=5.0) == steps
