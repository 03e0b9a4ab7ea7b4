"""Who may write a study: one driver at a time, across processes and machines.

The owner holds a lock (flock) on a small file beside the ledger, which says who it is. The kernel drops the lock when
its process ends, however it ends, so on one machine the lock alone is evidence. Other machines may share the folder but
not the lock: there, only `take_over` helps. Each ownership has a number, the epoch; a driver that was taken over and
wakes up again finds another epoch's file in place of its own and stops.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from trainables.errors import UserError
from trainables.storage import locks

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""What file systems without locks answer: a Lustre that is mounted without them, an NFS whose lock service is away."""

LOOKING_SECONDS, RELEASING_SECONDS = 0.5, 30.0
"""Longest time that the lock is held by somebody who only looks, and by an owner who has written that it gives up."""


class LocklessError(UserError):
    """The file system has no locks."""


@dataclass(frozen=True)
class Owner:
    """The process that writes, or last wrote, a study."""

    pid: int
    host: str
    boot: str
    """Identity of the running kernel: equal means that locks are shared."""
    since: float
    """Unix seconds."""
    epoch: int
    released: bool = False
    """Whether it gave the study up in good order."""
    born: float | None = None
    """Seconds from the start of the machine to that of the process: no change of the clock touches it, and a later
    process of the same number has another. None in what earlier versions wrote."""

    def describe(self, now: float | None = None) -> str:
        """``process 4711 on node-3, for 2 h 05 min``."""
        return f"process {self.pid} on {self.host}, for {_duration((now or time.time()) - self.since)}"


class Claim:
    """A held ownership; see `claim`."""

    def __init__(self, path: Path, descriptor: int, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self._descriptor = descriptor

    def verify(self) -> None:
        """Raise `UserError` if another driver has taken the study over, or if that cannot be told."""
        try:
            is_mine = self._is_mine()
            new = None if is_mine else _read(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read, {error.strerror}") from error
        if not is_mine:
            raise UserError(f"{self.path.parent}: taken over by {new.describe() if new else 'another process'}")

    def _is_mine(self) -> bool:
        """Whether the owner file is the one that this process has locked."""
        mine = os.fstat(self._descriptor)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return False
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)

    def release(self) -> None:
        """Give the study up; harmless if it was taken over. Where that cannot be written, the lock is let go still."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            _write(self._descriptor, Owner(**{**asdict(self.owner), "released": True}))
        os.close(self._descriptor)
        self._descriptor = -1


def claim(path: Path, take_over: bool = False, epoch: int = 1) -> Claim:
    """Own the study whose owner file is `path`, with at least the given epoch.

    Raises `UserError` naming the present owner unless it is known to have ended. `take_over` skips the evidence: it is
    for an owner on a machine that is gone, or one that hangs.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        locked = _lock(descriptor, LOOKING_SECONDS)
        previous = _read(path)
        if not locked and previous is not None and previous.released:  # on its way out, or somebody else has it since
            locked = _lock(descriptor, RELEASING_SECONDS)
            previous = _read(path)
        reason = _alive(previous, locked) if previous is not None else None
        if not locked:  # whatever it says of itself
            reason = reason or "and running"
        if reason and not take_over:
            who = previous.describe() if previous is not None else "another process"
            raise UserError(f"{path.parent}: owned by {who} {reason}; stop it first, or take over with --take-over")
        if reason:  # a live owner keeps its lock on the old file; ours is another
            os.close(descriptor)
            aside = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            _lock(descriptor)
            aside.replace(path)
    except BaseException as error:
        if isinstance(error, LocklessError) and not os.fstat(descriptor).st_size:
            path.unlink(missing_ok=True)  # nobody has owned it, or can
        os.close(descriptor)
        raise
    epoch = max(epoch, previous.epoch + 1 if previous is not None else 1)
    owner = this_process(epoch)
    _write(descriptor, owner)
    return Claim(path, descriptor, owner)


def last_owner(path: Path) -> Owner | None:
    """The owner that holds the study, or held it last; takes no lock. See `lives`."""
    return _read(path)


def running_owner(path: Path) -> Owner | None:
    """The owner that holds the study now, or None; reads only."""
    owner = _read(path)
    if owner is None or owner.released:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reason = _alive(owner, _lock(descriptor))
    except LocklessError:  # there is nothing else to go by
        reason = lives(owner)
    finally:
        os.close(descriptor)
    return owner if reason else None


def this_process(epoch: int) -> Owner:
    """This process as an owner, from now on."""
    return Owner(os.getpid(), socket.gethostname(), _boot(), time.time(), epoch, born=_born(psutil.Process()))


def lives(owner: Owner) -> str | None:
    """Why an owner must be taken for alive where there is no lock to tell, or None."""
    if owner.boot == _boot() and owner.host != socket.gethostname():
        return "and perhaps running: it is another container"
    try:
        process = psutil.Process(owner.pid)
        runs = process.status() != psutil.STATUS_ZOMBIE and _is(process, owner)
    except psutil.NoSuchProcess:
        runs = False
    return _alive(owner, locked=not runs)


def _is(process: psutil.Process, owner: Owner) -> bool:
    """Whether a running process is the owner, not a later one that was given its number."""
    if owner.born is None:
        return process.create_time() <= owner.since + 1.0
    return abs(_born(process) - owner.born) < 1.0


def _born(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def _alive(owner: Owner, locked: bool) -> str | None:
    """Why an owner must be taken for alive (given whether we got its lock), or None."""
    if owner.released:
        return None
    if owner.boot == _boot():
        return None if locked else "and running"
    if owner.host == socket.gethostname():
        return None  # the same machine, started anew since
    return "and perhaps running: it is another machine"


def _lock(descriptor: int, patience: float = 0.0) -> bool:
    """Lock the file, trying for `patience` seconds; whether it worked. Raises `LocklessError`."""
    try:
        return locks.flock(descriptor, fcntl.LOCK_EX, patience)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            raise LocklessError(
                "--root: must be on a file system with locks (flock), by which one driver knows of another "
                f"(got {os.strerror(error.errno)}); mount it with them, or choose another root"
            ) from error
        raise


def _read(path: Path) -> Owner | None:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def parse(text: str | bytes) -> Owner:
    """An owner as it was written, by this version or another. Raises `ValueError` or `TypeError` for anything else."""
    known = {field.name for field in fields(Owner)}
    return Owner(**{key: value for key, value in dict(json.loads(text)).items() if key in known})


def _write(descriptor: int, owner: Owner) -> None:
    text = json.dumps(asdict(owner)).encode() + b"\n"
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _duration(seconds: float) -> str:
    minutes = int(max(seconds, 0) // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else "seconds"
