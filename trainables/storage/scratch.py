"""Temporary folders that outlive no process for long."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import UserError

LONGEST_TEMP = (103 if sys.platform == "darwin" else 107) - 64 - 27
"""Characters of a folder for temporary ones that are left to the user where Ray has sockets in them: of the bytes that
a socket's name may have, Ray's own folders take 64 and ours 27."""

SHORT = ("/tmp", "/var/tmp", "/dev/shm")
"""Where to go instead."""


def socket_folder() -> Path:
    """The folder for temporary ones, or a short one where its name is too long for sockets (a batch job's often is).

    Raises `UserError` where there is none.
    """
    usual = Path(tempfile.gettempdir())
    for folder in (usual, *map(Path, SHORT)):
        if len(os.fsencode(folder)) <= LONGEST_TEMP and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UserError(
        f"TMPDIR: its name must be at most {LONGEST_TEMP} characters long, and none of {', '.join(SHORT)} can be "
        f"written (got {usual})"
    )


@contextmanager
def scratch(name: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder ``<name>-<process>-…``; those that killed processes left are removed on the way."""
    import psutil  # benchmarks run where it is not installed

    for path in (parent or Path(tempfile.gettempdir())).glob(f"{name}-*"):
        pid = path.name.removeprefix(f"{name}-").partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-{os.getpid()}-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
