"""Signals while trials run."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from study.execution.interrupts import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_the_first_one_asks_for_checkpoints_and_the_second_raises(number: signal.Signals) -> None:
    usual = signal.signal(number, signal.SIG_DFL)
    asked = threading.Event()
    searcher = SimpleNamespace(interrupted=False)
    mailbox = SimpleNamespace(interrupt=SimpleNamespace(remote=asked.set))

    def interrupted_twice() -> None:
        with interruptible(cast(Any, searcher), mailbox, lambda event: None, 60.0):
            signal.signal(number, signal.SIG_IGN)  # as Tune, when it begins, takes SIGUSR1 for itself
            searcher.begun()
            signal.raise_signal(number)
            assert searcher.interrupted and asked.wait(10)
            signal.raise_signal(number)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_twice()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, usual)


def test_a_hangup_that_is_ignored_stays_so() -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    searcher = SimpleNamespace(interrupted=False)
    try:
        with interruptible(cast(Any, searcher), SimpleNamespace(), lambda event: None, 60.0):
            signal.raise_signal(signal.SIGHUP)
        assert not searcher.interrupted
    finally:
        signal.signal(signal.SIGHUP, usual)


def test_trials_that_take_longer_than_their_grace_are_left() -> None:
    searcher = SimpleNamespace(interrupted=False)
    mailbox = SimpleNamespace(interrupt=SimpleNamespace(remote=lambda: None))

    def interrupted_once() -> None:
        with interruptible(cast(Any, searcher), mailbox, lambda event: None, 0.05):
            signal.raise_signal(signal.SIGINT)
            threading.Event().wait(30)

    with pytest.raises(KeyboardInterrupt):
        interrupted_once()
