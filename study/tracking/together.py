"""Several things at once, in threads: for requests, most of whose time is the server's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")


def together(work: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Do `work` for every one of `items`, begun in their order, so many at a time; the caller's thread is one of them.

    After an error nothing more is begun, and once what was begun is over the first error is raised. The threads are
    daemons: a request that hangs does not keep a process from ending.

    >>> together(print, ["a", "b"], threads=1)
    a
    b
    """
    waiting, errors = deque(items), list[Exception]()

    def run() -> None:
        while not errors:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                work(item)
            except Exception as error:
                errors.append(error)

    others = [Thread(target=run, name="together", daemon=True) for _ in range(min(threads, len(waiting)) - 1)]
    try:
        for thread in others:
            thread.start()
        run()
    finally:
        waiting.clear()  # whoever was interrupted wants no more of it
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
