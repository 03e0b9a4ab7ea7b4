"""Chunk scores as `seqeval` computes them in its default mode: official of PAN-X, UDPOS (XTREME) and XGLUE's NER, POS.

A chunk is a run of tags of one type; the first letter of a tag is its position in the chunk (B, I, E, S; O: outside),
what follows is its type. Tags without such letters (UPOS) go through the same rules: ``NOUN`` is letter N of type OUN,
and neighbours of one type are one chunk. So the "F1" of UDPOS is no token accuracy. The sentences are one sequence with
an ``O`` after each, and the tag ``X``, which has no type, can reach back over it: a language's score is not made up of
the scores of its sentences taken alone, but the counts below, by the sentence in which a chunk ends, do add up.

Before its version 1.0 seqeval took all of a tag for its type where the tag has no hyphen. They differ in what is one
chunk, and what is the same one: CCONJ and SCONJ are both of type CONJ since 1.0. ``B-PER`` is the same to both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Chunk = tuple[str, int, int]
"""Type, first and last position."""

TypeOf = Callable[[str], str]
"""The type of a tag."""

_ENDS = {("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")}
_STARTS = {("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")}


@dataclass(frozen=True)
class ChunkCounts:
    """Counts that scores are made of."""

    right: int = 0
    predicted: int = 0
    expected: int = 0

    def __add__(self, other: ChunkCounts) -> ChunkCounts:
        return ChunkCounts(self.right + other.right, self.predicted + other.predicted, self.expected + other.expected)

    @property
    def precision(self) -> float:
        """Share of the predicted chunks that are right; 0 where none is predicted."""
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where both are."""
        return 2 * self.right / (self.predicted + self.expected) if self.right else 0.0


def after_letter(tag: str) -> str:
    """The type of a tag since seqeval 1.0: what follows its first letter, and in that the first hyphen.

    >>> after_letter("B-PER"), after_letter("NOUN"), after_letter("X")
    ('PER', 'OUN', '_')
    """
    return tag[1:].split("-", maxsplit=1)[-1] or "_"


def after_hyphen(tag: str) -> str:
    """The type of a tag before seqeval 1.0: what follows its last hyphen, or else all of it.

    >>> after_hyphen("B-PER"), after_hyphen("NOUN"), after_hyphen("X")
    ('PER', 'NOUN', 'X')
    """
    return tag.rpartition("-")[2]


def count_chunks(
    expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], type_of: TypeOf = after_letter
) -> list[ChunkCounts]:
    """Compare the tags of all sentences of a language: one count per sentence. Their sum is the official count."""
    assert [len(tags) for tags in expected] == [len(tags) for tags in predicted]
    pairs = zip(_chunks(expected, type_of), _chunks(predicted, type_of), strict=True)
    return [ChunkCounts(len(gold & found), len(found), len(gold)) for gold, found in pairs]


def _chunks(sentences: Sequence[Sequence[str]], type_of: TypeOf) -> list[set[Chunk]]:
    """The chunks that end in each sentence; positions are those in the whole sequence."""
    found: list[set[Chunk]] = []
    letter, kind, start, i = "O", "", 0, 0
    for tags in sentences:
        ending: set[Chunk] = set()
        for tag in (*tags, "O"):
            new_letter, new_kind = tag[0], type_of(tag)
            changes = kind != new_kind
            if letter in "ES" or (letter, new_letter) in _ENDS or (letter not in "O." and changes):
                ending.add((kind, start, i - 1))
            if new_letter in "BS" or (letter, new_letter) in _STARTS or (new_letter not in "O." and changes):
                start = i
            letter, kind, i = new_letter, new_kind, i + 1
        found.append(ending)
    return found
