"""Dependency trees: heads of words as files have them, the tree of a text's tokens, distances along it.

Words are numbered from 1, the head of a root is 0. Of the tokens of a word the first takes its place in the tree, and
the others hang on that one; special tokens hang on the first of them, and the root of a text on the special token
before it, so that all is one tree (Ahmad et al. 2021, Syntax-augmented Multilingual BERT, ACL, section 3).

Suffixes: s sequences, t tokens.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.batch import NO_TREE
from trainables.errors import shown

Parsed = Literal["gold", "predicted", "none"]
"""Who parsed a text: annotators, a parser, nobody."""

PARSED: tuple[Parsed, ...] = ("none", "predicted", "gold")

APART = 255
"""Distance of tokens between which there is no path: at the padding, and in a text whose tree is not known."""

FARTHEST = 254
"""Distances beyond are this one, so that a byte holds each."""

_NUMBER = re.compile(r"[0-9]{1,9}")


def heads_of(value: Any, words: int) -> list[int] | None:
    """The heads of a text's words: a list, or numbers between blanks; None where it has none (nothing, or all ``_``).

    Raises ValueError, as ``rule (got value)``, where they are no tree.

    >>> heads_of("2 0 2", 3), heads_of(["_", "_"], 2)
    ([2, 0, 2], None)
    """
    found = value.split() if isinstance(value, str) else value
    if found is None:
        return None
    if not isinstance(found, list):
        raise ValueError(f"must be a list of numbers, or numbers between blanks (got {shown(value)})")
    if (words and not found) or (found and all(each == "_" for each in found)):
        return None
    if len(found) != words:
        raise ValueError(f"must be as many as its words, {words} (got {len(found)})")
    heads = [int(each) if _NUMBER.fullmatch(str(each)) else words + 1 for each in found]
    for each, head in zip(found, heads, strict=True):
        if head > words:
            raise ValueError(f"must be numbers from 0 (the root) to {words} (got {shown(each)})")
    if (word := _in_circle(heads)) is not None:
        raise ValueError(f"must be a tree, without circles (got one through word {word})")
    return heads


def _in_circle(heads: Sequence[int]) -> int | None:
    """A word, from 1, that is its own ancestor; None where there is none."""
    good: set[int] = {0}
    for word in range(1, len(heads) + 1):
        path: list[int] = []
        while word not in good:
            if word in path:
                return word
            path.append(word)
            word = heads[word - 1]
        good.update(path)
    return None


def within(heads: Sequence[int], words: slice) -> list[int]:
    """The heads of some neighbouring words among themselves: who hangs on others takes its nearest ancestor here.

    >>> within([2, 0, 4, 2], slice(2, 4)), within([2, 0, 1, 2], slice(1, 4))
    ([2, 0], [0, 1, 1])
    """
    places = range(*words.indices(len(heads)))
    here = {place + 1: number for number, place in enumerate(places, start=1)}
    return [here.get(_nearest(heads, heads[place], here), 0) for place in places]


def _nearest(heads: Sequence[int], head: int, here: Container[int]) -> int:
    """The first of a word's ancestors, from its head on, that is in `here`; 0: none."""
    while head and head not in here:
        head = heads[head - 1]
    return head


def parents(places: Sequence[tuple[int, int] | None], heads: Sequence[Sequence[int]]) -> npt.NDArray[np.int16]:
    """The parent (t,) of each token of a sequence, by its place in it; that of the uppermost token is itself.

    `places` are the tokens' texts and words, both from 0, or None of special ones; `heads` those of each text.
    """
    first: dict[tuple[int, int], int] = {}
    here: dict[int, set[int]] = {text: set() for text in range(len(heads))}
    for number, place in enumerate(places):
        if place is not None:
            first.setdefault(place, number)
            here[place[0]].add(place[1] + 1)
    top = next((number for number, place in enumerate(places) if place is None), 0)
    found = np.full(len(places), top, dtype=np.int16)
    above = top
    for number, place in enumerate(places):
        if place is None:
            above = number
        elif first[place] < number:
            found[number] = first[place]
        else:
            text, word = place
            head = _nearest(heads[text], heads[text][word], here[text])
            found[number] = first[text, head - 1] if head else above
    return found


def distances(parents: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Lengths of the paths between tokens (s, t, t), and of those from the uppermost one (s, t), of parents (s, t).

    From the uppermost token down each is one farther from those before it than its parent is: s t^2 in all. `APART`
    where there is no tree (a parent of `NO_TREE`); a token is always 0 from itself.
    """
    s, t = parents.shape
    there = parents != NO_TREE
    own, rows = np.broadcast_to(np.arange(t), (s, t)), np.arange(s)
    above = np.where(there, parents, own)
    depths, at = np.zeros((s, t), dtype=np.int16), own
    while (higher := np.take_along_axis(above, at, 1) != at).any():
        depths += higher
        at = np.take_along_axis(above, at, 1)
    lengths = np.zeros((s, t, t), dtype=np.int16)
    for tokens in np.argsort(depths, 1, kind="stable").T:
        found = lengths[rows, above[rows, tokens]] + 1
        found[rows, tokens] = 0
        lengths[rows, tokens] = lengths[rows, :, tokens] = found  # of tokens to come too: they write it anew
    paths = np.minimum(lengths, FARTHEST).astype(np.uint8)
    paths[~(there[:, :, None] & there[:, None, :])] = APART
    paths[:, np.arange(t), np.arange(t)] = 0
    return paths, np.where(there, np.minimum(depths, FARTHEST), APART).astype(np.uint8)
