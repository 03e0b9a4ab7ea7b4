"""A study that runs elsewhere, shown as `study run` shows it: in another terminal, on another machine, in a store.

Only reads: the ledger as it grows, and who owns it, without a lock that a driver could meet. Of a driver on another
machine nothing is known but what it writes: that it has died is seen on its own machine alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from study.record import roots
from study.record.lines import Reading
from study.record.ownership import Owner, lives
from study.views import tables
from study.views.chatter import Listener
from study.views.found import Study, find, planned, tuned
from study.views.picture import Event, View
from study.views.progress import Mode, drawn, of_confirm
from study.views.values import first_value
from trainables.errors import UserError

SECONDS, STORE_SECONDS = 1.0, 10.0
"""Between two looks at a folder, and at a store, which has news every half minute at most."""

FINISHED, NOT_FINISHED = 0, 1
"""What `follow` returns."""


class News:
    """The events of a study since it was found, each once; of its confirmation alone once that has begun."""

    def __init__(self, study: Study) -> None:
        self._place = study.place
        self.is_confirm = study.record.phase == "confirm"
        self._reading = study.reading
        self._numbers = {t.number for t in study.trials if t.phase == "confirm"}
        self._away = False

    def __iter__(self) -> Iterator[Event]:
        """Those since the last time. A store that does not answer is waited for, which is said once."""
        try:
            roots.refresh(self._place.root, self._place.name)
            self._away = False
        except UserError as error:
            if not self._away:
                yield {"event": "note", "time": time.time(), "words": f"{error}; waiting for it"}
            self._away = True
        events = self._reading.news()
        yield from of_confirm(events, self._numbers) if self.is_confirm else events

    def owner(self) -> Owner | None:
        """Who runs the study, as far as can be told from here; None: nobody any more.

        A process that is not seen may be another container's: then, and only then, its lock is asked for.
        """
        owner = roots.last_owner(self._place)
        if owner is None or owner.released:
            return None
        return owner if lives(owner) or roots.is_owned(self._place) else None


def follow(
    root: Path, name: str, mode: Mode = "auto", interval: float | None = None, reading: Reading | None = None
) -> int:
    """Show a study until its driver has ended; one that is not running once. Ctrl-C ends the showing alone.

    `interval`: seconds between two looks. Returns 0 if the study is finished, or goes on, else 1. Raises `UserError`
    where there is no such study.
    """
    study = find(root, name, reading)
    news = News(study)
    owner = news.owner()
    if owner is None:
        say(tables.result(study) if mode != "json" else "", mode)
        return _conclude(study, roots.last_owner(study.place), mode)
    pause = interval or between_looks(root)
    view = view_of(study)
    try:
        with drawn(view, sys.stdout, mode) as show:
            note(show, f"study {name}, run by {owner.describe()}: {view.summary(time.time())}")
            _show(news, show, pause)
    except KeyboardInterrupt:
        say(f"the study goes on; watch it again with study watch {name}", mode)
        return FINISHED
    ended = find(root, name, study.reading)
    if ended.condition == "running":  # by the next driver
        return follow(root, name, mode, interval, ended.reading)
    return _conclude(ended, roots.last_owner(study.place), mode)


def between_looks(root: Path) -> float:
    """Seconds between two looks, where nobody says how many."""
    return SECONDS if roots.store(root) is None else STORE_SECONDS


def view_of(study: Study) -> View:
    """The picture of what happened so far; its clock began with the present driver."""
    is_confirm = study.record.phase == "confirm"
    total = 0 if is_confirm else planned(study.config) + tuned(study.config)
    begun = study.record.sessions[-1]["time"] if study.record.sessions else None
    view = View(study.config, total, first_value(study.config), begun)
    view.take_up(study.record.copied("confirm" if is_confirm else None))
    return view


def _show(news: News, show: Listener, pause: float) -> None:
    """Pass on what happens until nobody runs the study any more."""
    while True:
        try:
            running = news.owner() is not None  # asked first: what its driver wrote last is read after its end
        except UserError:
            running = True  # a store that is away says nothing
        for event in news:
            show(event)
        if not running:
            return
        time.sleep(pause)


def _conclude(study: Study, last: Owner | None, mode: Mode) -> int:
    """Say how the study stands now that nobody shows it any more; the exit status of that."""
    is_confirm = study.record.phase == "confirm"
    trials = [t for t in study.trials if t.phase == study.record.phase]
    command = f"study {'confirm' if is_confirm else 'resume'} {study.name}"
    is_done = all(t.ended for t in trials) if is_confirm else study.condition == "finished"
    if is_done:
        say(f"not running: the {'confirmation' if is_confirm else 'study'} is finished", mode)
        return FINISHED
    died = last is not None and not last.released
    how = f"its driver, process {last.pid} on {last.host}, has died" if last and died else "interrupted"
    say(f"not running: {how}; go on with {command}", mode)
    return NOT_FINISHED


def note(show: Listener, words: str) -> None:
    """A word in the picture."""
    show({"event": "note", "time": time.time(), "words": words})


def say(words: str, mode: Mode) -> None:
    """One more word after the picture."""
    if words:
        text = json.dumps({"event": "note", "time": time.time(), "words": words}) if mode == "json" else words
        print(text, flush=True)
