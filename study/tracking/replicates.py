"""Trials that differ in their seed alone, and what their scores come to: mean, standard deviation and number. Pure.

A design with seeds has several trials to a point, `confirm` several to a configuration. Each such set has a run of its
own in MLflow, with the trials below it. Its metrics are those of its trials' results, each threefold: ``….mean``,
``….std`` (n - 1; from two on) and ``….n``. The step is the number of trials that are in, in the order in which they
were finished, so that the last value is that of all of them and the ones before say how it settled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from study.question import encoders
from study.question.config import StudyConfig
from study.question.points import describe_point
from study.record.record import Phase, Report, StudyRecord, TrialRecord
from study.tracking.runs import Point, milliseconds, points

SEED = "training.seed"

COUNT = "replicates"
"""Metric of a run of replicates: how many are in."""

MEAN, SPREAD, NUMBER = ".mean", ".std", ".n"
"""Endings of the names of metrics."""


@dataclass
class Replicates:
    """The trials of one point, or of one configuration of `confirm`."""

    first: TrialRecord
    """The one that was asked first; its number stands for all."""
    label: str
    trials: list[TrialRecord] = field(default_factory=list)
    results: list[tuple[float, list[Report]]] = field(default_factory=list)
    """Unix seconds of its end, and final report on each split, of every complete trial, in the order of their ends."""

    @property
    def phase(self) -> Phase:
        """The phase that they belong to."""
        return self.first.phase

    @property
    def name(self) -> str:
        """``point 3 epsilon=0.1``, ``winner trial 12``, ``control b``: of their run, as no other's."""
        if self.phase == "run":
            return f"point {self.first.number} {self.label}"
        return self.label if self.first.control else f"{self.first.kind.replace('_', '-')} {self.label}"

    @property
    def end(self) -> float | None:
        """Unix seconds of the last end, if all have ended."""
        ends = [t.finished for t in self.trials if t.ended and t.finished is not None]
        return max(ends) if len(ends) == len(self.trials) else None

    def points(self, config: StudyConfig, sent: int = 0) -> Iterator[Point]:
        """All metrics, less those of the first `sent` steps. What is no number counts for nothing."""
        values: dict[str, list[float]] = {}
        for step, (seconds, reports) in enumerate(self.results, start=1):
            for key, value in _values(config, reports).items():
                if math.isfinite(value):
                    values.setdefault(key, []).append(value)
            if step > sent:
                yield from (
                    Point(key, value, milliseconds(seconds), step)
                    for key, value in [(COUNT, float(step)), *_moments(values)]
                )


class Aggregates:
    """The replicates of a study, from its events as they come."""

    def __init__(self) -> None:
        self._by_key: dict[str, Replicates] = {}
        self._of: dict[int, Replicates] = {}
        self._ended: set[int] = set()

    def hear(self, event: Mapping[str, Any], record: StudyRecord) -> Replicates | None:
        """Take an event into account that `record` has applied. Returns the replicates that it changed."""
        trial = record.trials.get(event.get("trial", -1))
        if trial is None:
            return None
        if event["event"] == "asked" and trial.number not in self._of and (key := _key(record, trial)) is not None:
            self._of[trial.number] = self._by_key.setdefault(key, Replicates(trial, label(trial)))
            self._of[trial.number].trials.append(trial)
            return self._of[trial.number]
        if event["event"] == "retried":
            self._ended.discard(trial.number)
        found = self._of.get(trial.number)
        # An event that changed nothing, since its driver had been taken over, may be of a trial that has ended already.
        if found is None or event["event"] != "finished" or not trial.ended or trial.number in self._ended:
            return None
        self._ended.add(trial.number)
        if trial.state == "COMPLETE" and trial.finished is not None:
            last = {r.split: r for r in trial.reports if r.evaluation.final}
            found.results.append((trial.finished, list(last.values())))
        return found

    def of(self, number: int) -> Replicates | None:
        """The replicates that a trial is one of."""
        return self._of.get(number)


def label(trial: TrialRecord) -> str:
    """What the replicates of a trial are called: ``baseline``, ``epsilon=0.1``, ``trial 12``, ``control b``."""
    if trial.phase == "confirm":
        return str(
            trial.attributes.get("configuration") or (f"control {trial.control}" if trial.control else trial.kind)
        )
    point = describe_point({k: v for k, v in trial.point.items() if k != SEED})
    if trial.kind == "baseline":
        return " ".join(
            ["baseline", *filter(None, [trial.point.get(encoders.NAME), trial.point.get(encoders.REVISION)])]
        )
    return f"control {trial.control} {point}" if trial.control else point


def _key(record: StudyRecord, trial: TrialRecord) -> str | None:
    """What replicates have in common; None for a trial that is alone by its nature."""
    if trial.phase == "confirm":
        return json.dumps([trial.phase, label(trial)])
    if record.config.get("search", {}).get("mode") != "design" or SEED not in trial.point:
        return None
    point = {k: v for k, v in trial.point.items() if k != SEED}
    return json.dumps([trial.phase, trial.kind, trial.control, point], sort_keys=True)


def _values(config: StudyConfig, reports: list[Report]) -> dict[str, float]:
    """Metrics of a trial's result; costs are those of the first split that was scored, as in the trial's run."""
    found: dict[str, float] = {}
    for report in reports:
        found = {p.key: p.value for p in points(config, report)} | found
    return found


def _moments(values: Mapping[str, list[float]]) -> Iterator[tuple[str, float]]:
    for key, known in values.items():
        yield f"{key}{MEAN}", float(np.mean(known))
        if len(known) > 1:
            yield f"{key}{SPREAD}", float(np.std(known, ddof=1))
        yield f"{key}{NUMBER}", float(len(known))
