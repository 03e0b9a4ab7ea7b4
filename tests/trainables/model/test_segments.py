"""Drawn segmentations: against the library's own at the limit, and against all of them, listed one by one."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.model import kinds_of_tokenizer
from tests.trainables.model.kinds_of_tokenizer import KINDS, LETTERS, WORD
from tests.trainables.tiny import characters
from trainables.errors import UserError
from trainables.model.resegmenting import Resegmenting, undrawn
from trainables.model.segments import Sampler

TEXTS = ["banana goodness, banana?", "你好 bananas gooda ÖÖ ☃☃ö xbanana banaq", "q", "ban ", "banana" * 20]

MADE: dict[str, tuple[Any, Resegmenting]] = {}


def made(kind: str) -> tuple[Any, Resegmenting]:
    """A tokenizer, and the same whose words can be drawn."""
    if kind not in MADE:
        MADE[kind] = kinds_of_tokenizer.tokenizer(kind), Resegmenting(kinds_of_tokenizer.tokenizer(kind))
    return MADE[kind]


def everything(tokenizer: Any, text: str, **options: Any) -> Any:
    found = tokenizer(text, return_offsets_mapping=True, **options)
    return dict(found), found.word_ids()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_at_its_limit_a_draw_is_the_tokenizers_own(kind: str, text: str) -> None:
    plain, whole = made(kind)
    never = whole.seeded(whole.sampler(0.0, 1.0), 0.0, seed=1)
    sharp = whole.seeded(whole.sampler(1e4, 0.0), 1.0, seed=1)
    for options in ({}, {"truncation": True, "max_length": 6}):
        expected = everything(plain, text, **options)
        for drawn in (whole.tokenizer, never, sharp):
            assert everything(drawn, text, **options) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_join_to_the_same_text(kind: str) -> None:
    _, whole = made(kind)
    draws = [whole.sampler(alpha, dropout) for alpha, dropout in ((0.0, 1.0), (0.2, 0.2), (1.0, 0.6))]

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(word=st.text("▁ banaxqö你☃", min_size=1, max_size=9), seed=st.integers(0, 99), k=st.integers(0, 2))
    def check(word: str, seed: int, k: int) -> None:
        pieces = draws[k].draw(word, Random(seed))
        spelt = word.encode()
        assert pieces[0][1] == 0 and pieces[-1][2] == len(spelt)
        for (_, begin, end), (row, start, stop) in pairwise(pieces):
            assert start == end or (start, stop) == (begin, end), "one after another, the bytes of one character apart"
            assert row in draws[k].reachable(word)
        for row, begin, end in pieces:
            name = whole._names[row]
            if row != 3 and not name.startswith("<0x"):
                assert name.removeprefix("##") == spelt[begin:end].decode() if name != "##" else True

    check()


def frequencies(draws: Sampler, word: str, count: int = 4000) -> dict[tuple[int, ...], float]:
    random = Random(5)
    found = Counter(tuple(row for row, _, _ in draws.draw(word, random)) for _ in range(count))
    return {pieces: times / count for pieces, times in found.items()}


def assert_drawn(found: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float]) -> None:
    assert sum(expected.values()) == pytest.approx(1.0)
    assert found.keys() <= {pieces for pieces, chance in expected.items() if chance > 0}
    for pieces, chance in expected.items():
        assert found.get(pieces, 0.0) == pytest.approx(chance, abs=4.5 * math.sqrt(chance / 4000) + 1e-4), pieces


def cuts(word: str) -> list[list[str]]:
    """All ways to cut a word."""
    places = product([False, True], repeat=len(word) - 1)
    found = []
    for chosen in places:
        marks = [0, *(k + 1 for k, cut in enumerate(chosen) if cut), len(word)]
        found.append([word[i:j] for i, j in pairwise(marks)])
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_unigram_sampling_has_the_distribution_of_all_segmentations(alpha: float) -> None:
    _, whole = made("unigram")
    scores = {piece: (row, score) for row, (piece, score) in enumerate(whole._model["vocab"])}
    known = [cut for cut in cuts(f"▁{WORD}") if all(piece in scores for piece in cut)]
    weights = [math.exp(alpha * sum(scores[piece][1] for piece in cut)) for cut in known]
    expected = {
        tuple(scores[piece][0] for piece in cut): w / sum(weights) for cut, w in zip(known, weights, strict=True)
    }
    draws = whole.sampler(alpha, 0.0)
    assert len(expected) > 30
    assert_drawn(frequencies(draws, f"▁{WORD}"), expected)
    assert draws.reachable(f"▁{WORD}") == {row for pieces in expected for row in pieces}


def merged(pieces: tuple[str, ...], ranks: dict[tuple[str, str], int], p: float) -> dict[tuple[str, ...], float]:
    """Algorithm 1 of Provilkov et al.: the chance of every outcome, over all sets of merges that are passed over."""
    possible = [k for k in range(len(pieces) - 1) if pieces[k : k + 2] in ranks]
    found: dict[tuple[str, ...], float] = defaultdict(float)
    for chosen in product([False, True], repeat=len(possible)):
        chance = math.prod(1 - p if each else p for each in chosen)
        left = [k for k, each in zip(possible, chosen, strict=True) if each]
        if chance == 0.0:
            continue
        if not left:
            found[pieces] += chance
            continue
        k = min(left, key=lambda k: (ranks[pieces[k : k + 2]], k))  # type: ignore[index]
        then = (*pieces[:k], pieces[k] + pieces[k + 1], *pieces[k + 2 :])
        for outcome, further in merged(then, ranks, p).items():
            found[outcome] += chance * further
    return found


@pytest.mark.parametrize("dropout", [0.2, 0.7, 1.0])
def test_merges_are_dropped_as_published(dropout: float) -> None:
    _, whole = made("merges of bytes")
    model = whole._model
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    outcomes = merged(tuple(WORD), ranks, dropout)
    expected = {tuple(model["vocab"][piece] for piece in pieces): chance for pieces, chance in outcomes.items()}
    assert_drawn(frequencies(whole.sampler(0.0, dropout), WORD), expected)


def backed_off(word: str, begin: int, rows: dict[str, int], p: float) -> dict[tuple[int, ...], float]:
    """The chance of every way to go on from a place of a word all of whose parts are pieces."""
    if begin == len(word):
        return {(): 1.0}
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for end in range(len(word), begin, -1):
        chance = p ** (len(word) - end) * (1.0 if end == begin + 1 else 1 - p)
        row = rows["##" * (begin > 0) + word[begin:end]]
        for rest, further in backed_off(word, end, rows, p).items():
            found[(row, *rest)] += chance * further
    return found


@pytest.mark.parametrize("dropout", [0.2, 0.7, 1.0])
def test_wordpiece_backs_off_to_shorter_pieces(dropout: float) -> None:
    _, whole = made("wordpiece")
    expected = backed_off(WORD, 0, whole._model["vocab"], dropout)
    draws = whole.sampler(0.0, dropout)
    assert_drawn(frequencies(draws, WORD), expected)
    assert draws.reachable(WORD) == {
        row for pieces in backed_off(WORD, 0, whole._model["vocab"], 0.5) for row in pieces
    }


def test_no_word_gets_lost_by_backing_off() -> None:
    _, whole = made("wordpiece")
    draws = whole.sampler(0.0, 0.9)  # "##q" is no piece, so that "goo" must not be taken for "go" … and "##q"
    assert {tuple(row for row, _, _ in draws.draw("banaq", Random(k))) for k in range(20)} == {(3,)}
    assert all(3 not in {row for row, _, _ in draws.draw("good", Random(k))} for k in range(20))


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_depends_on_its_seed_and_nothing_else(kind: str) -> None:
    _, whole = made(kind)
    drawn = partial(whole.seeded, whole.sampler(0.2, 0.3), 0.8)
    alone = [drawn(seed=seed)(["banana good", "bananas"], max_length=30) for seed in range(8)]
    drawn(seed=99)("something else")
    assert [drawn(seed=seed)(["banana good", "bananas"], max_length=30) for seed in range(8)] == alone
    assert len({str(each) for each in alone}) > 3
    begin = drawn(seed=3)("banana good", add_special_tokens=False)["input_ids"]
    assert drawn(seed=3)("banana good, bananas", add_special_tokens=False)["input_ids"][: len(begin) - 1] == begin[:-1]
    assert undrawn(drawn(seed=3)) is whole.tokenizer and undrawn(whole.tokenizer) is whole.tokenizer


def test_a_vocabulary_of_whole_words_has_no_other_segmentation() -> None:
    with pytest.raises(UserError, match=r"of the kind Unigram, BPE or WordPiece \(got one of kind WordLevel\)"):
        Resegmenting(characters())


def test_the_words_of_a_text_are_what_is_drawn() -> None:
    _, whole = made("unigram")
    found = whole.words(lambda plain: plain(["banana good", "good"]))
    assert found == {"▁banana", "▁good"} and set("".join(found)) <= set(f"▁{LETTERS}")
