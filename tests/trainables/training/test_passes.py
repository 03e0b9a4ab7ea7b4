"""Batches are cut into passes that fit, and what is fed to them comes in time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from trainables.training.feed import Feed
from trainables.training.passes import Items, Limits


def cut(limits: Limits, lengths: list[int]) -> list[list[int]]:
    return [part.tolist() for part in limits.cut(np.arange(len(lengths)), np.asarray(lengths))]


@pytest.mark.parametrize(
    ("limits", "lengths", "expected"),
    [
        (Limits(), [4, 5, 6], [[0, 1, 2]]),
        (Limits(items=2), [4, 5, 6], [[0, 1], [2]]),
        (Limits(tokens=10), [4, 5, 6], [[0, 1], [2]]),
        (Limits(tokens=9), [4, 5, 6], [[0], [1], [2]]),
        (Limits(items=1, tokens=100), [4, 5], [[0], [1]]),
        (Limits(tokens=3), [4, 5], [[0], [1]]),
        (Limits(tokens=12), [6, 2, 2, 2], [[0, 1], [2, 3]]),
        (Limits(items=2), [], []),
    ],
)
def test_items_are_cut_in_their_order_and_one_always_fits(
    limits: Limits, lengths: list[int], expected: list[list[int]]
) -> None:
    assert cut(limits, lengths) == expected


def test_the_least_of_several_limits_holds_where_all_do() -> None:
    assert Limits.least([Limits(), Limits(2, None, halved=True)]) == Limits(2, None, halved=True)
    assert Limits.least([Limits(4, 100), Limits(4, 50, halved=True), Limits(3, 80)]) == Limits(3, 50, halved=True)
    assert Limits.least([Limits(), Limits()]) == Limits()


@pytest.mark.parametrize(
    ("limits", "items", "expected", "words"),
    [
        (
            Limits(),
            5,
            Limits(items=2, halved=True),
            "with 5 examples at once: goes on with 2 (training.micro_batch_size",
        ),
        (Limits(items=4), 9, Limits(items=2, halved=True), "with 4 examples"),
        (Limits(tokens=64), 9, Limits(tokens=32, halved=True), "goes on with 32 (training.micro_batch_tokens: 32)"),
        (Limits(items=8, tokens=64), 9, Limits(items=8, tokens=32, halved=True), "with 64 tokens at once"),
    ],
)
def test_what_does_not_suffice_is_halved(limits: Limits, items: int, expected: Limits, words: str) -> None:
    found = limits.half(items)
    assert found is not None and found[0] == expected and words in found[1]
    assert expected.half(items) is None, "once"


def test_one_example_is_not_halved() -> None:
    assert Limits().half(1) is None


def items(*numbers: int) -> Items:
    return np.asarray(numbers, dtype=np.int64)


def test_what_follows_is_made_meanwhile_by_another_thread() -> None:
    made: list[tuple[list[int], str]] = []
    done = threading.Event()

    def make(epoch: int, chosen: Items) -> int:
        made.append((chosen.tolist(), threading.current_thread().name))
        if len(made) == 2:
            done.set()
        return int(chosen.sum())

    feed = Feed(make, ahead=True)
    assert feed.take(0, items(1, 2), lambda: (0, items(3))) == 3
    assert done.wait(30), "before it is asked for"
    assert feed.take(0, items(3), lambda: None) == 3
    assert [chosen for chosen, _ in made] == [[1, 2], [3]]
    assert made[0][1] == threading.current_thread().name and made[1][1].startswith("feed")


def test_what_was_not_foreseen_is_made_at_once() -> None:
    feed = Feed(lambda epoch, chosen: chosen.tolist(), ahead=True)
    assert feed.take(0, items(1), lambda: (0, items(2))) == [1]
    assert feed.take(0, items(7, 8), lambda: None) == [7, 8]


def test_on_a_cpu_nothing_is_made_ahead() -> None:
    def never() -> tuple[int, Items]:
        raise AssertionError("asked what follows")

    assert Feed(lambda epoch, chosen: chosen.tolist(), ahead=False).take(0, items(1), never) == [1]


def test_an_error_of_what_was_made_ahead_is_that_of_who_takes_it() -> None:
    def make(epoch: int, chosen: Items) -> int:
        if chosen[0] == 2:
            raise ValueError("no such item")
        return 0

    feed = Feed(make, ahead=True)
    feed.take(0, items(1), lambda: (0, items(2)))
    with pytest.raises(ValueError, match="no such item"):
        feed.take(0, items(2), lambda: None)
