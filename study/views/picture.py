"""The picture that a running study's events give; knows no screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from study.question.config import Objective, StudyConfig
from study.question.points import describe_point
from study.record.faults import last_line
from study.record.record import StudyRecord, TrialRecord
from study.views.tables import warning
from study.views.values import first_value
from trainables.scores import Evaluation

Event = Mapping[str, Any]

Score = Callable[[Evaluation], float | None]
"""An evaluation's value of the study's first objective, or None where it has none."""

STATES = {"asked": "waiting", "COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}
"""How the record's states are shown."""


class View:
    """The picture that a study's events give: its record, each trial's present value, and what is waited for."""

    def __init__(self, config: StudyConfig, planned: int, score: Score, begun: float | None = None) -> None:
        self.config, self.planned, self.score = config, planned, score
        self.begun = time.time() if begun is None else begun
        self.record = StudyRecord()
        self.values: dict[int, float] = {}
        self.waiting = ""
        self.most_at_once = 1

    def take_up(self, record: StudyRecord) -> None:
        """Begin with what a ledger added up to: of a study that goes on, or is watched. Its own copy from here on."""
        self.record = record
        for trial in record.trials.values():
            last = trial.evaluation()
            value = None if last is None else self.score(last)
            if value is not None:
                self.values[trial.number] = value
        begun = [(t.started, 1) for t in record.trials.values() if t.started is not None]
        ended = [(t.finished, -1) for t in record.trials.values() if t.started is not None and t.finished is not None]
        self.most_at_once = max([1, *accumulate(change for _, change in sorted([*begun, *ended]))])

    def hear(self, event: Event) -> None:
        """Take an event in."""
        if event["event"] == "waiting":
            self.waiting = str(event["for"])
            return
        if event["event"] == "note":
            return
        self.record.apply(event)
        if event["event"] == "study" and (measured := event["config"].get("measured")) != self.config.measured:
            # Objectives may go by what was not known yet when the picture was begun.
            self.config = self.config.model_copy(update={"measured": measured})
            self.score = first_value(self.config)
        if event["event"] == "report" and event["evaluation"]["split"] == "validation":
            value = self.score(Evaluation.from_json(event["evaluation"]))
            self.values.pop(event["trial"], None)
            if value is not None:
                self.values[event["trial"]] = value
        elif event["event"] == "retried" and event["fresh"]:
            self.values.pop(event["trial"], None)
        elif event["event"] == "started":
            self.most_at_once = max(self.most_at_once, len(self.running))
            self.waiting = ""

    @property
    def running(self) -> list[TrialRecord]:
        """Trials that are being trained."""
        return [t for t in self.record.trials.values() if t.state == "running"]

    @property
    def ended(self) -> list[TrialRecord]:
        """Trials that have an outcome."""
        return [t for t in self.record.trials.values() if t.ended]

    @property
    def warnings(self) -> list[str]:
        """What should not go unseen, in one line, or nothing."""
        return [line for line in [warning(list(self.record.trials.values()))] if line]

    @property
    def total(self) -> int:
        """Trials the study will have, as far as is known."""
        return max(self.planned, len(self.record.trials))

    @property
    def objective(self) -> Objective:
        """The one that ranks trials: the first without a threshold."""
        return self.config.search.optimised[0]

    @property
    def best(self) -> int | None:
        """Number of the complete trial with the best objective."""
        sign = 1 if self.objective.direction == "maximize" else -1
        ranked = [(sign * self.values[t.number], -t.number) for t in self.ended if t.state == "COMPLETE"]
        return -max(ranked)[1] if ranked else None

    def remaining(self, now: float) -> float | None:
        """Estimate of the seconds left, or None before anything is known: as many at once as there have been."""
        typical = self.typical(now)
        return None if typical is None else self.work(now, typical) / self.most_at_once

    def typical(self, now: float) -> float | None:
        """Seconds that a trial takes: the mean of those that have ended, or else from the steps of those that run."""
        known = [seconds(t, now) for t in self.ended if t.state != "FAIL" and t.started is not None]
        steps = self.config.trial.training.budget.steps
        if not known and steps:
            known = [seconds(t, now) * steps / t.reports[-1].step for t in self.running if t.reports]
        return sum(known) / len(known) if known else None

    def work(self, now: float, typical: float) -> float:
        """Seconds that what is left takes, one trial after another, of so many seconds each."""
        left = sum(max(0.0, typical - seconds(t, now)) for t in self.running)
        return left + typical * (self.total - len(self.ended) - len(self.running))

    def summary(self, now: float) -> str:
        """One line: how far, how long, how much longer."""
        failed = sum(t.state == "FAIL" for t in self.ended)
        left = self.remaining(now)
        parts = [
            f"{len(self.ended)} of {self.total} trials" + (f" ({failed} failed)" if failed else ""),
            f"elapsed {clock(now - self.begun)}",
            "about " + clock(left) + " left" if left is not None else "estimating what is left",
        ]
        if self.best is not None:
            parts.append(f"best {self.values[self.best]:.4f} (trial {self.best})")
        return " · ".join(parts)

    def lines(self, event: Event) -> Iterator[str]:
        """An event in words, after it was heard, and where a trial has ended how far the study is."""
        yield from self.words(event)
        if event["event"] == "finished":
            yield self.summary(event["time"])

    def words(self, event: Event) -> Iterator[str]:
        """An event in words, after it was heard."""
        number = event.get("trial", -1)
        trial = self.record.trials.get(number)
        value = f"{self.values[number]:.4f}" if number in self.values else ""
        match event["event"]:
            case "waiting":
                yield f"waiting for {event['for']}"
            case "note":
                yield event["words"]
            case "stopped":
                yield f"stopped: {event['cause']}"
            case "asked" if trial:
                yield f"trial {trial.number} {trial.called}".rstrip() + f": {describe_point(trial.point)}"
            case "started":
                yield f"trial {number} started" + (f", attempt {event['attempt']}" if event["attempt"] > 1 else "")
            case "report":
                yield f"trial {number} step {event['step']}" + (f": {self.objective.name} {value}" if value else "")
                first = trial.fruitless if trial is not None else None
                if (
                    trial is not None
                    and first is not None
                    and (first.step, first.time) == (event["step"], event["time"])
                ):
                    yield warning([trial])
            case "finished" if trial:
                text = f"trial {number} {STATES[event['outcome']]}"
                yield text + (f": {last_line(trial.error)}" if trial.error else f" at {value}" if value else "")
            case "retried":
                yield f"trial {number} runs again, {'from the start' if event['fresh'] else 'from its last checkpoint'}"
            case "test_opened":
                yield "the test split is opened"
            case "look":
                pair = f"{event['treatment']} − {event['control']}"
                p = f"p {event['p']:.3g}, bound {event['bound']:.3g}"
                yield f"look at {event['seeds']} seeds, {pair}: {p}: {event['verdict']}"

    def table(self, now: float, width: int, height: int) -> RenderableType:
        """The live picture for a terminal of this size: running trials first, then the best, then the latest."""
        trials = self.record.trials
        warned = [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in self.warnings]
        shown = self._rows(max(1, height - 6 - len(warned)))
        wide = width >= 100
        table = Table(box=None, padding=(0, 1), header_style="bold")
        for title in ("trial", "state", "attempt", "step", self.objective.name, "time"):
            table.add_column(title, justify="left" if title in ("trial", "state") else "right", no_wrap=True)
        if wide:
            table.add_column("point", no_wrap=True, overflow="ellipsis", max_width=width - 70)
        for t in shown:
            table.add_row(*self._cells(t, now), *([_about(t)] if wide else []), style=_STYLES.get(t.state, ""))
        hidden = len(trials) - len(shown)
        more = [Text(f"… and {hidden} more trials", style="dim")] if hidden > 0 else []
        waiting = [Text(f"waiting for {self.waiting}", style="yellow")] if self.waiting else []
        last = Text(self.summary(now), no_wrap=True, overflow="ellipsis")
        return Group(Text(f"study {self.config.name}", style="bold"), table, *more, *warned, last, *waiting)

    def _cells(self, trial: TrialRecord, now: float) -> list[str]:
        value = f"{self.values[trial.number]:.4f}" if trial.number in self.values else ""
        return [
            f"{trial.number} {trial.called}".rstrip(),
            STATES.get(trial.state, trial.state),
            str(trial.attempts or ""),
            str(trial.reports[-1].step) if trial.reports else "",
            value + (" *" if trial.number == self.best else "  "),
            clock(seconds(trial, now)) if trial.started is not None else "",
        ]

    def _rows(self, room: int) -> list[TrialRecord]:
        ranked = sorted(
            self.record.trials.values(), key=lambda t: (t.state != "running", t.number != self.best, -t.number)
        )
        return sorted(ranked[:room], key=lambda t: t.number)


def seconds(trial: TrialRecord, now: float) -> float:
    """Seconds that a trial's last attempt has taken; 0 before the first, and where the clock was set back."""
    return 0.0 if trial.started is None else max(0.0, (trial.finished or now) - trial.started)


def _about(trial: TrialRecord) -> str:
    return last_line(trial.error) if trial.error else describe_point(trial.point)


_STYLES = {"running": "cyan", "FAIL": "red", "asked": "dim"}


def clock(seconds: float) -> str:
    """``1:05``, ``2:03:04``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
