"""Entries of the cache folder: who uses them, when they were last used, and how those go that nobody uses any more.

Whoever uses an entry says so by its time of change, and holds a shared lock on its folder while the process lives: the
system lets go of it when the process dies. Whoever removes one takes that lock alone, renames the folder aside, and
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

DAY = 86400.0

TOUCH_SECONDS = 60.0
"""A use is noted unless one was noted so shortly before."""

MOST_HELD = 16
"""Entries that a process holds at a time, the ones used last: more than a trial needs, fewer than open files."""

_NAME = re.compile(r"(?P<kind>[A-Za-z0-9][A-Za-z0-9._-]*?)-[0-9a-f]{12,}")
_ASIDE = re.compile(r"\..*\.removed-[0-9a-f]{8}")

_held: OrderedDict[Path, int] = OrderedDict()
"""Folder -> descriptor, the one used last at the end."""


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
    found = []
    with suppress(FileNotFoundError):
        for each in os.scandir(root):
            if _NAME.fullmatch(each.name) and each.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    found.append(Entry(root / each.name, each.stat().st_mtime))
    return found


def use(folder: Path) -> bool:
    """Note that an entry is used, and hold it; False if it is not there (any more). Raises `PermissionError`."""
    if folder in _held:
        if _is_same(_held[folder], folder):
            _held.move_to_end(folder)
            _touch(folder)
            return True
        os.close(_held.pop(folder))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with suppress(OSError):  # of a file system without locks nothing is removed
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not _is_same(descriptor, folder):  # it was removed while we waited
        os.close(descriptor)
        return False
    _held[folder] = descriptor
    while len(_held) > MOST_HELD:
        os.close(_held.popitem(last=False)[1])
    _touch(folder)
    return True


def unused(root: Path, days: float) -> list[Entry]:
    """Entries whose last use is as many days ago, and that nobody holds; the ones unused for longest first."""
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
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield _is_same(descriptor, folder)
    finally:
        os.close(descriptor)


def _is_same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError:
        return False


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return float("inf")


def _touch(folder: Path) -> None:
    if abs(time.time() - _used(folder)) > TOUCH_SECONDS:
        with suppress(OSError):  # another user's, or a disk that is read-only
            os.utime(folder)
