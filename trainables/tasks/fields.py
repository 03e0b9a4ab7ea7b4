"""Reading the fields of a raw row; every refusal is worded here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.errors import shown, suggestion
from trainables.tasks.base import Row, RowError


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


def label_index(raw: Row, column: str, labels: Sequence[str]) -> int:
    """A label as its index: given by name, or by number as the hub and CSV files do.

    Raises `RowError` for any other, and for the -1 that stands where a published label was blanked.
    """
    return _index(field(raw, column), column, labels)


def label_indices(raw: Row, column: str, labels: Sequence[str]) -> list[int]:
    """A list of labels, one per token, as their indices."""
    values = field(raw, column)
    if not isinstance(values, list):
        raise RowError(f"{column} must be a list of labels (got {shown(values)})")
    return [_index(value, column, labels) for value in values]


def _index(value: Any, column: str, labels: Sequence[str]) -> int:
    if isinstance(value, str) and value in labels:
        return labels.index(value)
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(labels):
        return number
    if value == -1:
        raise RowError(f"{column} is blank: these rows are published without their labels (got -1)")
    names = ", ".join(labels) if len(labels) <= 20 else f"{', '.join(labels[:20])} …"
    near = suggestion(value, labels) if isinstance(value, str) else ""
    raise RowError(f"{column} must be one of {names}, or a number below {len(labels)}{near} (got {shown(value)})")
