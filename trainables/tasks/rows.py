"""Rows in bounded memory: a list while they are few, a file once they are many."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import overload

from trainables.tasks.base import Row

IN_MEMORY = 50_000
"""Rows of one language that are kept as they are; a million of XNLI's would take a gigabyte."""

_BLOCK = 1000
"""Rows read at a time."""


class SpilledRows(Sequence[Row]):
    """Rows in a temporary file of this process, which goes with the object; read one by one, in order fastest."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._file = tempfile.TemporaryFile(prefix="rows-")  # noqa: SIM115 - lives as long as the object
        self._starts = array("q", [0])
        for row in rows:
            size = self._file.write(pickle.dumps(row, pickle.HIGHEST_PROTOCOL))
            self._starts.append(self._starts[-1] + size)
        self._file.flush()

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return next(self._read(place, place + 1))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _BLOCK):
            yield from self._read(start, min(start + _BLOCK, len(self)))

    def _read(self, start: int, end: int) -> Iterator[Row]:
        block = io.BytesIO(os.pread(self._file.fileno(), self._starts[end] - self._starts[start], self._starts[start]))
        return (pickle.load(block) for _ in range(start, end))


def collect(rows: Iterable[Row], in_memory: int = IN_MEMORY) -> Sequence[Row]:
    """The rows as a sequence that never holds more than `in_memory` of them in memory."""
    iterator = iter(rows)
    first = list(islice(iterator, in_memory + 1))
    return first if len(first) <= in_memory else SpilledRows(chain(first, iterator))
