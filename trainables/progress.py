"""Lines on standard error while something takes long; nothing while it does not."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

SECONDS = 10.0
"""Between two lines, and before the first."""

_LINE = re.compile(r"\w[^:]*: [\d,]+( of [\d,]+)? [A-Za-z][A-Za-z ]* \([\d,.]+ (a second|s each)\)(, .*)?\s*")


class Progress:
    """Counts what is done, and says so now and then: ``tokenising validation: 37 of 205 languages (3 a second)``."""

    def __init__(self, doing: str, unit: str, of: int | None = None) -> None:
        self._doing, self._unit, self._of = doing, unit, "" if of is None else f" of {of:,}"
        self._done = 0
        self._began = self._said = time.monotonic()

    def add(self, number: int = 1, note: str = "") -> None:
        """So many more are done; `note` is what else there is to say of them."""
        self._done += number
        now = time.monotonic()
        if now - self._said >= SECONDS:
            self._said = now
            line = f"{self._doing}: {self._done:,}{self._of} {self._unit} ({_pace(self._done, now - self._began)})"
            print(f"{line}, {note}" if note else line, file=sys.stderr, flush=True)


def _pace(done: int, seconds: float) -> str:
    rate = done / seconds
    if rate < 0.1:
        return f"{seconds / done:,.0f} s each"
    return f"{rate:,.{0 if rate >= 1 else 2}f} a second"


def is_progress(line: str) -> bool:
    """Whether a line is one of these."""
    return _LINE.fullmatch(line) is not None


def told(items: Iterable[T], doing: str, unit: str, of: int | None = None) -> Iterator[T]:
    """The items, each counted once whoever reads them is done with it."""
    progress = Progress(doing, unit, of)
    for item in items:
        yield item
        progress.add()
