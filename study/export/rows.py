"""The rows of an export's tables, out of a study's record (`relations` says what they are)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from study.proposals import ranking
from study.question import encoders, objectives
from study.record.record import Report, TrialRecord
from study.views import history
from study.views.found import Study
from study.views.values import objective_values
from trainables import languages
from trainables.conditions import MEASURED
from trainables.scores import COST_KEYS, TRAINING_KEYS, Evaluation

Row = dict[str, Any]


def rows(study: Study) -> Mapping[str, Callable[[], Iterable[Row]]]:
    """Name of a table -> its rows, made when they are asked for: a large study has millions of scores."""
    return {
        "study": lambda: [_study(study)],
        "trials": lambda: (_trial(study, t) for t in study.trials),
        "points": lambda: _points(study),
        "evaluations": lambda: (_evaluation(study, *each) for each in _reports(study)),
        "scores": lambda: _scores(study),
        "reductions": lambda: _reductions(study),
        "objectives": lambda: _objectives(study),
        "sessions": lambda: _sessions(study),
        "openings": lambda: _openings(study),
        "borrowed": lambda: _borrowed(study),
        "languages": lambda: _languages(study),
    }


def _study(study: Study) -> Row:
    config, record = study.config, study.record
    return {
        "study": study.name, "uuid": record.uuid, "question": config.question, "state": study.condition,
        "code_version": record.code_version, "protocol_hash": record.protocol_hash, "task": config.trial.task.name,
        "source_language": config.trial.task.source_language, "encoder": ", ".join(encoders.labels(config)),
        "metric": next((e.metric for _, _, e in _reports(study)), None),
        "selection": config.protocol.selection, "primary_endpoint": config.protocol.primary_endpoint,
        "primary_metric": config.protocol.primary_metric,
        "mode": config.search.mode, "sampler": config.search.sampler, "active_seconds": record.active_seconds,
        "config": _json(record.config), "fingerprints": _json(record.fingerprints),
    }  # fmt: skip


def _trial(study: Study, trial: TrialRecord) -> Row:
    resolved = ranking.trial_config(study.config, trial)
    outcome = trial.result(resolved) if trial.state == "COMPLETE" else None
    last = outcome or trial.evaluation()
    norm = None if last is None else history.dose(trial, resolved, last.step)
    return {
        "study": study.name, "trial": trial.number, "phase": trial.phase, "kind": trial.kind,
        "configuration": history.configuration_name(trial), "control": trial.control or "",
        "arm": trial.arm or "", "state": trial.state,
        "seed": resolved.training.seed, "perturbation_method": resolved.perturbation.method,
        "augmentation_method": resolved.augmentation.method, "attempts": trial.attempts,
        "asked": _time(trial.asked), "started": _time(trial.started), "finished": _time(trial.finished),
        "result_step": None if outcome is None else outcome.step, "relative_norm": _number(norm),
        "error": trial.error,
    }  # fmt: skip


def _points(study: Study) -> Iterator[Row]:
    for trial in study.trials:
        for path, value in trial.point.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            number = float(value) if is_number else None
            yield {**_of(study, trial), "parameter": path, "value": _json(value), "number": number}


def _reports(study: Study) -> Iterator[tuple[TrialRecord, Report, Evaluation]]:
    for trial in study.trials:
        for report in trial.reports:
            yield trial, report, report.evaluation


def _at(study: Study, trial: TrialRecord, evaluation: Evaluation) -> Row:
    place = {"split": evaluation.split, "step": evaluation.step, "final": evaluation.final}
    return {**_of(study, trial), **place}


def _of(study: Study, trial: TrialRecord) -> Row:
    return {"study": study.name, "trial": trial.number}


def _evaluation(study: Study, trial: TrialRecord, report: Report, evaluation: Evaluation) -> Row:
    costs = {key: _number(evaluation.cost.get(key)) for key in COST_KEYS}
    signals = {key: _number(evaluation.training.get(key)) for key in TRAINING_KEYS}
    return {
        **_at(study, trial, evaluation),
        "attempt": report.attempt,
        "time": _time(report.time),
        **costs,
        **signals,
    }


def _scores(study: Study) -> Iterator[Row]:
    for trial, _, evaluation in _reports(study):
        place = _at(study, trial, evaluation)
        for metric, scores in evaluation.scores.items():
            for code in scores.languages:
                score = {"score": _number(scores[code]), "examples": scores.counts[code]}
                yield {**place, "metric": metric, "language": code, **score}


def _reductions(study: Study) -> Iterator[Row]:
    for trial, _, evaluation in _reports(study):
        place = _at(study, trial, evaluation)
        for metric in evaluation.scores:
            for name, value in objectives.summary(evaluation, study.config, metric).items():
                yield {**place, "metric": metric, "reduction": name, "value": _number(value)}


def _objectives(study: Study) -> Iterator[Row]:
    for trial in study.trials:
        outcome = trial.result(study.config.trial) if trial.state == "COMPLETE" else None
        if trial.phase != "run" or outcome is None:
            continue
        values = objective_values(study.config, outcome)
        for position, objective in enumerate(study.config.search.objectives):
            value = _number(values.get(objective.name))
            is_bound = objective.threshold is not None and value is not None
            yield {
                **_of(study, trial), "objective": objective.name, "position": position, "value": value,
                "direction": objective.direction, "threshold": objective.threshold,
                "is_met": objectives.violation(objective, value) <= 0 if is_bound and value is not None else None,
            }  # fmt: skip


def _sessions(study: Study) -> Iterator[Row]:
    for event in study.record.sessions:
        known = {key: event.get(key) for key in ("epoch", "host", "pid")}
        yield {"study": study.name, "opened": _time(event["time"]), **known}


def _openings(study: Study) -> Iterator[Row]:
    for number, event in enumerate(study.record.openings, start=1):
        known = {key: event.get(key) for key in ("reason", "protocol_hash")}
        yield {"study": study.name, "number": number, "time": _time(event["time"]), **known}


def _borrowed(study: Study) -> Iterator[Row]:
    for number, trial in enumerate(study.record.borrowed, start=1):
        yield {
            "study": study.name, "number": number, "from_study": trial.attributes.get("study"),
            "from_uuid": trial.attributes.get("uuid"), "from_trial": trial.number, "state": trial.state,
            "point": _json(trial.point),
        }  # fmt: skip


def _languages(study: Study) -> Iterator[Row]:
    scored = dict.fromkeys(k for _, _, e in _reports(study) for scores in e.scores.values() for k in scores.languages)
    lists = encoders.pretraining_lists(study.config)
    for code in scored:
        known = languages.language(code, study.config.trial.task.own)
        yield {
            "language": code, "name": known.name, "family": known.family, "script": known.script,
            "resource_class": known.resource_class, "pretraining_size": languages.pretraining_size(code, lists),
            "seen": languages.seen(code, lists), "variant_of": known.variant_of,
            **{name: (study.config.measured or {}).get(code, {}).get(name) for name in MEASURED},
        }  # fmt: skip


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _number(value: float | None) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and abs(value) < float("inf") else None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
