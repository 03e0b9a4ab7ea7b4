"""Micro-batches on the device, the next one prepared while the present one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from trainables.training.passes import Items

Made = TypeVar("Made")


class Feed(Generic[Made]):
    """What `make` gives of some items: a function of them alone, so that it may be called before it is asked for.

    `ahead`: whether a thread prepares what follows. It pays where another device computes; on a CPU it would only take
    the processor from whoever does.
    """

    def __init__(self, make: Callable[[Items], Made], ahead: bool) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed") if ahead else None
        self._next: tuple[bytes, Future[Made]] | None = None

    def take(self, items: Items, following: Callable[[], Items | None]) -> Made:
        """Of `items`; `following` are those that will be asked for next, if any are known."""
        waiting, self._next = self._next, None
        made = waiting[1].result() if waiting is not None and waiting[0] == items.tobytes() else self._make(items)
        if self._pool is not None and (coming := following()) is not None:
            self._next = coming.tobytes(), self._pool.submit(self._make, coming)
        return made
