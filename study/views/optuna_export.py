"""The ledger as an Optuna database, for optuna-dashboard: a view that can be deleted and made again."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from study.proposals.frozen import frozen_trial
from study.proposals.outcomes import feedback_of
from study.proposals.proposer import Proposed
from study.question.config import StudyConfig
from study.record.record import StudyRecord, TrialRecord
from trainables.loading import validate
from trainables.storage import files

SEARCHED = ("sampled", "enqueued", "design")
"""Kinds of trials that are points of the search space."""


def export_optuna(record: StudyRecord, path: Path) -> None:
    """Write an SQLite file with two Optuna studies, replacing what was there; the same record gives the same studies.

    The study named like ours has every trial of phase `run` that has ended, baseline and controls included, in the
    order of their numbers (its own where all have ended, else the user attribute ``trial``). ``NAME: points`` has the
    points of the search space alone: importances and slices need trials that share their parameters.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = validate(StudyConfig, record.config)
    trials = [t for t in record.trials.values() if t.phase == "run" and t.ended]
    with files.replaced(path) as aside:
        storage = optuna.storages.RDBStorage(f"sqlite:///{aside}")
        try:
            _write(storage, config, config.name, trials)
            _write(storage, config, f"{config.name}: points", [t for t in trials if t.kind in SEARCHED])
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _write(storage: optuna.storages.RDBStorage, config: StudyConfig, name: str, trials: list[TrialRecord]) -> None:
    optimised = config.search.optimised
    study = optuna.create_study(storage=storage, study_name=name, directions=[o.direction for o in optimised])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([o.name for o in optimised])
    study.set_user_attr("question", config.question)
    study.set_user_attr("selection rule", config.protocol.selection)
    study.add_trials([_frozen(config, trial) for trial in trials])


def _frozen(config: StudyConfig, trial: TrialRecord) -> FrozenTrial:
    """A trial as the samplers know it, with its times and what else the ledger has of it."""
    proposed = Proposed(trial.kind, trial.point, trial.distributions, trial.attributes)
    frozen = frozen_trial(proposed, feedback_of(config, trial))
    frozen.datetime_start = _time(trial.started or trial.asked)
    frozen.datetime_complete = _time(trial.finished or trial.asked)
    rest = {k: v for k, v in trial.point.items() if k not in trial.distributions}
    notes = {"trial": trial.number, "kind": trial.kind, "attempts": trial.attempts, "control": trial.control}
    for key, value in {**notes, "error": trial.error and trial.error[-2000:], **rest}.items():
        if value is not None:
            frozen.set_user_attr(key, value)
    return frozen


def _time(seconds: float) -> datetime:
    """Local and without a zone, as Optuna has its times."""
    return datetime.fromtimestamp(seconds)
