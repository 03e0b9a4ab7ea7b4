"""A thread beside its owner: named, told to stop, waited for within a bound; and its error is its owner's.

>>> answers = []
>>> with Background("waiter", lambda thread: answers.append(thread.wait(60.0))):
...     pass
>>> answers  # at once: it was told to end
[False]
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

END_SECONDS = 10.0
"""Longest time that an owner waits for the end of a thread, unless it says otherwise."""


class Background:
    """Runs `work` in a daemon thread, which starts with the object and is given it; as a context manager, ends it.

    `work` waits with `wait`, never longer than it says, and returns once that says so. A thread that does not end
    within `seconds` is named on standard error and left behind: its owner goes on. What it raised its owner raises, at
    the end or at a `check`; beside another error it is a note of that.
    """

    def __init__(self, name: str, work: Callable[[Background], object], seconds: float = END_SECONDS) -> None:
        self.name, self.seconds = name, seconds
        self.error: BaseException | None = None
        """What the thread ended of."""
        self._over, self._news = False, threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:
            self.error = error

    # For the work

    @property
    def over(self) -> bool:
        """Whether the owner wants it to end."""
        return self._over

    def wait(self, seconds: float) -> bool:
        """Wait so long, less if somebody calls `wake` or `stop`; whether to go on."""
        if not self._over:
            self._news.wait(seconds)
            self._news.clear()  # before the look at `_over`, which `stop` sets first: its news is not missed
        return not self._over

    # For the owner

    @property
    def ended(self) -> bool:
        """Whether the work is done, or has failed."""
        return not self._thread.is_alive()

    def wake(self) -> None:
        """End the present `wait` of the work, or its next. Never blocks."""
        self._news.set()

    def dismiss(self) -> None:
        """Tell the work to end, without waiting for that."""
        self._over = True
        self._news.set()

    def stop(self, seconds: float) -> bool:
        """Tell the work to end, and wait so long for that; whether it has. Where not, a line says so."""
        self.dismiss()
        self._thread.join(seconds)
        if not self.ended:
            print(f"thread {self.name}: has not ended within {seconds:g} s, and is left behind", file=sys.stderr)
        return self.ended

    def check(self) -> None:
        """Raise what the thread ended of, if it did."""
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(self.seconds)
        if error is None:
            self.check()
        elif self.error is not None:
            error.add_note(f"thread {self.name}: ended of {self.error!r}")
