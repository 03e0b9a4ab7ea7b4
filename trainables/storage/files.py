"""The one way to write a file or a folder that others read: aside, brought to the disk, renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path, sweep: bool = False) -> Iterator[Path]:
    """A path beside `path`, where the block writes a file or makes a folder, which then takes the place of `path`.

    A reader finds the old one or the whole new one, also after a power cut; an error within the block leaves the old
    one. The folder of `path` is made. `sweep` removes what killed writers have left of the same path before: for those
    who hold a lock on it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}.aside-"
    if sweep:
        for wreck in path.parent.glob(f"{prefix}*"):
            _remove(wreck)
    aside = path.with_name(f"{prefix}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield aside
        for each in (*aside.rglob("*"), aside) if aside.is_dir() else (aside,):
            sync(each)
        if path.is_dir():
            shutil.rmtree(path)
        aside.rename(path)
    except BaseException:
        _remove(aside)
        raise
    sync(path.parent)


def is_wreck(path: Path) -> bool:
    """Whether another process left this half written, of any version: for folders that one writes at a time."""
    return path.name.startswith(".") and f".aside-{os.getpid()}-" not in path.name


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
