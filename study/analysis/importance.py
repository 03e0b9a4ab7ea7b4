"""Which parameters matter, and which trials are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

FEWEST_TRIALS = 10
"""With fewer trials no importance is given."""

FORESTS = 3
"""Random forests whose importances are averaged; their spread is shown."""

TREES = 32
"""Trees in each."""

LOG_RATIO = 20.0
"""A positive parameter whose largest value is this many times its smallest is seen on a log scale."""


def importances(trials: pd.DataFrame, parameters: Sequence[str], value: str) -> pd.DataFrame:
    """Functional ANOVA (Hutter et al. 2014, through Optuna): share of the variance of `value` each parameter explains.

    `trials` has one row per trial. Columns of the answer: parameter, importance (mean over `FORESTS`), sd (over them),
    sorted. It describes the sampled region: on a search's samples that is the region the search liked, which the
    reader must be told. Empty where fewer than `FEWEST_TRIALS` trials have every varied parameter.
    """
    names = [p for p in parameters if p in trials.columns]
    rows = trials.dropna(subset=[*names, value])
    names = [p for p in names if rows[p].nunique() > 1]
    if len(rows) < FEWEST_TRIALS or not names or rows[value].nunique() < 2:
        return pd.DataFrame(columns=["parameter", "importance", "sd"])
    study = _as_study(rows, {p: distribution(rows[p].tolist()) for p in names}, value)
    evaluators = [FanovaImportanceEvaluator(n_trees=TREES, seed=seed) for seed in range(FORESTS)]
    shares = pd.DataFrame([get_param_importances(study, evaluator=evaluator) for evaluator in evaluators])
    table = pd.DataFrame({"parameter": shares.columns, "importance": shares.mean().values, "sd": shares.std().values})
    return table.sort_values("importance", ascending=False, ignore_index=True)


def distribution(values: Sequence[Any]) -> BaseDistribution:
    """The distribution that holds the values: a range for numbers (log where it spans `LOG_RATIO`), else categories."""
    if any(isinstance(v, (bool, str)) for v in values):
        return CategoricalDistribution(sorted(set(values), key=str))
    low, high = min(values), max(values)
    log = bool(low > 0 and high / low >= LOG_RATIO)
    if all(float(v).is_integer() for v in values):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _as_study(rows: pd.DataFrame, distributions: dict[str, BaseDistribution], value: str) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    for row in rows.to_dict("records"):
        params = {
            name: int(row[name]) if isinstance(kind, IntDistribution) else row[name]
            for name, kind in distributions.items()
        }
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, value=float(row[value]), params=params, distributions=distributions)
        )
    return study


def pareto_front(values: npt.ArrayLike, maximize: Sequence[bool]) -> npt.NDArray[np.bool_]:
    """Which rows of `values` (n, objectives) no other row beats: at least as good in all and better in one.

    Rows with NaN are never on the front.

    >>> pareto_front([[0.8, 10], [0.7, 5], [0.6, 9]], maximize=[True, False]).tolist()
    [True, True, False]
    """
    points = np.asarray(values, dtype=float) * np.where(maximize, 1.0, -1.0)
    known: npt.NDArray[np.bool_] = ~np.isnan(points).any(axis=1)
    front = known.copy()
    for i in np.flatnonzero(known):
        others = points[known]
        front[i] = not np.any(np.all(others >= points[i], axis=1) & np.any(others > points[i], axis=1))
    return front
