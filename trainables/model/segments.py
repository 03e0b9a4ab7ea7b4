"""Segmentations of a word that its own tokenizer would not choose, drawn at random.

In: what a ``tokenizer.json`` says of its model. Out: pieces of a word, as (id, first byte, end), whose texts joined are
the word. Of each kind of model the published way: sampling for unigram models (Kudo, arXiv 1804.10959), dropout of
merges for byte-pair encoding (Provilkov et al., arXiv 1910.13267), drop-and-backoff for WordPiece (Wang, Ruder and
Neubig, arXiv 2103.08490). A *word* is what the tokenizer's own rules hand to its model: with most, a word and the space
before it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random
from typing import Any

from trainables.errors import UserError

Piece = tuple[int, int, int]
"""Vocabulary row, first byte in the word, byte after its last."""

UNKNOWN_PENALTY = 10.0
"""By how much a character that a unigram model lacks scores less than its worst piece (SentencePiece)."""

REMEMBERED = 8192
"""Words whose segmentations are kept at hand."""


class Sampler(ABC):
    """Segmentations of words by one model."""

    @abstractmethod
    def draw(self, word: str, random: Random) -> list[Piece]:
        """One segmentation of a word, a function of it and of the generator's state."""

    @abstractmethod
    def reachable(self, word: str) -> set[int]:
        """The pieces that `draw` can yield for a word, and perhaps more, whatever the strength."""


def sampler(model: Mapping[str, Any], alpha: float, dropout: float) -> Sampler:
    """Of a model as a ``tokenizer.json`` has it; `alpha` is for unigram models, `dropout` for the others.

    Raises `UserError` for a model that knows only one segmentation.
    """
    check_kind(str(model["type"]))
    if model["type"] == "Unigram":
        return Unigram(model, alpha)
    return (Merges if model["type"] == "BPE" else WordPieces)(model, dropout)


def check_kind(kind: str) -> None:
    """Raise `UserError` for a kind of model that knows only one segmentation."""
    if kind not in ("Unigram", "BPE", "WordPiece"):
        raise UserError(
            "perturbation.method: a second segmentation needs a tokenizer of the kind Unigram, BPE or WordPiece (got "
            f"one of kind {kind})"
        )


class Unigram(Sampler):
    """A segmentation with probability proportional to its own under the model to the power of alpha.

    Exact, by forward filtering and backward sampling over all of them. Alpha 0 draws all alike; as it grows the
    tokenizer's own, which is the likeliest, is drawn alone.
    """

    def __init__(self, model: Mapping[str, Any], alpha: float) -> None:
        vocabulary: list[tuple[str, float]] = model["vocab"]
        self._alpha = alpha
        self._pieces = {piece: (row, score) for row, (piece, score) in enumerate(vocabulary)}
        self._longest = max(map(len, self._pieces))
        self._unknown = model["unk_id"], min(score for _, score in vocabulary) - UNKNOWN_PENALTY
        self._bytes = _Bytes({piece: row for piece, (row, _) in self._pieces.items()}, model)
        self._lattice = lru_cache(REMEMBERED)(self._lattice_of)

    def draw(self, word: str, random: Random) -> list[Piece]:
        edges, at = self._lattice(word)
        spans: list[tuple[int, int, int]] = []
        end = len(word)
        while end > 0:
            chance, chosen = random.random(), edges[end][-1]
            for edge in edges[end]:
                chance -= edge[2]
                if chance < 0.0:
                    chosen = edge
                    break
            begin, row, _ = chosen
            if spans and row == spans[-1][0] == self._unknown[0]:  # what is unknown is one piece
                spans[-1] = (row, begin, spans[-1][2])
            else:
                spans.append((row, begin, end))
            end = begin
        return [piece for span in reversed(spans) for piece in self._as_pieces(span, word, at)]

    def reachable(self, word: str) -> set[int]:
        edges, at = self._lattice(word)
        found = {(row, begin, end) for end, each in enumerate(edges) for begin, row, _ in each}
        return {piece[0] for span in found for piece in self._as_pieces(span, word, at)}

    def _as_pieces(self, span: tuple[int, int, int], word: str, at: Sequence[int]) -> list[Piece]:
        row, begin, end = span
        if row == self._unknown[0] and (spelt := self._bytes.of(word[begin:end])):
            return [(byte, at[begin], at[end]) for byte in spelt]
        return [(row, at[begin], at[end])]

    def _lattice_of(self, word: str) -> tuple[list[list[tuple[int, int, float]]], list[int]]:
        """Of each place in a word, the pieces that end there (begin, row, chance among them), and its byte."""
        size = len(word)
        mass = [0.0, *([-math.inf] * size)]  # logarithm of the sum over all segmentations up to a place
        edges: list[list[tuple[int, int, float]]] = [[] for _ in range(size + 1)]
        for end in range(1, size + 1):
            there: list[tuple[int, int, float]] = []
            for begin in range(max(0, end - self._longest), end):
                row, score = self._pieces.get(word[begin:end], (None, 0.0))
                if row is None and end - begin == 1:
                    row, score = self._unknown
                if row is not None:
                    there.append((begin, row, mass[begin] + self._alpha * score))
            top = max(value for _, _, value in there)
            total = sum(math.exp(value - top) for _, _, value in there)
            mass[end] = top + math.log(total)
            edges[end] = [(begin, row, math.exp(value - mass[end])) for begin, row, value in there]
        return edges, _byte_places(word)


class Merges(Sampler):
    """Byte-pair encoding that passes over each possible merge, at each turn, with the probability `dropout`.

    A word that the tokenizer takes whole before it merges anything (`ignore_merges`) counts as one merge.
    """

    def __init__(self, model: Mapping[str, Any], dropout: float) -> None:
        self._dropout = dropout
        self._rows: dict[str, int] = model["vocab"]
        self._prefix = model.get("continuing_subword_prefix") or ""
        self._suffix = model.get("end_of_word_suffix") or ""
        self._takes_whole = bool(model.get("ignore_merges"))
        self._fuses = bool(model.get("fuse_unk"))
        self._unknown = self._rows.get(model.get("unk_token") or "")
        self._bytes = _Bytes(self._rows, model)
        self._longest = max(map(len, self._rows))
        self._merges: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, merge in enumerate(model["merges"]):
            left, right = merge.split(" ") if isinstance(merge, str) else merge
            whole = self._rows[left + right.removeprefix(self._prefix)]
            self._merges[self._rows[left], self._rows[right]] = rank, whole

    def draw(self, word: str, random: Random) -> list[Piece]:
        if self._takes_whole and word in self._rows and random.random() >= self._dropout:
            return [(self._rows[word], 0, len(word.encode()))]
        pieces = list(self._characters(word))
        while True:
            known = [(self._merges.get((a[0], b[0])), k) for k, (a, b) in enumerate(pairwise(pieces))]
            possible = [(merge, k) for merge, k in known if merge is not None and random.random() >= self._dropout]
            if not possible:
                return pieces
            (_, whole), k = min(possible)
            pieces[k : k + 2] = [(whole, pieces[k][1], pieces[k + 1][2])]

    def reachable(self, word: str) -> set[int]:
        found = {row for row, _, _ in self._characters(word)}
        for begin in range(len(word)):
            for end in range(begin + 1, min(len(word), begin + self._longest) + 1):
                row = self._rows.get(self._named(word, begin, end))
                if row is not None:
                    found.add(row)
        return found | ({self._rows[word]} if self._takes_whole and word in self._rows else set())

    def _named(self, word: str, begin: int, end: int) -> str:
        """What the vocabulary calls a part of a word."""
        return self._prefix * (begin > 0) + word[begin:end] + self._suffix * (end == len(word))

    def _characters(self, word: str) -> Iterator[Piece]:
        """What merging begins with."""
        at = _byte_places(word)
        unknown: Piece | None = None
        for k, character in enumerate(word):
            row = self._rows.get(self._named(word, k, k + 1))
            spelt = self._bytes.of(character) if row is None else []
            if row is None and not spelt and self._unknown is not None:
                begin = unknown[1] if unknown is not None and self._fuses else at[k]
                if unknown is not None and not self._fuses:
                    yield unknown
                unknown = self._unknown, begin, at[k + 1]
                continue
            if unknown is not None:
                yield unknown
                unknown = None
            if row is not None:
                yield row, at[k], at[k + 1]
            yield from ((byte, at[k], at[k + 1]) for byte in spelt)
        if unknown is not None:
            yield unknown


class WordPieces(Sampler):
    """From the left, the longest piece of the vocabulary; each is passed over with the probability `dropout`.

    Then the next shorter one is tried. Only pieces after which the rest can be had count, and the last of them is
    always taken, so that no word gets lost (the authors' code makes such a word unknown). A word that is unknown to the
    tokenizer stays unknown.
    """

    def __init__(self, model: Mapping[str, Any], dropout: float) -> None:
        self._dropout = dropout
        self._rows: dict[str, int] = model["vocab"]
        self._prefix: str = model["continuing_subword_prefix"]
        self._most: int = model["max_input_chars_per_word"]
        self._unknown = self._rows[model["unk_token"]]
        self._longest = max(map(len, self._rows))
        self._ways = lru_cache(REMEMBERED)(self._ways_of)

    def draw(self, word: str, random: Random) -> list[Piece]:
        ways, at = self._ways(word), _byte_places(word)
        if ways is None:
            return [(self._unknown, 0, at[-1])]
        pieces: list[Piece] = []
        begin = 0
        while begin < len(word):
            *longer, (end, row) = ways[begin]
            end, row = next((way for way in longer if random.random() >= self._dropout), (end, row))
            pieces.append((row, at[begin], at[end]))
            begin = end
        return pieces

    def reachable(self, word: str) -> set[int]:
        ways = self._ways(word)
        return {self._unknown} if ways is None else {row for way in ways for _, row in way}

    def _ways_of(self, word: str) -> list[list[tuple[int, int]]] | None:
        """From each place, the pieces after which the rest can be had, longest first: (end, row). None: unknown."""
        size = len(word)
        if size > self._most or not self._is_known(word):
            return None
        ways: list[list[tuple[int, int]]] = [[] for _ in range(size)]
        for begin in reversed(range(size)):
            for end in range(min(size, begin + self._longest), begin, -1):
                row = self._rows.get(self._prefix * (begin > 0) + word[begin:end])
                if row is not None and (end == size or ways[end]):
                    ways[begin].append((end, row))
        return ways

    def _is_known(self, word: str) -> bool:
        """Whether the tokenizer, which never goes back, comes to the end of a word."""
        begin = 0
        while begin < len(word):
            ends = range(min(len(word), begin + self._longest), begin, -1)
            found = next((e for e in ends if self._prefix * (begin > 0) + word[begin:e] in self._rows), None)
            if found is None:
                return False
            begin = found
        return True


class _Bytes:
    """Unknown characters spelt by their bytes, ``<0x0A>``, where a model does that."""

    def __init__(self, rows: Mapping[str, int], model: Mapping[str, Any]) -> None:
        names = [f"<0x{byte:02X}>" for byte in range(256)] if model.get("byte_fallback") else []
        self._rows = [rows.get(name) for name in names]

    def of(self, text: str) -> list[int]:
        """Rows of a text's bytes; none where the model has not all of them."""
        found = [self._rows[byte] for byte in text.encode()] if self._rows else []
        return [row for row in found if row is not None] if None not in found else []


def _byte_places(word: str) -> list[int]:
    """Where each character of a word begins, in bytes, and where the last one ends."""
    return [0, *accumulate(len(character.encode()) for character in word)]
