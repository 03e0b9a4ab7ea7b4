"""Ctrl-C and SIGTERM while trials run: their checkpoints first, then the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from study.execution.adapters import Listener, TrialSearcher
from study.record.signals import HELD


@contextmanager
def interruptible(searcher: TrialSearcher, mailbox: Any, hear: Listener, grace: float) -> Iterator[None]:
    """First Ctrl-C, SIGTERM or SIGHUP (a terminal that is gone): the trials are checkpointed and left, within
    `grace` seconds. Second: stop at once. Under nohup a SIGHUP stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked, over = threading.Event(), threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        searcher.interrupted = True
        asked.set()

    def pass_on() -> None:
        asked.wait()
        if over.is_set():
            return
        hear({"event": "waiting", "for": "running trials to write their checkpoints (again to stop at once)"})
        mailbox.interrupt.remote()
        if not over.wait(grace):
            signal.raise_signal(signal.SIGINT)

    wanted = [number for number in HELD if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in wanted}
    threading.Thread(target=pass_on, name="interrupts", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        asked.set()
        for number, handler in before.items():
            signal.signal(number, handler)
