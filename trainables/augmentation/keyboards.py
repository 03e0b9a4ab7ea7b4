"""Which letters lie next to each other on the keyboards that languages are typed on, where the layout is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from trainables.languages import base
from trainables.loading import read_mapping

LAYOUTS = Path(__file__).parent / "keyboards.yaml"

SHIFTS = (0.0, 0.25, 0.75)
"""How far each row begins to the right of the first, in keys."""

NEAR = 1.0
"""Most keys to the side that a neighbour is, in a letter's own row or in one that touches it."""


def neighbours(language: str) -> Mapping[str, str]:
    """Letter -> the letters around it, in order, on the keyboard of a language; empty where its layout is not known.

    >>> neighbours("de")["z"], neighbours("en")["z"], neighbours("ru")["ы"]
    ('ghtu', 'asx', 'вуфцчя')
    """
    return _of_languages().get(base(language), {})


@cache
def _of_languages() -> Mapping[str, Mapping[str, str]]:
    return {
        language: _around(layout["rows"])
        for layout in read_mapping(LAYOUTS).values()
        for language in layout["languages"]
    }


def _around(rows: Sequence[str]) -> Mapping[str, str]:
    keys = list(_keys(rows))
    return {
        letter: "".join(
            sorted(other for other, r, x in keys if other != letter and abs(r - row) <= 1 and abs(x - place) <= NEAR)
        )
        for letter, row, place in keys
    }


def _keys(rows: Sequence[str]) -> Iterator[tuple[str, int, float]]:
    """(letter, number of its row, place in the row, in keys)."""
    for row, letters in enumerate(rows):
        yield from ((letter, row, n + SHIFTS[row]) for n, letter in enumerate(letters) if letter != "_")
