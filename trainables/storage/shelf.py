"""A trial's checkpoints in an object store, beside a local folder in which they are written and read.

In the store a checkpoint is whole if it has its meta file: that is uploaded last, removed first, and has the checksums
of the others. So whoever is killed in between leaves a checkpoint that does not count, and the one before it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from trainables.storage import checkpoint
from trainables.storage.store import Store

NAME = re.compile(r"(\d+)/([\w.]+)")
"""Of an object: step and file."""


class Shelf:
    """The checkpoints ``<store>/<step>/`` of one trial, and their copies ``<folder>/<step>/``."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.there: dict[int, bytes] = {}
        """Steps in the store, with their meta files; empty where it is missing."""

    def fetch(self, only_meta: bool = False) -> None:
        """Make the local folder what the store has: all whole checkpoints, or their meta files alone.

        Raises `OSError` where the store does not answer.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        found: dict[int, list[str]] = {}
        for name in self.store.sizes():
            if match := NAME.fullmatch(name):
                found.setdefault(int(match[1]), []).append(match[2])
        self.there = dict.fromkeys(found, b"")
        for step, names in found.items():
            if checkpoint.META not in names:
                continue
            for name in [checkpoint.META] if only_meta else names:
                self.store.download(f"{step}/{name}", self.folder / str(step) / name)
            self.there[step] = (self.folder / str(step) / checkpoint.META).read_bytes()

    def put(self) -> None:
        """Make the store what the local folder has. After an `OSError` the same call goes on."""
        for step in checkpoint.steps(self.folder):
            folder = self.folder / str(step)
            meta = (folder / checkpoint.META).read_bytes()
            if self.there.get(step) == meta:
                continue
            if step in self.there:
                self.store.remove(f"{step}/{checkpoint.META}")
            self.there[step] = b""
            for file in folder.iterdir():
                if file.name != checkpoint.META:
                    self.store.upload(file, f"{step}/{file.name}")
            self.store.write(f"{step}/{checkpoint.META}", meta)
            self.there[step] = meta
        self.prune()

    def prune(self) -> None:
        """Remove from the store what the local folder no longer has."""
        for step in sorted(self.there.keys() - set(checkpoint.steps(self.folder))):
            self.store.remove(f"{step}/{checkpoint.META}")
            (self.store / step).remove_all()
            del self.there[step]
