"""JSON lines, and a JSON array of objects, by itself or under one key (``{"test": [...]}``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from trainables.errors import shown
from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.names import twice
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended


def read_lines(source: Source, reading: Reading, wanted: Callable[[str], bool] = bool) -> Iterator[Raw]:
    """An object on each line that is not blank, or that is `wanted`."""
    for place, line in source.lines():
        if line.strip() and wanted(line):
            yield place, _row(ended(line))


def read_array(source: Source, reading: Reading) -> Iterator[Raw]:
    """The objects of one array, which may be all that an object holds; a row's place is its number in it."""
    rows = document(source)
    if isinstance(rows, dict) and len(rows) == 1 and isinstance(only := next(iter(rows.values())), list):
        rows = only
    if isinstance(rows, RowError):
        yield str(source.path), rows
    elif not isinstance(rows, list):
        yield str(source.path), DataError(f"must be a JSON array of objects (got {shown(rows)})")
    else:
        for number, row in enumerate(rows, start=1):
            yield f"{source.path}:{number}", row if isinstance(row, dict) else _no_object(row)


def document(source: Source) -> Any:
    """The value of a file that is one JSON value, or the `DataError` that it is none."""
    text = source.text()
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return DataError(f"must be JSON (got {error})")
    return _unicode(text, {"": value}) or value


def _row(line: str) -> dict[str, Any] | RowError:
    try:
        row = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        return RowError(f"must be one JSON object (got {error})")
    if not isinstance(row, dict):
        return _no_object(row)
    return _unicode(line, row) or row


def _no_object(value: Any) -> RowError:
    return RowError(f"must be one JSON object (got {shown(value)})")


def _unicode(text: str, row: dict[str, Any]) -> DataError | RowError | None:
    """What is wrong with text that is no Unicode; escaped halves of surrogate pairs are the one way to get it in."""
    if "\\ud" not in text.lower():
        return None
    for name, value in row.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start : error.end])
            rule = f"must be Unicode text (got half of a surrogate pair, {half})"
            return RowError(f"{name!a} {rule}") if name else DataError(rule)
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are different: the last of equal ones would win without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {twice([name for name, _ in pairs])!r} twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
"""Made once: `json.loads` makes one for every line."""
