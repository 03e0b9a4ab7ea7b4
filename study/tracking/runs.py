"""What MLflow is to show of a study, computed from its record alone: pure functions.

The parent run is the study, its children are the trials. Trials that differ in their seed alone are the children of a
run of their own in between (`replicates`). All but the study have the same parameters: the trial's complete
configuration, flat, so that parallel coordinates, scatter and contour charts can take any of them. Steps are optimiser
steps and times are the ledger's, so that a point sent twice is the same point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from study.question.config import StudyConfig
from study.question.objectives import UnscoredError, reduce, summary
from study.record.record import Phase, Report, StudyRecord, TrialRecord
from trainables.config import TrialConfig
from trainables.loading import apply_point, flat
from trainables.scores import Evaluation, summary_key

UUID, TRIAL, POINT, PHASE = "study.uuid", "study.trial", "study.point", "phase"
"""Tags by which runs are found again: the study; the trial's number (of trials only); the number of the first trial of
replicates (of their run only); and `STUDY`, run, confirm or an `AGGREGATE`."""

PARENT = "mlflow.parentRunId"
"""MLflow's own tag by which a run is a child."""

STUDY = "study"
"""The phase of the parent run."""

AGGREGATE: dict[Phase, str] = {"run": "points", "confirm": "configurations"}
"""The phase of the runs of replicates, by the phase of their trials."""

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
"""Outcome of a trial -> MLflow's status of a run."""

MAX_TAG = 5000
"""Characters of a tag or a parameter that every MLflow store takes."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
REFERENCE_COLOUR = "#444444"
"""Of runs in charts: MLflow's own colours often fall together. Those of Okabe and Ito (2008), made for colour-blind
eyes too."""

MAGNITUDES = ("perturbation.epsilon", "perturbation.sigma", "perturbation.ascent_steps", "perturbation.rho")
"""Shown as 0 where nothing is perturbed, whatever the configuration has in store."""


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    milliseconds: int
    step: int


def milliseconds(seconds: float) -> int:
    """The ledger's time as MLflow has it."""
    return round(seconds * 1000)


def is_reference(trial: TrialRecord) -> bool:
    """Whether the others of its phase are compared with it: the baseline, and control (a) in `confirm`."""
    return trial.kind == "baseline" if trial.phase == "run" else trial.control == "a"


def study_tags(record: StudyRecord, config: StudyConfig) -> dict[str, str]:
    """Tags of the parent run."""
    tags = {
        "mlflow.note.content": config.question,
        "code_version": record.code_version,
        "protocol_hash": record.protocol_hash,
        "selection_rule": config.protocol.selection,
        "primary_endpoint": config.protocol.endpoint,
        "mode": config.search.mode,
        "sampler": config.search.sampler,
        "test_openings": len(record.openings),
        **_looks(record),
        **_trial_kind(config.trial),
        **{f"fingerprint.{name}": value for name, value in flat(record.fingerprints)},
    }
    return {metric_key(name): _text(value)[:MAX_TAG] for name, value in tags.items()}


def _looks(record: StudyRecord) -> dict[str, object]:
    """Of a confirmation that looks as seeds come in: after how many it looked, of how many, and what it found."""
    if record.agreed is None:
        return {}
    taken = ", ".join(str(look["seeds"]) for look in record.looks)
    verdict = record.looks[-1]["verdict"] if record.looks else "none yet"
    return {"looks": f"{taken or 'none'} of {record.agreed['looks'][-1]} seeds: {verdict}"}


def trial_tags(config: StudyConfig, trial: TrialRecord) -> dict[str, str]:
    """Tags of a child run, apart from those it is found by."""
    full = apply_point(config.trial, trial.point)
    tags = {
        "kind": trial.kind,
        "seed": full.training.seed,
        "attempts": trial.attempts,
        "mlflow.runColor": REFERENCE_COLOUR if is_reference(trial) else COLOURS[trial.number % len(COLOURS)],
        "selection_rule": config.protocol.selection,
        **_trial_kind(full),
    }
    if trial.control is not None:
        tags["control"] = trial.control
    if trial.arm is not None:
        tags["arm"] = trial.arm
    if trial.error is not None:
        tags["mlflow.note.content"] = f"```\n{trial.error[-MAX_TAG + 10 :]}\n```"
    return {name: _text(value)[:MAX_TAG] for name, value in tags.items()}


def point_tags(config: StudyConfig, first: TrialRecord, label: str) -> dict[str, str]:
    """Tags of the run of replicates, apart from those it is found by."""
    tags = trial_tags(config, first)
    several = "Mean, standard deviation (n − 1) and number over the runs below, which differ in their seed alone."
    kept = {k: v for k, v in tags.items() if k not in ("seed", "attempts", "mlflow.note.content")}
    return {**kept, "configuration": label[:MAX_TAG], "mlflow.note.content": several}


def point_parameters(config: StudyConfig, first: TrialRecord) -> dict[str, str]:
    """What all replicates of a trial have in common: dotted path -> text."""
    return {path: value for path, value in trial_parameters(config, first).items() if path != "training.seed"}


def replicates(config: StudyConfig, phase: Phase) -> int:
    """Trials that a point, or a configuration of `confirm`, is to have."""
    return config.search.replicates if phase == "run" else config.protocol.most_seeds


def _trial_kind(trial: TrialConfig) -> dict[str, Any]:
    return {
        "task": trial.task.name,
        "source_language": trial.task.source_language,
        "encoder": trial.encoder.name_or_path,
        "method": trial.perturbation.method,
        "augmentation": trial.augmentation.method,
    }


def trial_name(trial: TrialRecord) -> str:
    """Name of a child run: ``trial 3``, ``trial 4 adversarial`` of an arm, ``trial 12 confirm control b``."""
    phase = "" if trial.phase == "run" else trial.phase
    return " ".join(part for part in (f"trial {trial.number}", phase, trial.called, trial.control or "") if part)


def trial_parameters(config: StudyConfig, trial: TrialRecord) -> dict[str, str]:
    """Every field of the trial's configuration: dotted path -> text."""
    full = apply_point(config.trial, trial.point)
    fields = dict(flat(full.model_dump(mode="json")))
    if full.perturbation.method == "none":
        fields |= dict.fromkeys(MAGNITUDES, 0)
    return {path: _text(value)[:MAX_TAG] for path, value in fields.items()}


def points(config: StudyConfig, report: Report, with_costs: bool = True) -> Iterator[Point]:
    """All metrics of one report: scores of every language, reductions of every metric, training and costs.

    Without `with_costs` the last two are left out: where a step was scored on two splits they belong to the first.
    """
    evaluation = report.evaluation
    values = evaluation.to_metrics()
    if not with_costs:
        values = {key: value for key, value in values.items() if not key.startswith(("training/", "cost/"))}
    for metric in evaluation.scores:
        found = {**summary(evaluation, config, metric), **_endpoint(evaluation, config, metric)}
        values |= {summary_key(report.split, metric, name): value for name, value in found.items()}
    for key, value in values.items():
        yield Point(metric_key(key), value, milliseconds(report.time), report.step)


def _endpoint(evaluation: Evaluation, config: StudyConfig, metric: str) -> dict[str, float]:
    """The primary endpoint, which need be none of the standard reductions; nothing where languages lack."""
    try:
        return {config.protocol.primary_endpoint: reduce(config.protocol.primary_endpoint, evaluation, config, metric)}
    except UnscoredError:
        return {}


def datasets(record: StudyRecord, config: StudyConfig) -> dict[str, str]:
    """Data the study was made from: name -> digest, of the 36 characters that MLflow takes."""
    named = {
        config.trial.task.name if k == "data" else k: v
        for k, v in record.fingerprints.items()
        if not k.startswith("encoder")
    }
    return {name: digest[:36] for name, digest in named.items() if isinstance(digest, str)}


def _text(value: Any) -> str:
    """A value as text: numbers so that MLflow's charts read them as numbers, nothing as ``none``."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metric_key(name: str) -> str:
    """A key that MLflow takes: a user may have named a group ``a@b``."""
    return re.sub(r"[^\w/.\- :]", "_", name)[:250]
