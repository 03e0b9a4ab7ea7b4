"""Ctrl-C and its like while trials run: their checkpoints first, then the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from study.execution.adapters import TrialSearcher
from study.execution.members import Listener
from study.record.signals import HELD
from trainables.background import Background

IDLE_SECONDS = 60.0
"""Longest wait of the thread that passes signals on."""


@contextmanager
def interruptible(searcher: TrialSearcher, mailbox: Any, hear: Listener, grace: float) -> Iterator[None]:
    """First Ctrl-C, SIGTERM, SIGHUP (a terminal that is gone) or SIGUSR1 (a batch system whose time is nearly up): the
    trials are checkpointed and left, within `grace` seconds. Second: stop at once. Under nohup a SIGHUP stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        searcher.interrupted = True
        asked.set()
        thread.wake()

    def pass_on(thread: Background) -> None:
        while thread.wait(IDLE_SECONDS) and not asked.is_set():
            pass
        if thread.over:
            return
        hear({"event": "waiting", "for": "running trials to write their checkpoints (again to stop at once)"})
        mailbox.interrupt.remote()
        if thread.wait(grace):
            signal.raise_signal(signal.SIGINT)

    wanted = [number for number in HELD if signal.getsignal(number) is not signal.SIG_IGN]

    def listen() -> dict[signal.Signals, Any]:
        return {number: signal.signal(number, handle) for number in wanted}

    with Background("signals", pass_on) as thread:
        before = listen()
        searcher.begun = listen
        try:
            yield
        finally:  # before the thread is told to stop: a handler that wakes it meanwhile would wait for itself
            for number, handler in before.items():
                signal.signal(number, handler)
