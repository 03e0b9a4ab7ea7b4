"""Tokenised text: what is picked out of a split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.trainables.texts import Item, encode

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
