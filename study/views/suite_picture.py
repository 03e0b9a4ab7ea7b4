"""The picture that the events of a suite's members give, each with its member's name; knows no screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from study.record.record import StudyRecord
from study.views.picture import Event, View, clock


class SuiteView:
    """The members' pictures, and what is said of none of them alone."""

    def __init__(self, suite: str, members: Mapping[str, View], begun: float | None = None) -> None:
        self.suite, self.members = suite, members
        self.begun = time.time() if begun is None else begun
        self.waiting = ""
        self.most_at_once = 1

    def take_up(self, records: Mapping[str, StudyRecord]) -> None:
        """Begin with what the members' ledgers added up to. Its own copies from here on."""
        for name, record in records.items():
            self.members[name].take_up(record)

    def hear(self, event: Event) -> None:
        """Take an event in: a member's, or everybody's."""
        if (name := event.get("member")) is None:
            self.waiting = str(event["for"]) if event["event"] == "waiting" else self.waiting
            return
        self.members[name].hear(event)
        if event["event"] == "started":
            self.waiting = ""
            self.most_at_once = max(self.most_at_once, self.running)

    @property
    def running(self) -> int:
        """Trials that are being trained."""
        return sum(len(view.running) for view in self.members.values())

    def remaining(self, now: float) -> float | None:
        """Estimate of the seconds left; a member of which nothing is known yet is taken to be as the others."""
        known = {name: view.typical(now) for name, view in self.members.items()}
        times = [each for each in known.values() if each is not None]
        if not times:
            return None
        usual = sum(times) / len(times)
        work = [
            view.work(now, usual if (typical := known[name]) is None else typical)
            for name, view in self.members.items()
        ]
        return sum(work) / self.most_at_once

    def summary(self, now: float) -> str:
        """One line: how far, how long, how much longer."""
        views = list(self.members.values())
        ended, total = sum(len(view.ended) for view in views), sum(view.total for view in views)
        failed = sum(t.state == "FAIL" for view in views for t in view.ended)
        done = sum(len(view.ended) == view.total for view in views)
        left = self.remaining(now)
        parts = [
            f"{ended} of {total} trials" + (f" ({failed} failed)" if failed else ""),
            f"{done} of {len(views)} members done",
            f"elapsed {clock(now - self.begun)}",
            "about " + clock(left) + " left" if left is not None else "estimating what is left",
        ]
        return " · ".join(parts)

    def lines(self, event: Event) -> Iterator[str]:
        """An event in words, after it was heard, with the name of the member that it is about."""
        name = event.get("member")
        if name is None:
            if event["event"] in ("waiting", "note"):
                yield f"waiting for {event['for']}" if event["event"] == "waiting" else event["words"]
            return
        yield from (f"{name}: {line}" for line in self.members[name].words(event))
        if event["event"] == "finished":
            yield self.summary(event["time"])

    def table(self, now: float, width: int, height: int) -> RenderableType:
        """The live picture for a terminal of this size: a line for each member, those that run first."""
        table = Table(box=None, padding=(0, 1), header_style="bold")
        for title in ("member", "trials", "running", "failed", "best"):
            table.add_column(title, justify="left" if title in ("member", "running") else "right", no_wrap=True)
        ordered = sorted(self.members.items(), key=lambda item: not item[1].running)
        shown = ordered[: max(1, height - 6)]
        for name, view in shown:
            table.add_row(*_cells(name, view), style="cyan" if view.running else "")
        hidden = len(ordered) - len(shown)
        more = [Text(f"… and {hidden} more members", style="dim")] if hidden else []
        warned = [
            Text(f"{name}: {line}", style="yellow", no_wrap=True, overflow="ellipsis")
            for name, view in self.members.items()
            for line in view.warnings
        ]
        waiting = self.waiting or next((f"{n}: {v.waiting}" for n, v in self.members.items() if v.waiting), "")
        last = [Text(self.summary(now), no_wrap=True, overflow="ellipsis")]
        last += [Text(f"waiting for {waiting}", style="yellow")] if waiting else []
        return Group(Text(f"suite {self.suite}", style="bold"), table, *more, *warned[:3], *last)


def _cells(name: str, view: View) -> list[str]:
    failed = sum(t.state == "FAIL" for t in view.ended)
    best = "" if view.best is None else f"{view.values[view.best]:.4f} (trial {view.best})"
    running = ", ".join(str(t.number) for t in view.running)
    return [name, f"{len(view.ended)} of {view.total}", running, str(failed or ""), best]
