"""Named tensors in a file, in the format of safetensors, written as they come: never all of them in memory.

Length of the header (8 bytes), header (JSON, filled up with spaces to a multiple of 8), then numbers without gaps
(github.com/huggingface/safetensors, "Format"). The library's own writer first copies all of it, and holds Python's lock
meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    dtype: str
    """As safetensors names it: ``F32``, ``F64`` …"""
    shape: tuple[int, ...]
    nbytes: int


def write(path: Path, entries: Mapping[str, Entry], content: Iterable[bytes | memoryview]) -> str:
    """Write a file, with the numbers of each entry in their order; its checksum. Raises `OSError` naming the file."""
    header, end = {}, 0
    for name, entry in entries.items():
        begin, end = end, end + entry.nbytes
        header[name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = blake2b(digest_size=16)

    def put(part: bytes | memoryview) -> None:
        file.write(part)
        digest.update(part)

    try:
        with path.open("wb") as file:
            put(len(text).to_bytes(8, "little"))
            put(text)
            for part in content:
                put(part)
    except OSError as error:  # of a full disk it does not know the file
        raise OSError(error.errno, error.strerror, str(path)) from error
    return digest.hexdigest()


def checksum(path: Path) -> str:
    """The checksum of a file's content, as `write` gave it."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
