"""The cache folder: what is costly to make, can always be made again, and is shared by all studies of a user."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock

from trainables.errors import MachineError, UserError
from trainables.storage import disk, entries, files, locks

FOLDER = "robust-transfer-study"
WAIT_LIMIT = 3600.0
"""Seconds that a builder waits for another one of the same entry."""

UNUSED_DAYS = 30.0
"""Entries that nobody has used for so long are removed after a build, unless ``$STUDY_CACHE_DAYS`` says otherwise."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def cache_root() -> Path:
    """The cache folder, made if need be: ``$STUDY_CACHE``, or `FOLDER` under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises `MachineError` where it cannot be made.
    """
    own = os.environ.get("STUDY_CACHE")
    root = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / FOLDER
    try:
        root = root.expanduser().absolute()
    except RuntimeError:
        raise MachineError(
            "STUDY_CACHE: must name a folder where there is no home folder (got none, and no HOME)"
        ) from None
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"STUDY_CACHE: the cache folder must be writable (got {root}: {error.strerror})") from error
    return root


def found(key: str) -> Path | None:
    """The folder ``<cache>/<key>`` if `build_once` has made it."""
    target = cache_root() / key
    return target if _is_there(target) else None


def build_once(key: str, build: Callable[[Path], None], describe: str, wait_limit: float = WAIT_LIMIT) -> Path:
    """The folder ``<cache>/<key>``, filled by ``build(folder)`` unless it is there already.

    `key` names the content, a hash of all inputs included; `describe` is what the user reads while it is made. However
    many processes ask at once, one builds and the others wait, at most `wait_limit` seconds. The folder appears
    complete or not at all: it is written aside, flushed to disk and renamed, and removed if `build` raises. Raises
    `MachineError` where that has taken others too long, and where the cache cannot be written or is full.
    """
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key), key
    root = cache_root()
    target = root / key
    if _is_there(target):
        return target
    days = unused_days()
    try:
        with _locked(root / f".{key}.lock", describe, wait_limit):
            if not _is_there(target):  # while we waited, it was built and is held since
                _build(target, build, describe)
                entries.use(target)
    except Exception as error:
        file = getattr(error, "filename", None)
        elsewhere = file is not None and not Path(file).is_relative_to(root)
        if elsewhere or disk.number(error) not in UNWRITABLE:
            raise
        rule = f"the cache folder must have room for {describe}, and be writable"
        raise MachineError(f"STUDY_CACHE: {rule} (got {root}: {disk.reason(error)})") from error
    if days > 0:
        _tidy(root, days)
    return target


def unused_days() -> float:
    """Days after which an entry that nobody uses is removed, 0 for never: ``$STUDY_CACHE_DAYS``, or `UNUSED_DAYS`.

    Raises `UserError` if that is no such number.
    """
    text = os.environ.get("STUDY_CACHE_DAYS", "").strip()
    try:
        days = float(text) if text else UNUSED_DAYS
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise UserError(f"STUDY_CACHE_DAYS: must be a number of days, 0 to remove nothing (got {text!r})")
    return days


def _tidy(root: Path, days: float) -> None:
    count, size = entries.remove(root, days)
    if count:
        _say(
            f"removed {count} {'entry' if count == 1 else 'entries'} unused for {days:g} days ({size / 2**20:.0f} MiB)"
        )


def _is_there(target: Path) -> bool:
    """Whether it is built; if so, it is in use from now on."""
    if target.is_dir() and not os.access(target, os.R_OK | os.X_OK):
        raise MachineError(
            f"STUDY_CACHE: what another user has built here is closed to you; use another (got {target})"
        )
    return entries.use(target)


@contextmanager
def _locked(path: Path, describe: str, wait_limit: float) -> Iterator[None]:
    """One process builds an entry at a time."""
    rule = f"another process has held the lock for {wait_limit:.0f} s; end it, or wait and start again"
    late = MachineError(f"building {describe}: {rule} (got {path})")
    say = partial(_say, f"waiting for another process that builds {describe}")
    lock = FileLock(path, mode=0o666)  # a shared cache has builders of several users
    with locks.held(lock, 0, say, wait_limit, late):
        yield


def _build(target: Path, build: Callable[[Path], None], describe: str) -> None:
    """Fill a folder that takes the target's place; the lock is held, so older ones beside it are wrecks."""
    started = time.monotonic()
    _say(f"building {describe} …")
    with files.replaced(target, sweep=True) as aside:
        aside.mkdir()  # as open to others as the user's umask lets all else be
        build(aside)
    _say(f"built {describe} in {time.monotonic() - started:.1f} s ({target})")


def _say(line: str) -> None:
    print(f"cache: {line}", file=sys.stderr, flush=True)
