"""Sends a ledger to MLflow. Level-triggered: what a run must hold is compared with what was sent, and the rest sent.

Whatever is sent twice is there once: runs are found by their tags (`store`), and points carry the ledger's times.
Trials that have ended before their run was begun become rows of MLflow's own file, where that can be done (`whole`);
for all else `MlflowClient` is used, in batches, its own retries off, since a repeated request may create a run twice.
A server gets several trials at once, the requests of each in their order (`together`). While there is more to be read,
trials that have not ended yet are put off: most of them end a few lines on; so are those that failed, which may have
been retried further down.
MLflow can't take back a point: a run that holds one which the ledger no longer counts is deleted and written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from study.question.config import StudyConfig
from study.record.lines import Tail
from study.record.place import Place
from study.record.record import Report, StudyRecord, TrialRecord
from study.tracking import agreement, runs
from study.tracking.answers import is_lost, is_refused, reason
from study.tracking.charts import Views, view_tag
from study.tracking.replicates import Aggregates, Replicates
from study.tracking.runs import AGGREGATE, PARENT, PHASE, POINT, STATUS, STUDY, TRIAL, UUID, Point, milliseconds
from study.tracking.server import public
from study.tracking.store import Key, Run, Store
from study.tracking.together import together
from study.tracking.whole import Whole
from trainables.scores import Split

Say = Callable[[str], None]
"""Shows one line to the user."""

CHUNK = 200
"""Events read at a time: the bound of what is held in memory."""

PARENT_KEY: Key = (PHASE, STUDY)


Outcome = tuple[float | None, str] | None
"""When a trial ended, and how; None while it has not. A retried trial has another one than before."""


@dataclass
class _Trial(Run):
    """The run of a trial."""

    outcome: Outcome = None
    """The trial's, as the run has it."""
    sent: dict[tuple[int, Split], int] = field(default_factory=dict)
    """(step, split) of the reports in it -> their attempt."""
    has_parameters: bool = False


@dataclass
class _Point(Run):
    """The run of replicates."""

    sent: int = 0
    """Steps in it."""
    has_parameters: bool = False


class Mirror:
    """One study's ledger on its way to MLflow. After an exception the same call goes on where it broke off.

    `uri` None is the SQLite file under the studies' root; `say` hears of single runs that MLflow refuses. `record` is
    what the ledger adds up to as far as it was read, less the reports of trials that are done with for good; `sent`
    counts the events of the ledger that are in MLflow.
    """

    def __init__(self, place: Place, uri: str | None, say: Say) -> None:
        self.place, self.ledger = place, place.ledger
        self.store = Store(uri, place.root, place.name)
        self.uri = self.store.uri
        self._say = say
        self._said: set[str] = set()
        self._saying = Lock()
        self._forget()

    def _forget(self) -> None:
        """Start over, as when the server has lost what it had."""
        self.store.forget()
        self.record = StudyRecord()
        self._tail = Tail(self.ledger)
        self._read = self.sent = 0
        self._pending: dict[int | None, int] = {}
        """Trials (None: what is about none) whose events were read -> how many of them are still to be sent."""
        self._put_off: dict[int | None, int] = {}
        self._due: dict[int, Replicates] = {}
        self._is_behind = False
        self._config: StudyConfig | None = None
        self._parent: Run | None = None
        self._children: dict[int, _Trial] = {}
        self._points: dict[int, _Point] = {}
        self._is_new = False
        self._stored = ""
        self._aggregates = Aggregates()
        self._views = Views()
        self._view_tags: dict[str, str] = {}

    def advance(self) -> bool:
        """Read and send the next chunk of events. False if there was none. Raises whatever MLflow raises."""
        if not self._pending and self.ledger.exists():
            before, self._pending, self._put_off = self._read, self._put_off, {}
            for event in islice(self._tail.poll(), CHUNK):
                self.record.apply(event)
                self._read += 1
                number = event.get("trial")
                self._pending[number] = self._pending.get(number, 0) + 1
                if (changed := self._aggregates.hear(event, self.record)) is not None:
                    self._due[changed.first.number] = changed
            self._is_behind = self._read - before == CHUNK
        if not self._pending and not self._due:
            return False
        try:
            self._send()
        except Exception as error:
            self.store.fare(well=False)
            if is_lost(error):
                self._forget()
            raise
        self.store.fare(well=True)
        self.sent = self._read - sum(self._put_off.values())
        return True

    def finish(self) -> None:
        """To be called once all is sent: ends the parent run if every trial has ended, and those of replicates."""
        if self._parent is None:
            return
        self._store_configuration()
        self.store.drop_doubles(PARENT_KEY, self._parent)
        for number, run in self._points.items():
            of = self._aggregates.of(number)
            if of is not None:
                self._end_point(of, run)
        if self.record.trials and not self.record.left and self.record.last_time is not None:
            self.store.end(PARENT_KEY, self._parent, "FINISHED", self.record.last_time)

    def unsent(self) -> int:
        """Events in the ledger that are not yet in MLflow."""
        if not self.ledger.exists():
            return 0
        with self.ledger.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - self.sent

    @property
    def parent(self) -> tuple[Any, Any]:
        """MLflow's client, and the parent run as it has it."""
        assert self._parent is not None, "the ledger has not been sent"
        return self.store.client, self.store.client.get_run(self._parent.id)

    def keep(self, paths: Sequence[Path], folder: str) -> None:
        """Store files and folders with the parent run."""
        assert self._parent is not None, "the ledger has not been sent"
        self.store.keep(self._parent, paths, folder)

    def _send(self) -> None:
        if self.record.uuid is None:
            self._pending.clear()
            return
        self.store.uuid = self.record.uuid
        if None in self._pending or self._parent is None:
            self._config = StudyConfig.model_validate(self.record.config)
            self._write_parent()
        # Replicates lie far apart in a ledger: whether their run agrees with it is known once it has been read.
        for of in [] if self._is_behind else list(self._due.values()):
            if not self._takes(f"the mean of {of.name}", partial(self._write_point, of)):
                self._points[of.first.number] = _Point("", {}, ended=True)
            del self._due[of.first.number]
        trials = self.record.trials
        pending = [trials[number] for number in self._pending if number in trials]
        for trial in pending:
            self._views.note(trial, self._aggregates.of(trial.number) is not None)
            # How it goes on, and whether its run agrees, is further down; who failed may have been retried there.
            if self._is_behind and (not trial.ended or trial.state == "FAIL"):
                self._put_off[trial.number] = self._pending.pop(trial.number)
        pending = [trial for trial in pending if trial.number in self._pending]
        self._write_whole(pending)
        together(self._send_trial, pending, self.store.threads)
        self._write_views()
        self._pending.clear()

    def _send_trial(self, trial: TrialRecord) -> None:
        """All requests of one trial, in their order; not of two at once of the same one."""
        if not self._takes(f"trial {trial.number}", partial(self._write_trial, trial)):
            self._children[trial.number] = _Trial("", {}, ended=True, outcome=_outcome(trial))
        del self._pending[trial.number]

    def _takes(self, what: str, write: Callable[[bool], None]) -> bool:
        """Whether MLflow takes a run. One that it refuses is written anew once: what comes after it is not held up."""
        try:
            write(False)
        except Exception as error:
            if not is_refused(error):
                raise
            try:
                write(True)
            except Exception as again:
                if not is_refused(again):
                    raise
                self._say_once("refused", f"MLflow left out {what}: it {reason(again, self.uri)}")
                return False
        return True

    def _say_once(self, kind: str, line: str) -> None:
        with self._saying:
            if kind not in self._said:
                self._said.add(kind)
                self._say(line)

    # The parent run

    def _write_parent(self) -> None:
        assert self._config is not None
        if self._parent is None:
            self._is_new = not self.store.find()
            begun = self.record.sessions[0]["time"] if self.record.sessions else self.record.last_time
            self._parent = self.store.run(PARENT_KEY, self.place.name, begun or 0.0, {}, look=not self._is_new)
        self.store.log(self._parent, tags=runs.study_tags(self.record, self._config))
        self._store_configuration()

    def _store_configuration(self) -> None:
        """The configuration as an artifact, the data as inputs. Artifacts may have a store that fails by itself."""
        assert self._parent is not None
        assert self._config is not None
        text = yaml.safe_dump(self.record.config, sort_keys=False, allow_unicode=True)
        if text == self._stored:
            return
        try:
            self.store.describe(self._parent, {"study.yaml": text}, runs.datasets(self.record, self._config))
        except Exception as error:
            self._say_once("artifact", f"MLflow at {public(self.uri)} took no artifact: it {reason(error, self.uri)}")
        else:
            self._stored = text

    def _write_views(self) -> None:
        assert self._config is not None
        trials = {number: run.id for number, run in self._children.items()}
        points = {number: run.id for number, run in self._points.items()}
        for view in self._views.views(trials, points):
            key, value = view_tag(self.store.uuid, self._config, view)
            if self._view_tags.get(key) != value:
                self.store.client.set_experiment_tag(self.store.experiment, key, value)
                self._view_tags[key] = value

    # Runs of replicates

    def _write_point(self, of: Replicates, anew: bool = False) -> None:
        assert self._config is not None
        run = self._points.get(of.first.number)
        if run is None or anew:
            run = self._start_point(of, anew)
        if run.left_out:
            return
        points = list(of.points(self._config, run.sent))
        parameters = {} if run.has_parameters else runs.point_parameters(self._config, of.first)
        self.store.log(run, points, parameters, runs.point_tags(self._config, of.first, of.label))
        run.has_parameters, run.sent = True, len(of.results)
        if len(of.trials) >= runs.replicates(self._config, of.phase):
            self._end_point(of, run)

    def _start_point(self, of: Replicates, anew: bool) -> _Point:
        """Their run, with the trials that are there already below it."""
        assert self._parent is not None
        number = of.first.number
        tags = {PHASE: AGGREGATE[of.phase], PARENT: self._parent.id}
        found = self.store.run(
            (POINT, str(number)),
            of.name,
            of.first.asked,
            tags,
            partial(agreement.of_replicates, self.store, of),
            not self._is_new,
            anew,
        )
        run = self._points[number] = _Point(found.id, found.tags, found.ended)
        self.store.log(run, tags=tags)
        for trial in of.trials:
            child = self._children.get(trial.number)
            if child is not None and not child.left_out:
                self.store.log(child, tags={PARENT: run.id})
        return run

    def _end_point(self, of: Replicates, run: _Point) -> None:
        if not run.left_out and of.end is not None:
            self.store.end((POINT, str(of.first.number)), run, "FINISHED" if of.results else "FAILED", of.end)

    # Runs of trials

    def _write_whole(self, trials: Sequence[TrialRecord]) -> None:
        """Those that have ended and are not there, at once, where that is possible.

        `_write_trial` finds them ended, as it does those that are there and agree.
        """
        assert self._parent is not None
        new = [trial for trial in trials if trial.number not in self._children and trial.ended]
        there, wholes = {} if self._is_new else self.store.there([trial.asked for trial in new]), []
        for trial in new:
            if trial.finished is None:
                continue
            if trial.number not in there:
                with suppress(Exception):  # whatever it is, `_write_trial` meets it too, and says so
                    wholes.append(self._whole(trial, trial.finished))
            elif (above := self._above(trial.number)) is not None:
                status, times = STATUS[trial.state], (milliseconds(trial.asked), milliseconds(trial.finished))
                found = there[trial.number]
                if (found.status, found.times, found.parent) == (status, times, above.id):
                    self._children[trial.number] = _Trial(found.id, {PARENT: above.id}, True, _outcome(trial))
        for number, run in self.store.write_whole(self._parent, wholes).items():
            self._children[number] = _Trial(run.id, run.tags, True, _outcome(self.record.trials[number]))

    def _whole(self, trial: TrialRecord, ended: float) -> Whole:
        assert self._config is not None
        assert self._parent is not None
        return Whole(
            trial.number,
            runs.trial_name(trial),
            trial.asked,
            ended,
            STATUS[trial.state],
            {UUID: self.store.uuid, TRIAL: str(trial.number), PARENT: self._parent.id} | self._tags(trial),
            runs.trial_parameters(self._config, trial),
            self._report_points(trial, trial.reports),
        )

    def _write_trial(self, trial: TrialRecord, anew: bool = False) -> None:
        config = self._config
        assert config is not None
        run = self._children.get(trial.number)
        is_retried = run is not None and run.ended and not (trial.ended and run.outcome == _outcome(trial))
        if run is None or anew or is_retried:
            run = self._children[trial.number] = self._start(trial, anew or is_retried)
        if not run.ended:
            reports = [r for r in trial.reports if run.sent.get((r.step, r.split)) != r.attempt]
            kept = len(trial.reports) - len(reports)
            if kept < len(run.sent):  # a later attempt repeated a step, or began from nothing
                run = self._children[trial.number] = self._start(trial, anew=True)
                reports = trial.reports
            parameters = {} if run.has_parameters else runs.trial_parameters(config, trial)
            self.store.log(run, self._report_points(trial, reports), parameters, self._tags(trial))
            run.has_parameters = True
            run.sent |= {(r.step, r.split): r.attempt for r in reports}
            if trial.ended and trial.finished is not None:
                self.store.end((TRIAL, str(trial.number)), run, STATUS[trial.state], trial.finished)
                run.outcome = _outcome(trial)
        if run.ended and trial.ended and trial.state != "FAIL":  # who failed may be retried
            trial.reports, trial.distributions, trial.attributes = [], {}, {}

    def _start(self, trial: TrialRecord, anew: bool) -> _Trial:
        """The trial's run: the one that is there, or a new one; with `anew` always a new one."""
        assert self._parent is not None
        key = (TRIAL, str(trial.number))
        agrees = partial(agreement.of_trial, self.store, trial)
        tags = {PARENT: self._parent.id} | self._tags(trial)
        found = self.store.run(key, runs.trial_name(trial), trial.asked, tags, agrees, not self._is_new, anew)
        above = self._above(trial.number)
        if above is not None:  # one that was there may be below another
            self.store.log(found, tags={PARENT: above.id})
        if not trial.ended:
            for parent in (self._parent, above or self._parent):
                self.store.reopen(parent)
        return _Trial(found.id, found.tags, found.ended, _outcome(trial) if found.ended else None)

    def _tags(self, trial: TrialRecord) -> dict[str, str]:
        """All but those by which it is found; a run above that is not there yet is named once it is."""
        assert self._config is not None
        of, above = self._aggregates.of(trial.number), self._above(trial.number)
        label = {} if of is None else {"configuration": of.label}
        parent = {} if above is None else {PARENT: above.id}
        return {PHASE: trial.phase} | parent | runs.trial_tags(self._config, trial) | label

    def _report_points(self, trial: TrialRecord, reports: Sequence[Report]) -> list[Point]:
        assert self._config is not None
        return [p for r in reports for p in runs.points(self._config, r, with_costs=_is_first(r, trial))]

    def _above(self, number: int) -> Run | None:
        """The run that a trial's is a child of: that of its replicates, if it has any; None if it is not there yet."""
        of = self._aggregates.of(number)
        above = self._parent if of is None else self._points.get(of.first.number)
        return self._parent if above is not None and above.left_out else above


def _outcome(trial: TrialRecord) -> Outcome:
    return (trial.finished, trial.state) if trial.ended else None


def _is_first(report: Report, trial: TrialRecord) -> bool:
    """Whether it is the first report of its step: validation and test may both be scored there."""
    return next(r for r in trial.reports if r.step == report.step) is report
