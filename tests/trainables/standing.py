"""In the place of what tokenises; a module that its processes read fast."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any


class Standing:
    """Has the one method that such a process calls."""

    def __init__(self, whole: Callable[[Any], Any]) -> None:
        self.whole = whole


def number(rows: Sequence[Any]) -> list[int]:
    """Which process it is."""
    return [os.getpid() for _ in rows]


def failing(rows: Any) -> Any:
    """Cannot."""
    raise ValueError("of this text")


def dying(rows: Any) -> Any:
    """Is killed, as by the system where memory is short."""
    os._exit(7)
