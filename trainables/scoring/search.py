"""Retrieval: each different sequence is embedded once, and each query finds the nearest of all candidates.

Exact, and in memory that does not grow with the number of candidates: their vectors go to a temporary file once they
are many, and are read from there in blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.scores import Split
from trainables.scoring.sequences import Sequences
from trainables.storage.scratch import scratch
from trainables.tasks.ranking import Vectors, top_k

IN_MEMORY = 256 << 20
"""Bytes of vectors that are kept in memory: 170,000 of 384 numbers. More are a file in the temporary folder (TMPDIR),
one for each worker, which is gone after the evaluation."""

AT_ONCE = 8
"""Batches of each worker whose vectors are handed to the others together."""


class Embedded:
    """Vectors (n, d) by number, written in any order, then read: in memory, or in a file once they are too many."""

    def __init__(self, count: int, in_memory: int = IN_MEMORY) -> None:
        self._count, self._in_memory = count, in_memory
        self._array: Vectors | None = None
        self._file: BinaryIO | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._array = None
        self._stack.close()

    def put(self, first: int, vectors: Vectors) -> None:
        """Vectors (k, d) of the numbers from `first`."""
        size = vectors.shape[1]
        if self._array is None and self._file is None:
            if 4 * self._count * size <= self._in_memory:
                self._array = np.zeros((self._count, size), dtype=np.float32)
            else:
                folder = self._stack.enter_context(scratch("candidates"))
                self._file = self._stack.enter_context((folder / "vectors").open("w+b"))
        if self._array is not None:
            self._array[first : first + len(vectors)] = vectors
        elif self._file is not None:
            # Written, not mapped: where the disk is full that is an error, and not the end of the process.
            self._file.seek(4 * first * size)
            self._file.write(np.ascontiguousarray(vectors, dtype=np.float32).data)

    def vectors(self) -> Vectors:
        """All of them, (n, d)."""
        if self._array is None and self._file is not None:
            self._file.flush()
            self._array = np.memmap(self._file, dtype=np.float32, mode="r").reshape(self._count, -1)
        assert self._array is not None, "an evaluation has a sequence at least"
        return self._array


@dataclass(frozen=True)
class _Some:
    """Some rows of vectors, in an order of their own, read a block at a time."""

    vectors: Vectors
    numbers: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, block: slice) -> Vectors:
        return self.vectors[self.numbers[block]]


def gather(found: Iterable[Vectors], own: Sequences, group: Group, into: Embedded) -> None:
    """Every worker's vectors, which come batch by batch as `Sequences.batches` are dealt out, on every worker."""
    firsts = np.cumsum([0, *map(len, own.batches)])
    mine = enumerate(found)
    for _ in range(0, len(own.batches), AT_ONCE * group.world):
        for rank, part in enumerate(group.gather(list(islice(mine, AT_ONCE)))):
            for number, vectors in part:
                into.put(int(firsts[number * group.world + rank]), vectors)


def rankings(
    materials: Materials, split: Split, items: Mapping[str, Sequence[int]], own: Sequences, vectors: Vectors
) -> dict[str, list[Any]]:
    """Language -> for each of its items that is a query the ids of its best candidates, for others None."""
    shape, rows, encoded = materials.shape, materials.rows[split], materials.evaluation[split]
    found = {code: shape.searched(rows[code], encoded[code], chosen) for code, chosen in items.items()}
    answers: dict[str, list[Any]] = {code: [None] * len(chosen) for code, chosen in items.items()}
    for pool in [list(found)] if shape.shares_candidates else [[code] for code in found]:
        numbers: dict[str, int] = {}
        for code in pool:
            places = found[code].candidates
            theirs = own.numbers[code][list(places.values()), 1].tolist()
            numbers |= {name: n for name, n in zip(places, theirs, strict=True) if name not in numbers}
        names = list(numbers)
        queries = [(code, position) for code in pool for position in found[code].queries]
        asked = np.asarray([own.numbers[code][position, 0] for code, position in queries], dtype=np.int64)
        candidates = _Some(vectors, np.asarray(list(numbers.values()), dtype=np.int64))
        depth = found[pool[0]].depth
        for (code, position), ranked in zip(queries, top_k(_Some(vectors, asked), candidates, depth), strict=True):
            answers[code][position] = [names[number] for number in ranked]
    return answers
