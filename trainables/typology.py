"""How far apart two languages are in their grammar, sounds and descent.

The table (``typology.csv``) is derived from lang2vec and stands under its licence, CC BY-SA 4.0: see the notice at its
head, which has the formula too. Its sources are nine languages; distances from others are unknown.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

KINDS = ("syntactic", "phonological", "inventory", "genetic")
"""Kinds of distance, each from 0 (alike) to 1."""


def distance(kind: str, source: str, language: str) -> float | None:
    """The distance of one language (its code, as `languages.normalize` has it) from another, in [0, 1].

    None where the table has no such source or language, or says nothing of this kind.

    >>> distance("syntactic", "en", "tr"), distance("syntactic", "tr", "en")
    (0.4933, None)
    """
    assert kind in KINDS, kind
    return _table().get((source, language), {}).get(kind)


def sources() -> tuple[str, ...]:
    """Codes of the languages from which distances are known."""
    return tuple(dict.fromkeys(source for source, _ in _table()))


@cache
def _table() -> Mapping[tuple[str, str], Mapping[str, float]]:
    text = resources.files(__package__).joinpath("typology.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {(r["source"], r["language"]): {kind: float(r[kind]) for kind in KINDS if r[kind]} for r in rows}
