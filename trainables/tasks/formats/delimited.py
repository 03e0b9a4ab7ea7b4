"""Cells in lines: tab- and comma-separated values, in quotes or not, with a line of names or without."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import chain

from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.names import repeated
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended


def read_tsv(source: Source, reading: Reading) -> Iterator[Raw]:
    """Cells between tabs; quotes are text unless every cell of the first line stands in them, or the task says so."""
    quoting = reading.quoting
    if quoting is None and not reading.header:
        first = next((ended(line) for _, line in source.lines()), "")
        quoting = all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in first.split("\t"))
    return _rows(_one_line(source, "\t", bool(quoting), "TSV in quotes"), source, reading.header)


def read_csv(source: Source, reading: Reading) -> Iterator[Raw]:
    """Cells between commas; those in quotes may hold line ends, and a row's place is its last line."""
    if reading.quoting is False:
        return _rows(_one_line(source, ",", False, "CSV"), source, reading.header)
    return _rows(_many_lines(source), source, reading.header)


Cells = Iterator[tuple[str, list[str] | RowError]]


def _rows(lines: Cells, source: Source, header: Sequence[str]) -> Iterator[Raw]:
    """Cells with the names of their columns: those of the header, or of the first line."""
    names: Sequence[str] = header
    first = next(lines, None)
    if first is None:
        return
    place, cells = first
    if isinstance(cells, RowError):
        yield place, cells
        if not header or isinstance(cells, DataError):
            return
    elif not header:
        names = cells
        if (problem := repeated(names)) is not None:
            yield place, problem
            return
    elif list(cells) != list(header):  # equal ones are a line of names after all
        lines = chain([first], lines)
    for place, cells in lines:
        if isinstance(cells, RowError):
            yield place, cells
        elif len(cells) != len(names):
            yield place, RowError(f"must have as many cells as the header, {len(names)} (got {len(cells)})")
        else:
            yield place, dict(zip(names, cells, strict=True))


def _one_line(source: Source, separator: str, quoted: bool, kind: str) -> Cells:
    """Cells of rows that end with their line; blank lines are none."""
    for place, line in source.lines():
        text = ended(line)
        if not text:
            continue
        if not quoted:
            yield place, text.split(separator)
            continue
        _any_length()
        try:
            (cells,) = csv.reader([text], delimiter=separator, strict=True)
            yield place, cells
        except csv.Error as error:
            yield place, RowError(f"not valid {kind} (got {error})")


def _many_lines(source: Source) -> Cells:
    _any_length()
    place = f"{source.path}:1"

    def lines() -> Iterator[str]:
        nonlocal place
        for place, line in source.lines():  # noqa: B007 - read by the loop below
            yield line

    try:
        for cells in csv.reader(lines(), strict=True):
            if cells:
                yield place, cells
    except csv.Error as error:
        yield place, DataError(f"not valid CSV (got {error})")


def _any_length() -> None:
    csv.field_size_limit(sys.maxsize)  # a chapter in a cell is data
