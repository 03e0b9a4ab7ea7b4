"""A suite that runs elsewhere, shown as `study run` shows it: its members' ledgers as they grow. Only reads."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from study.record import roots
from study.record.lines import begun_as
from study.record.place import Place
from study.suite import tables
from study.suite.found import FoundSuite, find
from study.views import following, layout, progress
from study.views import found as studies
from study.views.chatter import Listener
from study.views.following import FINISHED, NOT_FINISHED, News
from study.views.found import Study
from study.views.picture import View
from study.views.progress import Mode
from study.views.suite_picture import SuiteView
from study.views.values import first_value
from trainables.errors import UserError


def follow(root: Path, name: str, mode: Mode = "auto", interval: float | None = None) -> int:
    """Show a suite until nobody runs any of its members; one that is not running once. Ctrl-C ends the showing alone.

    Returns 0 if it is finished, or goes on, else 1. Raises `UserError` where there is no such suite.
    """
    while (suite := find(root, name)).condition == "running":
        view = SuiteView(name, {m: _view(suite, m) for m in suite.configs}, _begun(suite))
        try:
            with progress.drawn(view, sys.stdout, mode) as show:
                following.note(show, f"suite {name}: {view.summary(time.time())}")
                _show(suite, view, show, interval or following.between_looks(root))
        except KeyboardInterrupt:
            following.say(f"the suite goes on; watch it again with study watch {name}", mode)
            return FINISHED
    following.say(tables.result(suite, layout.width()) if mode != "json" else "", mode)
    if suite.condition == "finished":
        following.say("not running: the suite is finished", mode)
        return FINISHED
    following.say(f"not running: interrupted; go on with study resume {name}", mode)
    return NOT_FINISHED


def _view(suite: FoundSuite, member: str) -> View:
    """The picture of what happened so far to a member; of one that has not begun, of what is planned."""
    study, config = suite.members[member].study, suite.configs[member]
    return following.view_of(study) if study is not None else View(config, studies.planned(config), first_value(config))


def _begun(suite: FoundSuite) -> float | None:
    """When the present driver took the first of its members."""
    found = [m.study for m in suite.members.values() if m.study is not None and m.condition == "running"]
    return min((study.record.sessions[-1]["time"] for study in found if study.record.sessions), default=None)


def _show(suite: FoundSuite, view: SuiteView, show: Listener, pause: float) -> None:
    """Pass on what happens until nobody runs any member any more; a member that begins meanwhile joins.

    One whose ledger cannot be read is said, once, and keeps nobody from watching the others.
    """
    said: set[str] = set()
    news = {name: News(member.study) for name, member in suite.members.items() if member.study is not None}
    while True:
        running = any(map(_runs, news.values()))  # asked first: what was written last is read after it
        for name in view.members:
            try:
                if name not in news and (study := _begun_as(suite.members[name].place)) is not None:
                    news[name] = News(study)
                    view.members[name].take_up(study.record.copied())
                for event in news.get(name, ()):
                    show({**event, "member": name})
            except UserError as error:
                if name not in said:
                    said.add(name)
                    following.note(show, f"{name}: {error}")
        if not running:
            return
        time.sleep(pause)


def _begun_as(place: Place) -> Study | None:
    """The study that a member is, once its ledger says so. Raises `UserError`."""
    roots.refresh(place.root, place.name)
    return None if begun_as(place.ledger) is None else studies.find(place.root, place.name)


def _runs(news: News) -> bool:
    try:
        return news.owner() is not None
    except UserError:
        return True  # a store that is away says nothing
