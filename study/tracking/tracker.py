"""The thread in which a study's ledger reaches MLflow, never in the study's way; and the same without a thread.

Nothing is queued: what has not been sent is in the ledger's file, so that an absent server costs neither time nor
memory, and all arrives, in order, once it is back.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from study.question.config import StudyConfig
from study.record.lines import Tail
from study.record.place import REPORT, Place
from study.tracking.answers import SECONDS, reason, settings
from study.tracking.mirror import Mirror, Say
from study.tracking.server import public
from trainables.background import Background
from trainables.errors import UserError

POLL_SECONDS = 1.0
"""The ledger is looked at this often."""

WARN_AFTER = 2
"""Failures in a row before a word is said, and at the end before giving up: a restarted server drops one request."""

LONGEST_PAUSE_SECONDS = 30.0
"""Most time between two attempts at a server that does not answer."""

INSISTENCE = 4
"""Attempts of `send_all`, which have a user waiting."""


def to_stderr(line: str) -> None:
    """Shows a line, if it can be shown."""
    with suppress(OSError):  # a study's errors go to its log, whose disk may be full
        print(line, file=sys.stderr, flush=True)


class Tracker:
    """Keeps MLflow up to date with one study's ledger, in a daemon thread that starts with the object.

    `uri` None is the SQLite file under its root. Connecting imports MLflow and may make its database, which takes
    seconds: that too happens in the thread; with `patient`, not before there is something to see, a report or the end
    of a trial, so that those seconds are not taken from the start of the trials. An outage is said in one line, through
    `say`. As a context manager it closes itself.
    """

    def __init__(self, uri: str | None, place: Place, say: Say = to_stderr, patient: bool = False) -> None:
        self._settings = ExitStack()
        self._settings.enter_context(settings())
        self._mirror = Mirror(place, uri, say)
        ledger = place.ledger
        self._awaited = Tail(ledger, ledger.stat().st_size if ledger.exists() else 0) if patient else None
        self._say = say
        self._abandoned = self._complete = False
        self._thread = Background("mlflow", self._follow)

    def close(self, timeout: float = 20.0) -> bool:
        """Send what is left, for at most `timeout` seconds. False, and a line on how to catch up, if some is left."""
        if not self._abandoned:
            self._thread.stop(timeout)
            self._abandoned = True
            if not self._complete:
                self._say(self._how_to_catch_up())
        self._settings.close()
        self._thread.check()
        return self._complete

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _how_to_catch_up(self) -> str:
        mirror = self._mirror
        command = f"study rebuild {mirror.place.name} --mlflow --root {shlex.quote(str(mirror.place.root))}"
        return (
            f"MLflow at {public(mirror.uri)} lacks the last {mirror.unsent()} events of this study. "
            f"The ledger has them all; send them with: {command}"
        )

    def _await_something(self, thread: Background) -> None:
        """Return once the ledger says more than that trials were handed out, or nobody will wait any longer."""
        while self._awaited is not None and thread.wait(POLL_SECONDS):
            try:
                if any(event["event"] in ("report", "finished") for event in self._awaited.poll()):
                    return
            except (OSError, UserError):  # said by whoever meets it next
                return

    def _follow(self, thread: Background) -> None:
        self._await_something(thread)
        failures = last_failures = 0
        while not self._abandoned:
            try:
                more = self._step(closing=thread.over)
            except Exception as error:
                failures += 1
                last_failures += thread.over
                if failures == WARN_AFTER:
                    self._say(
                        f"MLflow at {public(self._mirror.uri)} {reason(error, self._mirror.uri)}. "
                        "The study goes on; what is missing is sent once MLflow answers."
                    )
                if last_failures >= WARN_AFTER:
                    return
                if thread.over:
                    time.sleep(_pause(1))
                else:
                    thread.wait(_pause(failures))
                continue
            if failures >= WARN_AFTER:
                self._say(f"MLflow at {public(self._mirror.uri)} answers again.")
            failures = 0
            if self._complete:
                return
            if not more:
                thread.wait(POLL_SECONDS)

    def _step(self, closing: bool) -> bool:
        """Send one chunk; at the end, once there is no more, finish. True if there may be more."""
        more = self._mirror.advance()
        if closing and not more:
            self._mirror.finish()
            self._complete = True
        return more


def rebuild(place: Place, uri: str | None = None, say: Say = to_stderr) -> int:
    """Write everything that MLflow is to show of a study, from its ledger alone; done again, it changes nothing.

    `uri` None is where the study tracks to. Returns the number of events sent. Not while the study runs: its own
    tracker is at work then. Raises `UserError` if there is no ledger or MLflow does not take it.
    """
    return send_all(place, uri, say, lambda mirror: None)


def log_artifacts(place: Place, paths: Sequence[Path], uri: str | None = None, folder: str = REPORT) -> None:
    """Store files and folders in `folder` of the artifacts of a study's parent run, which is written if it is missing.

    `uri` None is where the study tracks to. Raises `UserError` if there is no ledger or MLflow does not take them.
    """
    send_all(place, uri, to_stderr, lambda mirror: mirror.keep(paths, folder))


def send_all(place: Place, uri: str | None, say: Say, then: Callable[[Mirror], None], seconds: int = SECONDS) -> int:
    """As `rebuild`, and `then` what is to be done with all of it sent; a request may take so many seconds."""
    configs = (event["config"] for event in Tail(place.ledger).poll() if event["event"] == "study")
    config = StudyConfig.model_validate(next(configs, {"name": place.name}))
    mirror = Mirror(place, uri or config.tracking.uri, say)
    failures = 0
    with settings(seconds):
        while True:
            try:
                while mirror.advance():
                    failures = 0
                mirror.finish()
                then(mirror)
                return mirror.sent
            except UserError:
                raise
            except Exception as error:
                failures += 1
                if failures == INSISTENCE:
                    raise UserError(f"{public(mirror.uri)}: MLflow {reason(error, mirror.uri)}") from error
                time.sleep(_pause(failures))


def _pause(failures: int) -> float:
    return float(min(LONGEST_PAUSE_SECONDS, 0.25 * 2**failures))
