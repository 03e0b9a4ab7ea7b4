"""Batches are a function of (seed, step), cover every item once an epoch, and can group like lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainables.config import Budget
from trainables.materials.batches import Batches, total_steps


@pytest.fixture
def batches() -> Batches:
    lengths = np.random.default_rng(0).integers(4, 40, size=331)
    return Batches(lengths, batch_size=16, seed=5)


@pytest.mark.parametrize("pool", [1, 8])
def test_an_epoch_has_every_item_once(batches: Batches, pool: int) -> None:
    pooled = replace(batches, pool=pool)
    for epoch in range(3):
        items = np.concatenate(pooled.epoch(epoch))
        assert sorted(items.tolist()) == list(range(331))
    assert pooled.per_epoch == len(pooled.epoch(0)) == 21


def test_a_step_needs_no_history(batches: Batches) -> None:
    again = Batches(batches.lengths, 16, 5)
    assert np.array_equal(again.at(30), batches.epoch(1)[9])
    assert not np.array_equal(Batches(batches.lengths, 16, 6).at(30), batches.at(30))


def test_epochs_differ(batches: Batches) -> None:
    assert not np.array_equal(batches.epoch(0)[0], batches.epoch(1)[0])


def padded(batches: Batches) -> int:
    return sum(int(batches.lengths[each].max()) * len(each) for each in batches.epoch(0))


def test_pooled_batches_are_of_like_length(batches: Batches) -> None:
    assert padded(replace(batches, pool=8)) < 0.8 * padded(batches)


def test_batches_know_nothing_of_length_unless_pooled(batches: Batches) -> None:
    means = [batches.lengths[each].mean() for epoch in range(40) for each in batches.epoch(epoch)[:-1]]
    expected = batches.lengths.std() / 4  # of the mean of 16
    assert np.std(means) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [(Budget(steps=7), 7), (Budget(epochs=1.5), 32), (Budget(forward_equivalents=100), 20), (Budget(epochs=0.01), 1)],
)
def test_budgets_become_steps(budget: Budget, steps: int) -> None:
    assert total_steps(budget, 21, forward_equivalents_per_step=5.0) == steps


@pytest.mark.parametrize(("epochs", "steps"), [(0.07, 7), (0.55, 55), (1.1, 110), (0.071, 8)])
def test_a_part_of_an_epoch_is_no_step_more_for_a_rounding_error(epochs: float, steps: int) -> None:
    assert total_steps(Budget(epochs=epochs), 100, forward_equivalents_per_step=1.0) == steps
