"""What a study's events add up to: a reader's view of the ledger, built event by event."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trainables import languages
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.scores import Evaluation, Split

Phase = Literal["run", "confirm"]
State = Literal["asked", "running", "COMPLETE", "PRUNED", "FAIL"]

RETRYING = 2
"""The schema in which a trial's failure may be taken back (`retried`): a ledger is of it once one was. A reader who did
not know would take the old outcome for the last one, and rank without the new."""

SCHEMA = RETRYING
"""The latest of a ledger's events that is read here: raised when one changes its meaning, not when one, or a field of
one, is added. Studies begin with schema 1, which earlier versions read too; ledgers that name none are of it."""


@dataclass(frozen=True)
class Report:
    """One evaluation of a trial. Kept packed: a study of 10,000 trials has millions of scores."""

    attempt: int
    step: int
    split: Split
    time: float
    """Unix seconds."""
    packed: bytes
    loss_rise: float | None = None
    """What the ascent won since the report before, per item; none where there was no ascent."""
    place: int = 0
    """Of its event in the ledger, from 1."""

    @property
    def evaluation(self) -> Evaluation:
        """Unpacked anew at each access."""
        return Evaluation.from_json(json.loads(self.packed))


def result_of(evaluations: Sequence[Evaluation], trial: TrialConfig) -> Evaluation | None:
    """The evaluation that is a trial's score, of those on one split in the order of their steps: the final one.

    It has the costs of the whole training and, where that is asked for, the scores under attack and the certificates.
    Its step is that of the checkpoint which it scored: the last (or what is averaged up to it), or the one best on the
    source language (the earliest of equals), which is loaded and scored again at the end. None without a final one.
    """
    if not evaluations or not evaluations[-1].final:
        return None
    final = evaluations[-1]
    if trial.evaluation.checkpoint != "best_source_validation":
        return final
    given = trial.task.source_language
    source = given if given in final.primary.values else languages.normalize(given)
    known = [e for e in evaluations if not math.isnan(e.primary.values.get(source, math.nan))]
    best = max(known, key=lambda e: e.primary[source], default=final)
    return replace(final, step=best.step)


ORDINARY = ("sampled", "design", "single")
"""Kinds of trial that need no mention."""

ARM = "arm"
"""Attribute of a trial of phase `run`: whose it is, where a study's arms have searches of their own."""


@dataclass
class TrialRecord:
    """Everything the ledger knows of one trial."""

    number: int
    phase: Phase
    kind: str
    """``baseline``, ``sampled``, ``enqueued``, ``design``, ``single``; in `confirm` ``winner``, ``control`` …"""
    control: str | None
    """Letter of the standard control this trial belongs to, if any."""
    point: dict[str, Any]
    """Dotted path -> value, laid over the study's base configuration."""
    distributions: dict[str, Any]
    """Dimension -> Optuna's JSON form of its distribution; empty where nothing was sampled."""
    attributes: dict[str, Any]
    """What proposer and phase need to remember of this trial."""
    asked: float
    attempts: int = 0
    """Executions so far, the present one included."""
    state: State = "asked"
    reports: list[Report] = field(default_factory=list)
    """In the order of their steps; one per step and split, that of the highest attempt."""
    error: str | None = None
    started: float | None = None
    """Unix seconds of the last start."""
    finished: float | None = None
    retries: int = 0
    """How often its failure was taken back, for it to run again."""
    mean: str | None = None
    """Name of the mean of several trials' weights that its own are in."""
    asked_place: int = 0
    """Place in the ledger of the event that asked it, from 1."""
    finished_place: int = 0
    """That of its end."""

    @property
    def arm(self) -> str | None:
        """Of a study with arms whose it is; none if it is of no arm."""
        arm = self.attributes.get(ARM)
        return None if arm is None else str(arm)

    @property
    def called(self) -> str:
        """What it is beside its number: its kind if it is no ordinary point, or whose arm's; often nothing."""
        return self.kind if self.kind not in ORDINARY else self.arm or ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it, unless it failed and is retried."""
        return self.state not in ("asked", "running")

    @property
    def fence(self) -> int:
        """The first attempt whose events count: the present one, or the next of a trial that is retried."""
        return self.attempts + (self.state == "asked" and self.retries > 0)

    @property
    def fruitless(self) -> Report | None:
        """The first report before which the ascent raised nothing; none where it always did, or there was none."""
        return next((r for r in self.reports if r.loss_rise is not None and not r.loss_rise > 0.0), None)

    def evaluation(self, split: Split = "validation") -> Evaluation | None:
        """The last evaluation on a split, or None."""
        return next((r.evaluation for r in reversed(self.reports) if r.split == split), None)

    def result(self, trial: TrialConfig, split: Split = "validation") -> Evaluation | None:
        """The evaluation that is this trial's score on a split (`result_of`); which checkpoint counts is no dimension,
        so that `trial` may be the study's base. None without a final one."""
        return result_of([r.evaluation for r in self.reports if r.split == split], trial)


@dataclass
class StudyRecord:
    """A study as its events tell it. `apply` takes them one at a time, so that a reader can follow a ledger."""

    schema: int = 1
    uuid: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """The resolved study configuration, as JSON types."""
    code_version: str | None = None
    fingerprints: dict[str, Any] = field(default_factory=dict)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    """All fingerprints that the study ever had; the last are `fingerprints`."""
    protocol_hash: str | None = None
    trials: dict[int, TrialRecord] = field(default_factory=dict)
    """By number, in the order they were asked."""
    openings: list[dict[str, Any]] = field(default_factory=list)
    """The `test_opened` events."""
    agreed: dict[str, Any] | None = None
    """The `looks` event: when a confirmation looks at its endpoint, and when it stops; none without looks."""
    looks: list[dict[str, Any]] = field(default_factory=list)
    """The `look` events."""
    sessions: list[dict[str, Any]] = field(default_factory=list)
    """The `opened` events: one per driver that wrote this ledger."""
    borrowed: list[TrialRecord] = field(default_factory=list)
    """Ended trials of other studies that the search learnt from, under the numbers they have there."""
    stopped: str | None = None
    """Why phase `run` ended before its number of trials was reached, unless it has gone on since."""
    spent: bool = False
    """Whether that is a budget: then none of its trials begins any more, unless a failed one is retried."""
    last_time: float | None = None
    """Unix seconds of the last event."""
    length: int = 0
    """Events so far: the last one's place."""
    active_seconds: float = 0.0
    """Time between events within sessions: what the study took, without the time it lay still."""
    elapsed: float = 0.0
    """Seconds of the last session, up to its last event."""

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> StudyRecord:
        """The record of a whole ledger."""
        record = cls()
        for event in events:
            record.apply(event)
        return record

    def copied(self, phase: Phase | None = None) -> StudyRecord:
        """One that can take further events by itself; of one phase's trials alone."""
        kept = {n: t for n, t in self.trials.items() if phase in (None, t.phase)}
        return replace(
            self,
            trials={n: replace(t, reports=list(t.reports)) for n, t in kept.items()},
            recorded=list(self.recorded),
            openings=list(self.openings),
            looks=list(self.looks),
            sessions=list(self.sessions),
            borrowed=list(self.borrowed),
        )

    @property
    def left(self) -> list[TrialRecord]:
        """Trials that are still to end: not those that a spent budget keeps from beginning."""
        trials = (t for t in self.trials.values() if not t.ended)
        return [t for t in trials if t.attempts or not (self.spent and t.phase == "run")]

    @property
    def epoch(self) -> int:
        """Number of the present ownership; 0 before the first."""
        return int(self.sessions[-1]["epoch"]) if self.sessions else 0

    @property
    def phase(self) -> Phase:
        """The phase whose trials may still change: those of `run` are fixed once the test split was opened."""
        return "confirm" if self.openings else "run"

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take the next event. Those of a driver that had been taken over, and of older attempts, change nothing.

        Raises `UserError` for a study of a later schema: what its events say is not known here.
        """
        self.length += 1
        if event.get("epoch", self.epoch) < self.epoch:
            return
        if event["event"] == "opened":
            self.elapsed = 0.0
        elif self.last_time is not None:
            since = event["time"] - self.last_time  # of earlier versions; a clock may be set, and a machine sleep
            spent = max(event["elapsed"] - self.elapsed if "elapsed" in event else since, 0.0)
            self.active_seconds, self.elapsed = self.active_seconds + spent, self.elapsed + spent
        handler = getattr(self, f"_{event['event']}", None)
        if handler is not None:  # events of a newer version are skipped
            handler(event)
        self.last_time = event["time"]

    def _opened(self, event: Mapping[str, Any]) -> None:
        self.sessions.append(dict(event))
        if self.uuid is None:  # who borrowed was killed before the study began: the next one borrows anew
            self.borrowed = []

    def _stopped(self, event: Mapping[str, Any]) -> None:
        self.stopped, self.spent = event["cause"], event.get("spent", False)

    def _go_on(self, phase: Phase) -> None:
        if phase == "run":
            self.stopped, self.spent = None, False

    def _study(self, event: Mapping[str, Any]) -> None:
        self.schema = int(event.get("schema", 1))
        if self.schema > SCHEMA:
            raise UserError(
                f"{event['config'].get('name', 'study')}: its ledger has schema {self.schema}, this version reads up "
                f"to {SCHEMA}; it was written by version {event['code_version']}, or a later one is needed"
            )
        self.uuid = self.uuid or event["uuid"]
        self.config = event["config"]
        self.code_version = event["code_version"]
        self.fingerprints = event["fingerprints"]
        self.recorded.append(self.fingerprints)
        self.protocol_hash = event["protocol_hash"]

    def _test_opened(self, event: Mapping[str, Any]) -> None:
        self.openings.append(dict(event))

    def _looks(self, event: Mapping[str, Any]) -> None:
        self.agreed = dict(event)

    def _look(self, event: Mapping[str, Any]) -> None:
        self.looks.append(dict(event))

    def _asked(self, event: Mapping[str, Any]) -> None:
        self._go_on(event["phase"])
        self.trials[event["trial"]] = TrialRecord(
            number=event["trial"],
            phase=event["phase"],
            kind=event["kind"],
            control=event.get("control"),
            point=dict(event["point"]),
            distributions=dict(event.get("distributions", {})),
            attributes=dict(event.get("attributes", {})),
            asked=event["time"],
            asked_place=self.length,
        )

    def _borrowed(self, event: Mapping[str, Any]) -> None:
        reports = [
            Report(1, e["step"], e["split"], event["time"], json.dumps(e).encode()) for e in event["evaluations"]
        ]
        self.borrowed.append(
            TrialRecord(
                number=event["trial"],
                phase="run",
                kind="borrowed",
                control=None,
                point=dict(event["point"]),
                distributions=dict(event["distributions"]),
                attributes={"study": event["study"], "uuid": event["uuid"]},
                asked=event["time"],
                attempts=1,
                state=event["outcome"],
                reports=reports,
                finished=event["time"],
            )
        )

    def _started(self, event: Mapping[str, Any]) -> None:
        trial = self.trials[event["trial"]]
        if not trial.ended and event["attempt"] > trial.attempts:
            if not self.spent:  # or it was interrupted, and ends what is spent
                self._go_on(trial.phase)
            trial.attempts, trial.state, trial.started = event["attempt"], "running", event["time"]

    def _report(self, event: Mapping[str, Any]) -> None:
        trial = self.trials[event["trial"]]
        if trial.ended or event["attempt"] < trial.fence:
            return
        data = event["evaluation"]
        packed, rise = json.dumps(data).encode(), data["training"].get("loss_rise")
        new = Report(event["attempt"], event["step"], data["split"], event["time"], packed, rise, self.length)
        same = [r for r in trial.reports if (r.step, r.split) == (new.step, new.split)]
        if same and same[0].attempt >= new.attempt:
            return
        trial.reports = sorted([r for r in trial.reports if r not in same] + [new], key=lambda r: r.step)

    def _finished(self, event: Mapping[str, Any]) -> None:
        trial = self.trials[event["trial"]]
        if not trial.ended and event["attempt"] >= trial.fence:
            trial.attempts = event["attempt"]
            trial.state, trial.error, trial.finished = event["outcome"], event["error"], event["time"]
            trial.finished_place = self.length

    def _averaged(self, event: Mapping[str, Any]) -> None:
        self.trials[event["trial"]].mean = event["mean"]

    def _retried(self, event: Mapping[str, Any]) -> None:
        trial = self.trials[event["trial"]]
        if trial.state == "FAIL":
            self._go_on(trial.phase)
            trial.state, trial.error, trial.started, trial.finished = "asked", None, None, None
            trial.retries += 1
            if event["fresh"]:
                trial.reports = []
