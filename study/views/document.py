"""A study's record as one JSON document.

`as_json` gives (``study show NAME --json``; times are unix seconds, scores fractions; no finite number, null):

======================= ==============================================================================================
schema                  1; raised when a field changes its meaning, not when one is added
name, question, uuid    of the study
state                   ``running`` (a driver holds it), ``finished`` or ``unfinished``
code_version, protocol_hash, fingerprints   what it was made by and from
selection               {rule, languages, words}: who selects; `languages` null stands for all
config                  the resolved configuration
best                    number of the trial that ranks first among those other than the baseline, or null
baseline_ranks_higher   whether the unperturbed baseline is better by the first objective, or null
test_openings           one {time, reason, protocol_hash} for each time that the test split was opened
looks                   null, or of a confirmation that looks at its seeds as they come in: {seeds, bounds, spending} as
                        agreed, and taken: one {seeds, treatment, control, estimate, low, high, p, bound, predictive,
                        verdict} for each look so far
trials                  one entry per trial, in the order they were asked:
  number, phase, kind, control, state   state: asked, running, COMPLETE, PRUNED, FAIL
  arm                   of a study with arms whose it is, or null
  attempts              executions so far
  retries               how often its failure was taken back (study retry)
  parameters            {dotted path: value}, laid over `config.trial`
  asked, started, finished   times or null
  objectives            {objective: value} of the trial's result, in the order of the configuration; null without one
  result_step           step of the checkpoint that is the trial's result, or null
  error                 traceback or null
  warning               what is wrong with a trial that did not fail, or null
  reports               one entry per evaluation: attempt, step, split, time, final, training, cost,
                        scores {metric: {language: {score, examples}}}, summary {reduction: value}
======================= ==============================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.question import objectives, rules
from study.question.config import StudyConfig
from study.record.record import Report, StudyRecord, TrialRecord
from study.views.found import Study, find
from study.views.tables import warning
from study.views.values import objective_values, selection_words

SCHEMA = 1


def document(root: Path, name: str) -> str:
    """The JSON document of a study."""
    return json.dumps(as_json(find(root, name)), ensure_ascii=False, allow_nan=False, indent=1)


def as_json(study: Study) -> dict[str, Any]:
    """The documented form (see the module)."""
    config, record = study.config, study.record
    choice = study.choice
    selectors = rules.selectors(config)
    document = {
        "schema": SCHEMA,
        "name": study.name,
        "question": config.question,
        "uuid": record.uuid,
        "state": study.condition,
        "code_version": record.code_version,
        "protocol_hash": record.protocol_hash,
        "fingerprints": record.fingerprints,
        "selection": {
            "rule": config.protocol.selection,
            "languages": None if selectors is None else sorted(selectors),
            "words": selection_words(config),
        },
        "config": record.config,
        "best": choice.winner.numbers[0] if choice else None,
        "baseline_ranks_higher": choice.baseline_ranks_higher if choice and choice.baseline is not None else None,
        "test_openings": [{k: e.get(k) for k in ("time", "reason", "protocol_hash")} for e in record.openings],
        "looks": _looks_json(record),
        "trials": [_trial_json(config, trial) for trial in study.trials],
    }
    plain: dict[str, Any] = _finite(document)
    return plain


LOOK = ("seeds", "treatment", "control", "estimate", "low", "high", "p", "bound", "predictive", "verdict")
"""What is told of a look."""


def _looks_json(record: StudyRecord) -> dict[str, Any] | None:
    if record.agreed is None:
        return None
    agreed = {"seeds": record.agreed["looks"], "bounds": record.agreed["bounds"], "spending": record.agreed["spending"]}
    return agreed | {"taken": [{key: look.get(key) for key in LOOK} for look in record.looks]}


def _trial_json(config: StudyConfig, trial: TrialRecord) -> dict[str, Any]:
    outcome = trial.result(config.trial)
    return {
        "number": trial.number,
        "phase": trial.phase,
        "kind": trial.kind,
        "control": trial.control,
        "arm": trial.arm,
        "state": trial.state,
        "attempts": trial.attempts,
        "retries": trial.retries,
        "parameters": trial.point,
        "asked": trial.asked,
        "started": trial.started,
        "finished": trial.finished,
        "objectives": None if outcome is None else objective_values(config, outcome),
        "result_step": None if outcome is None else outcome.step,
        "error": trial.error,
        "warning": warning([trial]) or None,
        "reports": [_report_json(config, report) for report in trial.reports],
    }


def _report_json(config: StudyConfig, report: Report) -> dict[str, Any]:
    evaluation = report.evaluation
    return {
        "attempt": report.attempt,
        "step": report.step,
        "split": report.split,
        "time": report.time,
        "final": evaluation.final,
        "scores": {
            metric: {k: {"score": scores[k], "examples": scores.counts[k]} for k in scores.languages}
            for metric, scores in evaluation.scores.items()
        },
        "summary": objectives.summary(evaluation, config),
        "training": dict(evaluation.training),
        "cost": dict(evaluation.cost),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value
