"""Locks, which nobody waits for in silence or without limit; the system frees one when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from trainables.errors import UserError


@contextmanager
def held(lock: FileLock, quiet: float, say: Callable[[], object], limit: float, late: UserError) -> Iterator[None]:
    """Hold a lock: after `quiet` seconds `say` that it is waited for, and raise `late` after `limit` more."""
    try:
        lock.acquire(timeout=quiet)
    except Timeout:
        say()
        try:
            lock.acquire(timeout=limit)
        except Timeout:
            raise late from None
    try:
        yield
    finally:
        lock.release()


def flock(descriptor: int, how: int, patience: float) -> bool:
    """Lock an open file, `how` being `fcntl.LOCK_SH` or `LOCK_EX`, trying for `patience` seconds; whether it worked.

    Raises `OSError` where the file system has no locks.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True
