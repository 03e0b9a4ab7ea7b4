"""A study's ledger as tidy data frames: the first thing a notebook wants.

`load_study` gives the trial frame and `load_results` the results frame of `study.analysis.frames`, where their columns
are described.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from search_spaces.dimensions import Space
from study.analysis.frames import TRIAL_COLUMNS, read_results
from study.proposals import ranking
from study.question.config import StudyConfig
from study.record import roots
from study.record.place import Place
from study.record.record import TrialRecord
from study.views.found import Study, find
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.scores import Evaluation, Split

METHODS = ("perturbation.method", "augmentation.method")
"""Parameters that the trial frame has of every trial, varied or not."""

NORM = "relative_norm"
MEASURED = {
    NORM: "achieved relative norm",
    "relative_weight_norm": "relative norm of moved weights",
    "added_pieces": "share of pieces added",
}
"""Doses that are measured, and what they are called; one that is a setting has the setting's name."""


def load_study(name: str, root: Path | str = "studies") -> pd.DataFrame:
    """The trial frame of the study `name` under `root`: one row per trial × language × split (× metric).

    Raises `UserError` where there is no such study. A trial that is complete has the scores of the one checkpoint that
    is its result, any other those of its last evaluation.
    """
    return trial_frame(find(roots.folder(root), name))


def load_results(name: str, root: Path | str = "studies") -> pd.DataFrame | None:
    """The results frame that the study's confirmation left, or None if it has none yet."""
    folder = roots.folder(root)
    roots.refresh(folder, name)
    return results_of(roots.place(folder, name))


def results_of(place: Place) -> pd.DataFrame | None:
    """The same of a study that was found already."""
    return read_results(place.results) if place.results.exists() else None


def trial_frame(study: Study) -> pd.DataFrame:
    """The trial frame of a study that was read already."""
    rows = [row for trial in study.trials for row in _rows(study.name, study.config, trial)]
    frame = pd.DataFrame(rows, columns=None if rows else list(TRIAL_COLUMNS))
    dotted = sorted(c for c in frame.columns if c not in TRIAL_COLUMNS)
    return frame[[*TRIAL_COLUMNS, *dotted]]


def configuration_name(trial: TrialRecord) -> str:
    """What a trial is called in frames: ``trial 12`` in `run`; in `confirm` the configuration it is a seed of."""
    if trial.phase == "run":
        return f"trial {trial.number}"
    return str(trial.attributes.get("configuration") or (f"control {trial.control}" if trial.control else trial.kind))


def _rows(study: str, config: StudyConfig, trial: TrialRecord) -> list[dict[str, object]]:
    resolved = ranking.trial_config(config, trial)
    known = {path: value_at(resolved, path) for path in METHODS}
    splits: tuple[Split, ...] = ("validation", "test")
    rows = []
    for split in splits:
        outcome = trial.result(resolved, split) if trial.state == "COMPLETE" else None
        if (evaluation := outcome or trial.evaluation(split)) is None:
            continue
        row = {
            "study": study, "trial": trial.number, "phase": trial.phase, "kind": trial.kind, "state": trial.state,
            "configuration": configuration_name(trial), "control": trial.control or "",
            "seed": resolved.training.seed, "split": split, "step": evaluation.step,
            "forward_equivalents": evaluation.cost.get("forward_equivalents", np.nan),
            "train_seconds": evaluation.cost.get("train_seconds", np.nan),
            "relative_norm": dose(trial, resolved, evaluation.step),
        }  # fmt: skip
        for metric, scores in evaluation.scores.items():
            for language in scores.languages:
                score = {"score": scores[language], "examples": scores.counts[language]}
                rows.append({**row, "language": language, "metric": metric, **score, **known, **trial.point})
    return rows


def dose(trial: TrialRecord, config: TrialConfig, step: int) -> float:
    """How much robust training there was in a trial of this configuration up to `step`; 0 where there was none.

    It is what its method is `dosed_by`. A setting is as it was set, unknown at 0, where it may not be clean. What is
    reported is averaged over training: every report carries the mean since the one before it, so each weighs as much as
    the steps between them. Where it was 0 or was not reported, another that was stands for it: a perturbation of
    radius 0 at moved weights is not clean.
    """
    if config.perturbation.method == "none":
        share = dosed_by(config.augmentation.method)
        return _number_at(config, share) if "." in share else 0.0
    named = dosed_by(config.perturbation.method)
    if "." in named:
        return _number_at(config, named) or float("nan")
    reported: dict[int, Evaluation] = {r.step: r.evaluation for r in trial.reports if r.step <= step}
    steps = sorted(reported)
    lengths = np.diff([0, *steps])

    def mean(key: str) -> float:
        norms = np.array([reported[s].training.get(key, np.nan) for s in steps], dtype=float)
        known = ~np.isnan(norms) & (lengths > 0)
        return float(np.average(norms[known], weights=lengths[known])) if known.any() else float("nan")

    own, *others = (mean(key) for key in dict.fromkeys([named, *MEASURED]))
    return own if own > 0.0 else next((each for each in others if not np.isnan(each)), own)


def dosed_by(method: str) -> str:
    """What the doses of a method, of perturbation or of augmentation, are: a key of `MEASURED`, or a setting's path.

    Of several that are joined it is the innermost's. One that says nothing of it, or is not here, is taken to perturb
    the embeddings.
    """
    from trainables import augmentation, perturbation
    from trainables.config import PerturbationConfig

    if method in augmentation.METHODS:
        return augmentation.METHODS[method].dose
    try:
        return perturbation.create(PerturbationConfig(method=method)).dose or NORM
    except UserError:
        return NORM


def _number_at(config: TrialConfig, path: str) -> float:
    value = value_at(config, path)
    return float(value) if isinstance(value, int | float) else float("nan")


def is_off(trial: TrialConfig, path: str, space: Space | None) -> bool:
    """Whether nothing in a trial reads a parameter: its method is none, or its condition in the space does not hold."""
    part, _, name = path.partition(".")
    is_unused = name != "method" and getattr(getattr(trial, part), "method", "") == "none"
    dimension = space[path] if space is not None and path in space else None
    if is_unused or dimension is None:
        return is_unused
    return not dimension.active({other: value_at(trial, other) for other in dimension.when})


def value_at(trial: TrialConfig, path: str) -> object:
    """The value of a trial's configuration at a dotted path."""
    value: object = trial
    for part in path.split("."):
        value = getattr(value, part)
    return value
