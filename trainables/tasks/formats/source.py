"""Bytes of a file, unpacked, and its text: the one place that knows compression, encodings and line ends."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from trainables.errors import UserError

PACKED: tuple[str, ...] = (".gz", ".xz", ".zst")
"""Endings of compressed files; the first bytes decide."""

_MAGIC = {b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_HEAD = 1 << 16


class Source:
    """One file. Every method raises `UserError` where it cannot be read, unpacked or decoded."""

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.path, self.encoding = path, encoding

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """The bytes, unpacked."""
        try:
            with _open(self.path, self.packing()) as file:
                yield file
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise self._unreadable(error) from None

    def packing(self) -> str | None:
        """How the file is compressed, by its first bytes."""
        try:
            with self.path.open("rb") as file:
                start = file.read(max(map(len, _MAGIC)))
        except OSError as error:
            raise self._unreadable(error) from None
        return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)

    def whole(self) -> bytes:
        """All bytes, for formats that are read as a whole."""
        with self.opened() as file:
            return file.read()

    def head(self) -> bytes:
        """The first 64 KiB."""
        with self.opened() as file:
            return file.read(_HEAD)

    def lines(self) -> Iterator[tuple[str, str]]:
        """(place, line with its end) of text; a byte-order mark at its start is no text."""
        path, encoding = str(self.path), self.encoding
        with self.opened() as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode(encoding)
                except UnicodeDecodeError as error:
                    raise self._undecodable(number, error) from None
                yield f"{path}:{number}", text

    def text(self) -> str:
        """All of the text."""
        return "".join(line for _, line in self.lines())

    def _unreadable(self, error: Exception) -> UserError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return UserError(f"{self.path}: cannot be read (got {reason.splitlines()[0]})")

    def _undecodable(self, number: int, error: UnicodeDecodeError) -> UserError:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        must = "UTF-8" if codecs.lookup(self.encoding).name == "utf-8" else f"{self.encoding}, as encoding: says"
        return UserError(f"{self.path}:{number}: must be {must} (got {byte})")


def ended(line: str) -> str:
    """A line without its end, whichever that is."""
    return line.rstrip("\r\n")


def keeps_ascii(encoding: str) -> bool:
    """Whether text in an encoding can be cut into lines before it is decoded."""
    probe = 'az AZ09\t\r\n{"'
    try:
        return probe.encode(encoding) == probe.encode("ascii")
    except (LookupError, UnicodeError):
        return False


def _open(path: Path, kind: str | None) -> IO[bytes]:
    if kind == "gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if kind == "xz":
        return cast(IO[bytes], lzma.open(path, "rb"))
    if kind == "zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")
