"""What a running study shows: a live table on a terminal, plain lines elsewhere, events as JSON, or nothing.

`picture` reduces events to a picture and knows no screen; the four listeners draw it. Everything else that this process
writes to its outputs goes to the study's log (`chatter`).
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.live import Live

from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.views.chatter import Listener, chatter_to, notices
from study.views.picture import Event, Score, View, clock

Mode = Literal["auto", "plain", "quiet", "json"]


class Picture(Protocol):
    """What events give, of a study (`View`) or of several (`SuiteView`)."""

    begun: float
    """Unix seconds at which its clock began."""

    def hear(self, event: Event) -> None: ...

    def lines(self, event: Event) -> Iterator[str]: ...

    def table(self, now: float, width: int, height: int) -> RenderableType: ...


@contextmanager
def watched(
    config: StudyConfig, planned: int, score: Score, log: Path, mode: Mode = "auto", earlier: StudyRecord | None = None
) -> Iterator[Listener]:
    """Show a study while it runs: yields the listener for its events.

    Meanwhile whatever is written to this process's standard outputs goes to `log`. `planned` is the number of trials,
    `score` what they are ranked by, `earlier` a copy of what the ledger of a study holds that is being resumed.
    """
    view = View(config, planned, score)
    if earlier is not None:
        view.take_up(earlier)
    with shown(view, log, mode) as listen:
        yield listen


@contextmanager
def shown(view: Picture, log: Path, mode: Mode = "auto") -> Iterator[Listener]:
    """As `watched`, for a picture that is there already."""
    with chatter_to(log) as screen, drawn(view, screen, mode) as listen:
        heard = unfailing(listen, log)
        with notices(log, heard):
            yield heard


def unfailing(listen: Listener, log: Path) -> Listener:
    """The same listener, whose errors go to the log, once each kind: what is shown of a study breaks nothing of it.

    It is called between an event's being durable and what follows from it: an error there, of a closed pipe or of a
    picture, would have finished trials begun anew.
    """
    said = set[type[Exception]]()

    def heard(event: Event) -> None:
        try:
            listen(event)
        except Exception as error:
            if type(error) not in said:
                said.add(type(error))
                with suppress(OSError), log.open("a", encoding="utf-8") as file:
                    traceback.print_exc(file=file)

    return heard


def of_confirm(events: Iterable[Event], numbers: set[int] | None = None) -> Iterator[Event]:
    """Events without those of trials of phase `run`; `numbers`: trials of `confirm` that are known, and come to be."""
    known = set() if numbers is None else numbers
    for event in events:
        if event["event"] == "asked" and event["phase"] == "confirm":
            known.add(event["trial"])
        if "trial" not in event or event["trial"] in known:
            yield event


@contextmanager
def drawn(view: Picture, screen: TextIO, mode: Mode) -> Iterator[Listener]:
    """A listener that brings the view up to date and shows it."""
    lock = threading.Lock()
    live = mode == "auto" and screen.isatty()

    def plain(event: Event) -> None:
        with lock:
            view.hear(event)
            for line in view.lines(event):
                print(f"[{clock(event.get('time', time.time()) - view.begun):>7}] {line}", file=screen, flush=True)

    def as_json(event: Event) -> None:
        with lock:
            print(json.dumps(event), file=screen, flush=True)

    def silent(event: Event) -> None:
        with lock:
            view.hear(event)

    if not live:
        yield {"json": as_json, "quiet": silent}.get(mode, plain)
        return
    console = Console(file=screen)

    class Refreshed:
        """Drawn anew at every refresh, so that the clock runs and the table follows the window's size."""

        def __rich__(self) -> RenderableType:
            with lock:
                return view.table(time.time(), console.width, console.height)

    with Live(Refreshed(), console=console, refresh_per_second=2, redirect_stdout=False, redirect_stderr=False):
        yield silent
