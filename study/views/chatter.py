"""What libraries write to this process's outputs goes to the study's log; notices come back out of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO

from study.views.picture import Event
from trainables.background import Background
from trainables.progress import is_progress

NOTICE = "cache: "
"""Lines of the log that begin so tell what a long preparation is doing."""


class Listener(Protocol):
    """Hears every event."""

    def __call__(self, event: Event) -> None: ...


@contextmanager
def chatter_to(log: Path) -> Iterator[TextIO]:
    """Point this process's standard outputs, and those of what it starts, at a file; yields the former standard output.

    On the level of file descriptors, since libraries write from C++ and from other processes as well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    screen = os.fdopen(os.dup(saved[0]), "w", encoding="utf-8", errors="replace")
    try:
        yield screen
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        screen.close()
        for descriptor, own in zip(saved, (1, 2), strict=True):
            os.dup2(descriptor, own)
            os.close(descriptor)


def notice(line: str) -> str | None:
    """What a line of the log says is waited for, or how far it is, if it does."""
    if is_progress(line):
        return line.strip()
    text = line.removeprefix(NOTICE).strip()
    if not line.startswith(NOTICE) or text.startswith("built"):
        return None
    return text.removeprefix("waiting for ") if text.startswith("waiting for ") else f"the cache ({text})"


@contextmanager
def notices(log: Path, listen: Listener, every: float = 0.5) -> Iterator[None]:
    """Turn what preparations write to the log into notices."""

    def follow(thread: Background) -> None:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(0, os.SEEK_END)
            while thread.wait(every):
                for line in file:
                    if words := notice(line):
                        listen({"event": "waiting", "for": words, "time": time.time()})

    with Background("notices", follow):
        yield
