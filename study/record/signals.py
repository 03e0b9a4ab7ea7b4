"""Signals that wait: nothing that must be whole is torn by a handler that raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextmanager
def held() -> Iterator[None]:
    """Keep the handlers of `HELD` until the end, and run those then whose signals came.

    Python runs handlers in the main thread, between any two of its instructions, whichever thread the system delivers a
    signal to: a blocked signal mask would not keep them. In other threads there is nothing to do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.getsignal(number) for number in HELD}
    try:
        for number, handler in before.items():
            if handler is not None:  # None: somebody's in C, which raises nothing
                signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
        for arrived in came:  # one by one: a second one means more than the first
            signal.raise_signal(arrived)
