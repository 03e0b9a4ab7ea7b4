"""Names of columns."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.tasks.base import DataError


def twice(names: Sequence[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for i, name in enumerate(names) if name in names[:i]), None)


def repeated(names: Sequence[str]) -> DataError | None:
    """What is wrong with columns of which two have one name."""
    again = twice(names) if len(set(names)) < len(names) else None
    return None if again is None else DataError(f"must have different columns (got {again!r} twice)")
