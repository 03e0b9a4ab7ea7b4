"""Entries of the cache folder: who uses them, when they were last used, and how those go that nobody uses any more.

Whoever uses an entry says so by the time of a file beside it, and holds a shared lock on that while the process lives:
the system lets go of it when the process dies. Whoever removes one takes that lock alone, renames the folder aside, and
deletes it then. So an entry is there whole or not at all, and none is taken from under a process that reads it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from trainables.errors import MachineError
from trainables.storage import locks

DAY = 86400.0

TOUCH_SECONDS = 60.0
"""A use is noted unless one was noted so shortly before."""

REMOVING_SECONDS = 60.0
"""Longest time that somebody who removes an entry is waited for: he renames it."""

MOST_HELD = 16
"""Entries that a process holds at a time, the ones used last: more than a trial needs, fewer than open files."""

_NAME = re.compile(r"(?P<kind>[A-Za-z0-9][A-Za-z0-9._-]*?)-[0-9a-f]{12,}")
_ASIDE = re.compile(r"\..*\.removed-[0-9a-f]{8}")

_held: OrderedDict[Path, int] = OrderedDict()
"""Folder -> descriptor of its mark, the one used last at the end."""

_changing = Lock()
"""Of `_held`: held while threads of this process change it."""


@dataclass(frozen=True)
class Entry:
    """A folder that was built, and can be built again."""

    folder: Path
    used: float
    """Unix seconds of its last use."""

    @property
    def kind(self) -> str:
        """What it is: ``materials``, ``copies``, ``aligned``, ``intents`` …"""
        found = _NAME.fullmatch(self.folder.name)
        assert found is not None
        return found["kind"]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(OSError):  # it may be removed meanwhile
                total += path.lstat().st_size
        return total


def entries(root: Path) -> list[Entry]:
    """All entries in a cache folder. Whatever else lies there (the folders of roots in a store, links) is none."""
    if not root.is_dir():
        return []
    folders = [each for each in os.scandir(root) if _NAME.fullmatch(each.name) and each.is_dir(follow_symlinks=False)]
    return [Entry(root / each.name, _used(root / each.name)) for each in folders]


def mark(folder: Path) -> Path:
    """The file beside an entry whose time is that of its last use, and that is locked while it is used.

    It stays when the entry goes: whoever waits for its lock would have the lock of no file.
    """
    return folder.with_name(f".{folder.name}.used")


def use(folder: Path) -> bool:
    """Note that an entry is used, and hold it; False if it is not there (any more).

    Raises `MachineError` where another process has it alone for longer than `REMOVING_SECONDS`.
    """
    with _changing:
        descriptor = _held.pop(folder, None)
        if descriptor is None and folder.is_dir():
            descriptor = _opened(folder)
            if descriptor is not None and not _shared(descriptor):
                os.close(descriptor)
                rule = f"another process has held the lock for {REMOVING_SECONDS:.0f} s; end it, or start again later"
                raise MachineError(f"STUDY_CACHE: {rule} (got {mark(folder)})")
        is_there = folder.is_dir()  # else it was removed while we waited
        if descriptor is None:
            return is_there
        if not is_there:
            os.close(descriptor)
            return False
        _held[folder] = descriptor
        while len(_held) > MOST_HELD:
            os.close(_held.popitem(last=False)[1])
        if abs(time.time() - os.fstat(descriptor).st_mtime) > TOUCH_SECONDS:
            with suppress(OSError):  # a disk that is read-only
                os.utime(descriptor)
        return True


def _shared(descriptor: int) -> bool:
    """Hold a mark with whoever else uses the entry; False if it is held alone for too long."""
    try:
        return locks.flock(descriptor, fcntl.LOCK_SH, REMOVING_SECONDS)
    except OSError:  # of a file system without locks nothing is removed
        return True


def unused(root: Path, days: float) -> list[Entry]:
    """Entries whose last use is as many days ago, and that nobody holds; the ones unused for longest first.

    Those of which no use was ever noted count from now on.
    """
    for entry in entries(root):
        _begin(entry.folder)
    before = time.time() - days * DAY
    old = sorted((entry for entry in entries(root) if entry.used <= before), key=lambda entry: entry.used)
    found = []
    for entry in old:
        with _alone(entry.folder) as is_alone:
            if is_alone:
                found.append(entry)
    return found


def remove(root: Path, days: float) -> tuple[int, int]:
    """Remove what is `unused`, however many processes do so at once. Returns the number of entries, and their bytes.

    What another user has built in a shared cache may have to stay.
    """
    count = total = 0
    for wreck in [path for path in root.iterdir() if _ASIDE.fullmatch(path.name)]:
        shutil.rmtree(wreck, ignore_errors=True)
    for entry in unused(root, days):
        aside = root / f".{entry.folder.name}.removed-{secrets.token_hex(4)}"
        size = entry.size
        with _alone(entry.folder) as is_alone:
            if not is_alone or _used(entry.folder) > entry.used:
                continue
            try:
                entry.folder.rename(aside)
            except OSError:
                continue
        shutil.rmtree(aside, ignore_errors=True)
        count, total = count + 1, total + size
    return count, total


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds an entry, in whose place this process holds it meanwhile."""
    descriptor = _opened(folder)
    if descriptor is None:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield folder.is_dir()
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> int | None:
    """A descriptor of an entry's mark, which is made if need be, open to all users; None where it cannot be had.

    It is a file, opened for writing, as NFS locks no other: there the lock is the server's, and holds for all machines.
    """
    path = mark(folder)
    with suppress(OSError):  # not by O_CREAT alone: others' files in /tmp are closed to it
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):
            os.fchmod(descriptor, 0o666)
        return descriptor
    for how in (os.O_RDWR, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, how)
    return None


def _used(folder: Path) -> float:
    """Unix seconds of its last use, or of its making where that is later: the mark may be that of an earlier one."""
    used = 0.0
    for path in (folder, mark(folder)):
        with suppress(OSError):
            used = max(used, path.stat().st_mtime)
    return used


def _begin(folder: Path) -> None:
    """Count from now on, where no use was ever noted: it was built before uses were."""
    if not mark(folder).exists() and (descriptor := _opened(folder)) is not None:
        os.close(descriptor)
