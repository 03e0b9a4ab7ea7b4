"""Reading the fields of a raw row; every refusal is worded here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.errors import shown, suggestion
from trainables.tasks.base import DataError, Row, RowError


def field(raw: Row, column: str) -> Any:
    """A column's value. Raises `RowError` where the column is missing."""
    if column not in raw:
        near = suggestion(column, tuple(raw)) or f", there are {', '.join(map(repr, raw)) or 'none'}"
        raise RowError(f"must have a column {column!r}{near}")
    return raw[column]


def text_of(raw: Row, column: str) -> str:
    """A text; an empty one is data too (XNLI has premises that are)."""
    value = field(raw, column)
    if not isinstance(value, str):
        raise RowError(f"{column} must be text (got {shown(value)})")
    return value


def with_joined(raw: dict[str, Any], joined: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row with columns that are made of others: their texts, but for empty ones, with a blank between them."""
    made = {name: " ".join(text for part in parts if (text := text_of(raw, part))) for name, parts in joined.items()}
    return {**raw, **made} if made else raw


def label_index(raw: Row, column: str, labels: Sequence[str]) -> int:
    """A label as its index: given by name, or by its number in the list as the hub and CSV files do.

    A number whose text is a label's name is that label; where any label is a number, no other number is one. Raises
    `RowError` for any other value, and for the -1 that stands where a published label was blanked.
    """
    return _index(field(raw, column), column, labels)


def label_indices(raw: Row, column: str, labels: Sequence[str]) -> list[int]:
    """A list of labels, one per token, as their indices."""
    values = field(raw, column)
    if not isinstance(values, list):
        raise RowError(f"{column} must be a list of labels (got {shown(values)})")
    return [_index(value, column, labels) for value in values]


_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
"""A whole number in text, also as pandas writes one in a column that has gaps: ``2.0``."""


def _index(value: Any, column: str, labels: Sequence[str]) -> int:
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    number = _number(value)
    if number is not None and str(number) in labels:
        return labels.index(str(number))
    if number == -1:
        raise RowError(f"{column} is blank: these rows are published without their labels (got -1)")
    if number is not None and any(_WHOLE.fullmatch(label) for label in labels):
        raise DataError(
            f"{column} must be one of {_listed(labels)}, which are names; if the data has positions in that list, name "
            f"the labels by text or as the data numbers them (got {shown(value)})"
        )
    if number is not None and 0 <= number < len(labels):
        return number
    raise RowError(
        f"{column} must be one of {_listed(labels)}, or a number below {len(labels)}{_hint(value, labels)} "
        f"(got {shown(value)})"
    )


def _number(value: Any) -> int | None:
    """The whole number that a value is, or None."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (_INF, -_INF):
        return None
    return int(value) if value == int(value) else None


_INF = float("inf")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels) if len(labels) <= 20 else f"{', '.join(labels[:20])} …"


def _hint(value: Any, labels: Sequence[str]) -> str:
    if not isinstance(value, str):
        return ""
    twin = next((k for k in labels if unicodedata.normalize("NFC", k) == unicodedata.normalize("NFC", value)), None)
    if twin is not None:
        return f"; it looks like {twin!r} but is composed otherwise (Unicode NFC and NFD), write both alike"
    return suggestion(value, labels)
