"""Rows that are one example in two languages: by the key that translations have in common, else by their place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import UserError
from trainables.tasks.base import Row

ByLanguage = Mapping[str, Sequence[Row]]


def twins(rows: ByLanguage, source: str) -> dict[str, dict[int, int]]:
    """Language -> number of a row -> that of its twin in the source language; only languages that have some.

    Rows with a `key` have the twin of equal key, if it is of one row alone. Without keys a language is parallel where
    it has as many rows as the source, each with the label of the one in its place; rows in another order are told by
    that.
    """
    own = rows.get(source, ())
    found = {code: _pairs(theirs, own) for code, theirs in rows.items() if code != source}
    return {code: pairs for code, pairs in found.items() if pairs}


def check(rows: ByLanguage, source: str, split: str) -> None:
    """Warn of languages without twins. Raises `UserError` where none has any."""
    parallel = twins(rows, source)
    others = [code for code in rows if code not in (source, *parallel)]
    rule = "rows are parallel that have a key in common, or else are as many and have the same labels in the same order"
    if not parallel:
        told = f"{split} rows of {', '.join(others)} against {source}" if source in rows else f"no {split} in {source}"
        raise UserError(f"evaluation.agreement: needs parallel rows in the source language; {rule} (got {told})")
    if others:
        logging.getLogger(__name__).warning(
            "evaluation.agreement: no %s rows of %s are parallel to those in %s: %s",
            split,
            ", ".join(others),
            source,
            rule,
        )


def _pairs(theirs: Sequence[Row], own: Sequence[Row]) -> dict[int, int]:
    if all("key" in row for rows in (theirs, own) for row in rows):
        ours, others = _places(own), _places(theirs)
        return {number: ours[key] for key, number in others.items() if key in ours}
    if len(theirs) != len(own) or any(one["label"] != two["label"] for one, two in zip(theirs, own, strict=True)):
        return {}
    return {number: number for number in range(len(theirs))}


def _places(rows: Sequence[Row]) -> dict[Any, int]:
    """Key -> number of its row; a key that several rows have names none of them."""
    times = Counter(row["key"] for row in rows)
    return {row["key"]: number for number, row in enumerate(rows) if times[row["key"]] == 1}
