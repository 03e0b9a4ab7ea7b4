"""Heads of words, trees of tokens, and distances in them, held against plain searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainables.batch import NO_TREE
from trainables.syntax.trees import APART, FARTHEST, distances, heads_of, parents, within


@pytest.mark.parametrize("value", [[2, 0, 2], "2 0 2", ["2", "0", "2"]])
def test_heads_are_lists_or_numbers_between_blanks(value: Any) -> None:
    assert heads_of(value, 3) == [2, 0, 2]


def test_a_text_without_heads_has_none() -> None:
    assert [heads_of(value, 2) for value in (None, "", [], ["_", "_"], "_ _")] == [None] * 5
    assert heads_of("", 0) == []


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0 1", r"must be as many as its words, 3 \(got 2\)"),
        ("0 1 4", r"must be numbers from 0 \(the root\) to 3 \(got \"4\"\)"),
        ("0 _ 1", r"must be numbers from 0 .* \(got \"_\"\)"),
        ([0, -1, 1], r"must be numbers from 0 .* \(got -1\)"),
        ("0 3 2", r"must be a tree, without circles \(got one through word 2\)"),
        ("1 0 2", r"must be a tree, without circles \(got one through word 1\)"),
        (7, r"must be a list of numbers, or numbers between blanks \(got 7\)"),
    ],
)
def test_malformed_heads_are_refused(value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        heads_of(value, 3)


def test_a_part_of_a_text_hangs_on_the_nearest_words_that_it_has() -> None:
    heads = [2, 0, 4, 2, 4]
    assert within(heads, slice(0, 5)) == heads
    assert within(heads, slice(0, 2)) == [2, 0]
    assert within(heads, slice(4, 5)) == [0]
    assert within([0, 1, 2, 3], slice(0, 4, 1)) == [0, 1, 2, 3]


def test_first_pieces_take_the_place_of_words_and_special_tokens_hold_all_together() -> None:
    # <s> the dog</s> barks, in pieces <s> the do g barks </s> </s> lou der </s>: a pair.
    places = [None, (0, 0), (0, 1), (0, 1), (0, 2), None, None, (1, 0), (1, 0), None]
    found = parents(places, [[2, 3, 0], [0]])
    assert found.tolist() == [0, 2, 4, 2, 0, 0, 0, 6, 7, 0]


def test_words_that_were_cut_off_leave_their_place_to_their_ancestors() -> None:
    assert parents([None, (0, 0), (0, 1), None], [[3, 1, 0]]).tolist() == [0, 0, 1, 0]
    assert parents([None, (0, 1), (0, 2), None], [[0, 1, 1]]).tolist() == [0, 0, 0, 0]


def test_the_tree_hangs_on_the_only_special_token_where_that_ends_the_text() -> None:
    assert parents([(0, 0), (0, 1), None], [[0, 1]]).tolist() == [2, 0, 2]


def walked(tree: list[int], a: int, b: int) -> int:
    """The length of a path, by breadth-first search."""
    near = {i: {tree[i]} | {j for j, p in enumerate(tree) if p == i} for i in range(len(tree))}
    reached, ring, steps = {a}, {a}, 0
    while b not in reached:
        ring = set().union(*(near[i] for i in ring)) - reached
        reached |= ring
        steps += 1
    return steps


def test_distances_are_those_of_a_search() -> None:
    random = np.random.default_rng(0)
    trees = [[0, *(int(random.integers(i)) for i in range(1, n))] for n in (1, 5, 12)]
    padded = np.full((4, 12), NO_TREE, dtype=np.int16)
    for row, tree in zip(padded, trees, strict=False):
        row[: len(tree)] = tree
    between, depths = distances(padded)
    assert between.dtype == depths.dtype == np.uint8
    for found, depth, tree in zip(between, depths, trees, strict=False):
        n = len(tree)
        assert found[:n, :n].tolist() == [[walked(tree, i, j) for j in range(n)] for i in range(n)]
        assert depth[:n].tolist() == [walked(tree, 0, i) for i in range(n)]
        assert (found[n:, :n] == APART).all() and (found[:n, n:] == APART).all() and (depth[n:] == APART).all()
    assert (between[3] == np.where(np.eye(12, dtype=bool), 0, APART)).all() and (depths[3] == APART).all()


def test_a_byte_holds_the_farthest() -> None:
    chain = np.asarray([[0, *range(299)]], dtype=np.int16)
    between, depths = distances(chain)
    assert between[0, 0, -1] == depths[0, -1] == FARTHEST
