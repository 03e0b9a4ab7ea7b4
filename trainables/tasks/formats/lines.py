"""Plain text, one text a line; and files whose lines belong together, such as parallel corpora (Moses, Tatoeba)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from trainables.tasks.base import DataError
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """Every line as the column ``text``, blank ones too."""
    for place, line in source.lines():
        yield place, {reading.header[0] if reading.header else "text": ended(line)}


def read_together(paths: Mapping[str, Path], reading: Reading) -> Iterator[Raw]:
    """Line by line, one column of each file; a row's place is that of the first, a line without fellows an error."""
    sources = {name: Source(path, reading.encoding).lines() for name, path in paths.items()}
    for number, lines in enumerate(zip_longest(*sources.values()), start=1):
        spent = [str(path) for path, line in zip(paths.values(), lines, strict=True) if line is None]
        if spent:
            there = next(line[0] for line in lines if line is not None)
            yield there, DataError(f"must have a line that belongs to it in {spent[0]} (got {number - 1} lines there)")
            return
        yield lines[0][0], {name: ended(line[1]) for name, line in zip(sources, lines, strict=True)}
