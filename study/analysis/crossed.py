"""Which languages gain more: slopes of gain on facts about languages, over languages and tasks that cross each other.

The unit is a *cell*, a language in a task, with its mean gain over seeds; a seed's run is in common to its task's
languages, so it goes with the task. The model of a cell's gain at one dose:

    task + slope x fact of the language + (adjusted) baseline score in the task + language + rest

with languages and tasks as crossed random effects (`mixed`: REML, Kenward and Roger). Doses are not assumed to act in a
line: each has its own slope, and `per_dose` adds the gain per unit of dose, whose slope is the interaction of dose and
fact. With `over_tasks` the slope varies by task, and the interval is about tasks like these; without, about new
languages in these tasks.

A fact is one of a language: ten tasks with eight languages are eight observations of it, which is what the degrees of
freedom come to where languages differ for reasons of their own (`benchmarks/pooled.py`). A language whose fact is
unknown is dropped and counted; nothing is imputed. Gain and baseline share the baseline's noise, which is small beside
the spread between languages (as in `groups`); the adjusted slope compares languages of equal baseline, the other one
languages as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from study.analysis import intervals, mixed, power
from study.analysis.frames import as_numbers
from study.analysis.intervals import UNKNOWN, Interval
from study.analysis.pooled import check
from trainables import languages
from trainables.pretraining import Lists

Covariate = Literal["log_pretraining_size", "resource_class", "distance", "other_script", "fertility", "overlap"]

COVARIATES: Mapping[Covariate, str] = {
    "log_pretraining_size": "tenfold pretraining text",
    "resource_class": "resource class",
    "distance": "unit of typological distance from the source",
    "other_script": "script other than the source's",
    "fertility": "token a word",
    "overlap": "share of tokens that are trained on",
}
"""Facts about a language that gain is held against, and what one unit of each is. NaN in the gains frame: unknown."""

FEWEST = 5
"""Languages with a known fact below which no slope is given."""

PER_DOSE = "per unit of dose"
"""Configuration that `per_dose` adds."""


def facts(
    codes: Sequence[str],
    source: str,
    lists: Lists = languages.ANY_ENCODER,
    own: languages.Own = languages.NO_OWN,
    kind: str = "syntactic",
    measured: languages.Measured | None = None,
) -> pd.DataFrame:
    """What is known of some languages as targets of one source: language, and `COVARIATES`.

    A language that the encoder was not pretrained on has no size. `kind` of distance: see `typology`.
    """
    spoken = languages.language(source, own).script
    rows = []
    for code in codes:
        known = languages.language(code, own)
        size = languages.pretraining_size(code, lists)
        far = languages.distance(kind, source, code, own)
        row = {
            "language": code,
            "log_pretraining_size": np.log10(size) if size else np.nan,
            "resource_class": np.nan if known.resource_class is None else float(known.resource_class),
            "distance": np.nan if far is None else far,
            "other_script": float(known.script != spoken) if known.script and spoken else np.nan,
            **as_numbers(code, measured),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def cells(frame: pd.DataFrame, variant_of: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per configuration × task × language of a gains frame (`pooled`): gain and baseline (means over seeds),
    dose and facts; variants averaged into their language. Languages without a gain are in none (`pooled.check`)."""
    known = check(frame).dropna(subset="gain")
    rows = known.assign(language=lambda f: f["language"].map(lambda c: (variant_of or {}).get(c) or c))
    values = ["gain", "baseline", *(c for c in ("dose", *COVARIATES) if c in rows.columns)]
    return rows.groupby(["configuration", "task", "language"], sort=True)[values].mean().reset_index()


def per_dose(table: pd.DataFrame) -> pd.DataFrame:
    """Cells with those of `PER_DOSE` added: the slope through zero of a cell's gain on dose, where it has two doses.

    All doses are to be of one unit: a norm and a probability have no slope in common.
    """
    dosed = table[table["dose"] > 0] if "dose" in table.columns else table.iloc[:0]
    lines = []
    for _, part in dosed.groupby(["task", "language"], sort=True):
        if part["dose"].nunique() > 1:
            slope = float((part["dose"] * part["gain"]).sum() / (part["dose"] ** 2).sum())
            lines.append({**part.iloc[0].to_dict(), "configuration": PER_DOSE, "dose": np.nan, "gain": slope})
    return pd.concat([table, pd.DataFrame(lines)], ignore_index=True) if lines else table


@dataclass(frozen=True)
class Slope:
    """How the gain of one configuration goes with one fact; unknown where languages, or their differences, lack."""

    configuration: str
    covariate: Covariate
    adjusted: bool
    """At equal baseline score."""
    over_tasks: bool
    """About tasks like these; else about these."""
    estimate: float
    """Gain, as a fraction, per unit of the fact."""
    interval: Interval
    """About new languages."""
    p: float
    detectable: float
    """The slope that so many languages and tasks show with a chance of `power.POWER`: smaller ones are not told."""
    languages: int
    tasks: int
    cells: int
    dropped: tuple[str, ...]
    """Languages whose fact is unknown."""
    spread: float
    """Standard deviation of the fact over languages."""
    by_task: Mapping[str, float]
    """Least-squares slope in each task with three values of the fact at least; unadjusted."""


def slope(
    table: pd.DataFrame, configuration: str, covariate: Covariate, adjusted: bool = True, over_tasks: bool = False
) -> Slope:
    """The slope of one configuration's cells on one fact."""
    mine = table[table["configuration"] == configuration]
    fact = pd.to_numeric(mine[covariate], errors="coerce") if covariate in mine else pd.Series(np.nan, mine.index)
    known = mine[fact.notna()].assign(fact=fact)
    dropped = tuple(sorted(set(map(str, mine["language"])) - set(map(str, known["language"]))))
    count, tasks = known["language"].nunique(), known["task"].nunique()
    by_language = known.groupby("language")["fact"].mean()
    estimate, error, df = _fit(known, adjusted, over_tasks) if count >= FEWEST else (float("nan"), float("nan"), 0.0)
    seen = stats.t.ppf((1 + intervals.LEVEL) / 2, df) + stats.t.ppf(power.POWER, df) if df > 0 else float("nan")
    return Slope(
        configuration, covariate, adjusted, over_tasks, estimate,
        interval=intervals.around(estimate, error, df) if df > 0 else UNKNOWN,
        p=intervals.p_value(estimate, error, df),
        detectable=float(seen * error),
        languages=count, tasks=tasks, cells=len(known), dropped=dropped,
        spread=float(by_language.std(ddof=1)),
        by_task={
            str(task): float(np.polyfit(part["fact"], part["gain"], 1)[0])
            for task, part in known.groupby("task", sort=True) if part["fact"].nunique() >= 3
        },
    )  # fmt: skip


def _fit(known: pd.DataFrame, adjusted: bool, over_tasks: bool) -> tuple[float, float, float]:
    """Estimate, standard error and degrees of freedom (0: none) of the slope."""
    x, blocks = design(known, adjusted, over_tasks)
    if np.linalg.matrix_rank(x) < x.shape[1] or len(known) <= x.shape[1] + 2 or known["gain"].std() == 0:
        return float("nan"), float("nan"), 0.0
    found = mixed.fit(known["gain"].to_numpy(dtype=float), x, blocks)
    told = bool(np.isfinite(found.errors[1]))
    return float(found.coefficients[1]), float(found.errors[1]), float(found.df[1]) if told else 0.0


def design(known: pd.DataFrame, adjusted: bool, over_tasks: bool) -> tuple[mixed.Floats, list[mixed.Floats]]:
    """X (constant, fact, and if adjusted the baseline less its task's mean), and the blocks: language, task where there
    are two, and with `over_tasks` the fact by task."""
    fact = known["fact"].to_numpy(dtype=float)
    fact = fact - fact.mean()
    columns = [np.ones(len(known)), fact]
    if adjusted:
        columns.append((known["baseline"] - known.groupby("task")["baseline"].transform("mean")).to_numpy(dtype=float))
    language, task = (pd.get_dummies(known[name]).to_numpy(dtype=float) for name in ("language", "task"))
    blocks = [z for z in (language, task) if 1 < z.shape[1] < len(known)]
    if over_tasks and task.shape[1] > 1:
        blocks.append(task * fact[:, None])
    return np.column_stack(columns), blocks
