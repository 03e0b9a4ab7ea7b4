"""The append-only event log of a study: the only truth, of which everything else is a view.

One strict JSON object per line, fsynced before anybody hears of it. Every event has ``event`` (its name), ``time``
(unix seconds), ``elapsed`` (seconds since its driver opened the ledger, whatever became of the clock; earlier versions
wrote none) and ``epoch`` (number of the ownership it was written under; events of a driver that had been taken over are
ignored). Numbers that JSON lacks are ``{"$float": "nan" | "inf" | "-inf"}``. The events are:

============ ===========================================================================================================
opened       pid, host, since: a driver took the study
study        schema (a number; see `study.record.record.SCHEMA`), uuid, config (resolved), code_version, fingerprints,
             protocol_hash: again whenever one of them changes
asked        trial (number), phase (run | confirm), kind, control (letter or null), point {dotted path: value},
             distributions {dimension: Optuna's JSON form}, attributes (of sampler and phase)
started      trial, attempt (from 1)
report       trial, attempt, step, evaluation (`Evaluation.to_json`)
finished     trial, attempt, outcome (COMPLETE | PRUNED | FAIL), error (text or null)
retried      trial, attempt (the next one), fresh: a failed trial waits to be run again. Its reports stay, and it goes
             on from its checkpoint; fresh: from nothing, and the reports so far no longer count. From schema 2 on
borrowed     study, uuid, trial (number there), point, distributions, outcome, evaluations: an ended trial of another
             study, for the search to learn from; of no account if the driver that wrote it began no study
averaged     trial, mean: the weights of a completed trial are in a mean, which has the name of all those it is of
stopped      cause, spent (by a budget, for good): phase `run` ended before its number of trials was reached
looks        looks (seeds at each), bounds (of the p-value at each), spending: agreed before the test split is opened
look         seeds, treatment, control, estimate, low, high, p, bound, predictive, verdict (crossed | futile | go on |
             open): what a look at the primary endpoint found
test_opened  protocol_hash, reason, configurations: `confirm` may read the test split from here on, for these
============ ===========================================================================================================

Values of objectives are not stored: they follow from the reports. `read_study` adds the events up.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from study.record import signals
from study.record.lines import decode, encode, owner_path
from study.record.ownership import Claim, claim
from trainables.errors import UserError
from trainables.storage import files


class Ledger:
    """The writer. Get one from `Ledger.open`; use as a context manager or `close` it."""

    def __init__(self, path: Path, descriptor: int, end: int, holder: Claim) -> None:
        self.path = path
        self._descriptor, self._end, self._claim = descriptor, end, holder
        self._lock = threading.Lock()
        self._opened = time.monotonic()
        self.heard: Callable[[Mapping[str, Any]], None] | None = None
        """Told of every event once it is durable."""
        self.guard: Callable[[], None] | None = None
        """Asked before every event; forbids it by an error."""

    @classmethod
    def open(cls, path: Path, take_over: bool = False, epoch: int = 1) -> Ledger:
        """Own and open the ledger at `path`, creating it and its folder if need be; cuts a torn last line off.

        The ownership's number is `epoch` or more. Raises `UserError` naming the owner if another driver has the study;
        `take_over` takes it nevertheless.
        """
        folder = path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            holder = claim(owner_path(path), take_over, max(epoch, _last_epoch(path) + 1))
        except OSError as error:
            raise UserError(f"{folder}: cannot be written, {error.strerror}") from error
        descriptor = -1
        try:
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            end = _whole(path)
            os.ftruncate(descriptor, end)
            if is_new:
                for each in (folder, folder.parent):
                    files.sync(each)
            ledger = cls(path, descriptor, end, holder)
            ledger.append("opened", pid=holder.owner.pid, host=holder.owner.host, since=holder.owner.since)
        except BaseException as error:
            if descriptor >= 0:
                os.close(descriptor)
            holder.release()
            if isinstance(error, OSError):
                raise UserError(f"{path}: cannot be written, {error.strerror}") from error
            raise
        return ledger

    @property
    def epoch(self) -> int:
        """Number of this ownership."""
        return self._claim.owner.epoch

    @property
    def end(self) -> int:
        """Bytes that are durable."""
        return self._end

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one event durably, or not at all; returns it. Constant time, whatever the ledger's length.

        Raises `UserError` if it can't be written (a full disk, a study that was taken over): whatever the event was
        about must then be treated as not having happened. A signal that comes meanwhile waits until it is written.
        """
        elapsed = round(time.monotonic() - self._opened, 3)
        row = {"event": event, "time": time.time(), "elapsed": elapsed, "epoch": self.epoch, **fields}
        line = encode(row)
        with signals.held(), self._lock:
            assert self._descriptor >= 0, "the ledger is closed"
            self._claim.verify()
            if self.guard is not None:
                self.guard()
            try:
                self._find_end()
                written = 0
                while written < len(line):
                    written += os.write(self._descriptor, line[written:])
                os.fsync(self._descriptor)
            except OSError as error:
                self._restore()
                raise UserError(f"{self.path}: cannot be written, {error.strerror}") from error
            self._end += len(line)
        if self.heard is not None:
            self.heard(row)
        return row

    def _find_end(self) -> None:
        """Ask the file where it ends: a driver that was taken over may have written its last, whole or torn, since."""
        if os.fstat(self._descriptor).st_size != self._end:
            self._end = _whole(self.path)
            os.ftruncate(self._descriptor, self._end)

    def _restore(self) -> None:
        """Cut off what was written of an event that failed. If even that fails, the next `open` does it."""
        try:
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """Give the study up."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self._claim.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole(path: Path) -> int:
    """Length in bytes of a ledger without its torn last line. An append is fsynced before the next: only one can be."""
    size = path.stat().st_size
    start = _last_line(path, size)
    with path.open("rb") as file:
        file.seek(start)
        return size if decode(file.read()) is not None else start


def _last_line(path: Path, end: int) -> int:
    """Offset of the line that ends at offset `end`, its newline included if it has one."""
    block, before = 1 << 16, max(end - 1, 0)
    with path.open("rb") as file:
        while before:
            start = max(before - block, 0)
            file.seek(start)
            at = file.read(before - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            before = start
    return 0


def _last_epoch(path: Path) -> int:
    """Epoch of the last whole line; 0 if there is none."""
    if not path.exists():
        return 0
    end = _whole(path)
    with path.open("rb") as file:
        file.seek(_last_line(path, end))
        row = decode(file.read(end - file.tell()))
    return int(row.get("epoch", 0)) if row is not None else 0
