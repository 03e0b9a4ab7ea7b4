"""Tokenised text: what is picked out of a split."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from tests.trainables.texts import Item, encode
from trainables.batch import Batch
from trainables.layout import Layout, Paths

ITEMS = [
    Item(((0, 5, 2), (0, 6, 7, 2)), (0, 2), 4),
    Item(((0, 8, 2), (0, 2)), (1, 2), 5),
    Item(((0, 9, 9, 9, 2), (0, 4, 2)), (1, 2), 6),
]


def test_items_are_picked_with_all_their_sequences() -> None:
    picked, expected = encode(ITEMS).pick([2, 0], 2), encode([ITEMS[2], ITEMS[0]])
    for name, array in expected.arrays().items():
        assert np.array_equal(picked.arrays()[name], array), name


def test_items_are_picked_with_the_languages_of_all_their_sequences() -> None:
    told = replace(encode(ITEMS), languages=np.asarray([0, 1, 2, 1, 4, 1]))
    picked = told.pick([2, 0], 2).languages
    assert picked is not None and picked.tolist() == [4, 1, 0, 1]


def test_a_batch_several_times_lies_as_if_it_had_been_made_so() -> None:
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    special = torch.tensor([[False, True, False], [True, False, True]])
    paths = Paths(torch.arange(18, dtype=torch.uint8).view(2, 3, 3), torch.arange(6, dtype=torch.uint8).view(2, 3))
    batch = Batch(mask * 7, mask, special, torch.tensor([1, 0]), torch.tensor([8, 9]), torch.tensor([4, 5]), paths)
    found = batch.times(3)
    assert found.labels.tolist() == [1, 0] * 3 and found.sequence_keys.tolist() == [8, 9] * 3
    assert found.paths is found.layout.paths
    expected = Layout.of(found.attention_mask, found.special, found.languages, found.paths)
    for each in fields(Layout):
        mine, theirs = getattr(found.layout, each.name), getattr(expected, each.name)
        if each.name == "sources":  # at the padding any token will do
            mine, theirs = mine[expected.mask.flatten()], theirs[expected.mask.flatten()]
        assert torch.equal(mine, theirs) if isinstance(theirs, torch.Tensor) else mine == theirs, each.name
