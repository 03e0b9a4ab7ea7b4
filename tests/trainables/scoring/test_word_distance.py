"""What certificates are read against."""

from __future__ import annotations

import pytest
import torch

from trainables.scoring.robustness import WordDistances

TABLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [5.0, 4.0], [20.0, 0.0]])
"""Distances to the nearest other: 1, 1, 4, 4, 15."""


def test_an_item_is_as_far_from_another_as_its_nearest_word() -> None:
    distances = WordDistances(TABLE, sequences_per_item=1)
    ids = torch.tensor([[4, 2, 0], [4, 4, 0], [2, 3, 0], [0, 0, 0]])
    mask = torch.tensor([[True, True, False], [True, True, False], [True, True, True], [False, False, False]])
    for _ in range(2):  # what is known already is the same
        assert distances.of(ids, mask).tolist() == pytest.approx([4.0, 15.0, 1.0, 0.0])


def test_the_texts_of_an_item_count_together() -> None:
    ids, mask = torch.tensor([[4], [2], [4], [4]]), torch.ones(4, 1, dtype=torch.bool)
    assert WordDistances(TABLE, sequences_per_item=2).of(ids, mask).tolist() == pytest.approx([4.0, 15.0])
