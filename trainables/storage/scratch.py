"""Temporary folders that outlive no process for long."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A temporary folder ``<name>-<process>-…``; those that killed processes left are removed on the way."""
    for path in Path(tempfile.gettempdir()).glob(f"{name}-*"):
        pid = path.name.removeprefix(f"{name}-").partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
