"""A ledger's lines, written and read: one JSON object each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from study.record.record import StudyRecord
from trainables.errors import UserError

LEDGER = "ledger.jsonl"
"""Name of the ledger in a study's folder."""


def owner_path(path: Path) -> Path:
    """The file beside a ledger that says who owns it; see `study.record.ownership`."""
    return path.with_name(f"{path.name}.owner")


def read_events(path: Path) -> list[dict[str, Any]]:
    """All events of a ledger; a torn last line is left out, and left where it is."""
    return list(Tail(path).poll())


def begun_as(path: Path) -> dict[str, Any] | None:
    """The configuration that a ledger begins with; None where there is no ledger, or one that says nothing yet.

    A driver opens a ledger before it writes what the study is: one that was killed in between has begun nothing. Reads
    no further. Raises `UserError` for a file that is damaged before that.
    """
    if not path.is_file():
        return None
    return next((event["config"] for event in Tail(path).poll() if event["event"] == "study"), None)


def read_study(path: Path) -> StudyRecord:
    """What the events of a ledger add up to."""
    return Reading(path).update()


class Reading:
    """A ledger and what it adds up to: whoever is handed one reads what was added since, and nothing twice."""

    def __init__(self, path: Path) -> None:
        """Reads nothing yet."""
        self.path = path
        self._start_over()

    def _start_over(self) -> None:
        self.record = StudyRecord()
        self._tail = Tail(self.path)

    def news(self) -> Iterator[dict[str, Any]]:
        """Events since the last one that was read, each once it is part of `record`. Raises `UserError`."""
        for event in self._tail.poll():
            self.record.apply(event)
            yield event

    def update(self) -> StudyRecord:
        """`record` with all that the ledger has: the same object, unless another file took its place. `UserError`."""
        if self._tail.is_replaced():
            self._start_over()
        for _ in self.news():
            pass
        return self.record


class Tail:
    """Reads a ledger that may be growing: each `poll` gives the events since the last one."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: bytes of it that are left out, whole lines."""
        self.path = path
        self._offset = offset
        self._line = 0
        self._file: tuple[int, int] | None = None
        """What was read of: device and inode."""

    def is_replaced(self) -> bool:
        """Whether another file lies at the path than the one that was read (`segments` leaves a ledger aside)."""
        try:
            return self._file is not None and self._file != _identity(self.path.stat())
        except FileNotFoundError:
            return True

    def poll(self) -> Iterator[dict[str, Any]]:
        """New events. Raises `UserError` for a line in the middle that is no event: the file was damaged."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such ledger") from None
        with file:
            self._file = self._file or _identity(os.fstat(file.fileno()))
            file.seek(self._offset)
            for raw in file:
                event = decode(raw)
                if event is None:
                    if raw.endswith(b"\n") and file.read(1):
                        raise UserError(f"{self.path}: line {self._line + 1} is no event, the file is damaged")
                    return
                self._offset += len(raw)
                self._line += 1
                yield event


def _identity(of: os.stat_result) -> tuple[int, int]:
    return of.st_dev, of.st_ino


def encode(row: Mapping[str, Any]) -> bytes:
    """One line of the ledger: strict JSON."""
    try:
        text = json.dumps(row, allow_nan=False, default=_plain, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(row), allow_nan=False, default=_plain, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def decode(raw: bytes) -> dict[str, Any] | None:
    """Inverse of `encode`; None for anything that is no whole line."""
    if not raw.endswith(b"\n"):
        return None
    try:
        row = json.loads(raw.decode("utf-8", "surrogatepass"), object_hook=_special)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "event" in row and "time" in row else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return {"$float": repr(float(value))}
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def _special(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def _plain(value: Any) -> Any:
    """JSON form of what `json` does not know: NumPy's scalars, paths."""
    return value.item() if hasattr(value, "item") else os.fspath(value)
