"""Micro-batches on the device, the next one prepared while the present one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from trainables.training.passes import Items

Made = TypeVar("Made")


class Feed(Generic[Made]):
    """What `make` gives of an epoch's items: a function of them alone, so that it may be called before it is asked for.

    `ahead`: whether a thread prepares what follows. It pays where another device computes; on a CPU it would only take
    the processor from whoever does.
    """

    def __init__(self, make: Callable[[int, Items], Made], ahead: bool) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed") if ahead else None
        self._next: tuple[tuple[int, bytes], Future[Made]] | None = None

    def take(self, epoch: int, items: Items, following: Callable[[], tuple[int, Items] | None]) -> Made:
        """Of `items` in an epoch; `following` are those that will be asked for next, if any are known."""
        waiting, self._next = self._next, None
        is_here = waiting is not None and waiting[0] == (epoch, items.tobytes())
        made = waiting[1].result() if waiting is not None and is_here else self._make(epoch, items)
        if self._pool is not None and (coming := following()) is not None:
            self._next = (coming[0], coming[1].tobytes()), self._pool.submit(self._make, *coming)
        return made
