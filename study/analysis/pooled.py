"""One answer over many tasks: the mean gain of a configuration on these tasks, and on tasks like these.

**Gains frame**: one row per task × language × configuration × seed (target languages only). Columns: task, language,
configuration, seed, score, baseline (the score without perturbation under the same seed), and where they are known dose
(how much of it, a number that is 0 for the baseline) and the facts of `crossed.COVARIATES`.

A task's gain is the mean over its languages; every task counts once, however many languages or sentences it has. The
two means answer different questions:

- *on these tasks*: the tasks, their languages and sentences are held, only seeds are new;
- *on tasks like these*: tasks are a sample of tasks, with their languages and sentences. See `random_effects`.

Seeds are few in each task, so the variance over them is pooled over the tasks; both intervals hold about where tasks
differ in it by a factor of seven (`benchmarks/pooled.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from study.analysis import intervals, significance
from study.analysis.intervals import UNKNOWN, Interval
from study.analysis.random_effects import RandomEffects, random_effects
from trainables.errors import UserError

COLUMNS = ("task", "language", "configuration", "seed", "score", "baseline")
"""Required columns of the gains frame."""


@dataclass(frozen=True)
class Pooled:
    """The gain of one configuration over the tasks that have it."""

    configuration: str
    tasks: pd.DataFrame
    """One row per task, as from `task_gains`."""
    missing: tuple[str, ...]
    """Tasks of the frame that have no gain of this configuration, for want of scores: in no mean."""
    here: float
    """Mean gain on these tasks."""
    here_interval: Interval
    here_p: float
    alike: RandomEffects
    """Mean gain on tasks like these, and how such tasks differ."""
    without: pd.DataFrame
    """Leave one out, one row per task: task, here, here_low, here_high, alike, alike_low, alike_high, tau2."""


@dataclass(frozen=True)
class Claim:
    """One thing that a suite says beside others."""

    name: str
    estimate: float
    interval: Interval
    p: float
    p_adjusted: float = float("nan")
    """Holm's, over the claims made together."""


def adjust(claims: Sequence[Claim]) -> list[Claim]:
    """The same with Holm-adjusted p-values; a claim whose p is unknown is not counted."""
    adjusted = significance.holm([c.p for c in claims])
    return [replace(c, p_adjusted=float(p)) for c, p in zip(claims, adjusted, strict=True)]


def check(frame: pd.DataFrame) -> pd.DataFrame:
    """The gains frame with a column gain; raises `UserError` where columns lack or rows repeat.

    A language that lacks a score, or a baseline, under one seed has no gain under any, in this task and configuration:
    a mean over seeds is of the same languages under each.
    """
    if lacking := [c for c in COLUMNS if c not in frame.columns]:
        raise UserError(*(f"gains.{c}: is a required column (got {', '.join(frame.columns)})" for c in lacking))
    keys = ["task", "language", "configuration", "seed"]
    if (twice := frame.duplicated(keys)).any():
        raise UserError(f"gains: one row per task x language x configuration x seed (got {int(twice.sum())} repeated)")
    gain = frame["score"].astype(float) - frame["baseline"].astype(float)
    lacks = gain.isna().groupby([frame[key] for key in keys[:-1]]).transform("any")
    return frame.assign(gain=gain.mask(lacks))


def task_gains(frame: pd.DataFrame, variant_of: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Gain of each configuration in each task: configuration, task, gain, variance (over seeds, of one seed's gain; NaN
    for one seed), seeds, languages, left_out (languages that not every seed of the task has: they are in no mean).

    `variant_of` maps codes to the language that they are a variant of, in which they count once.
    """
    rows = check(frame).assign(language=lambda f: f["language"].map(lambda c: (variant_of or {}).get(c) or c))
    keys = ["configuration", "task"]
    table = []
    for (configuration, task), part in rows.groupby(keys, sort=True):
        wide = part.groupby(["seed", "language"])["gain"].mean().unstack("language")
        whole = wide.dropna(axis=1)
        per_seed = whole.mean(axis=1).dropna()
        row = {
            "configuration": configuration, "task": task, "gain": per_seed.mean(), "variance": per_seed.var(ddof=1),
            "seeds": len(per_seed), "languages": whole.shape[1], "left_out": wide.shape[1] - whole.shape[1],
        }  # fmt: skip
        table.append(row)
    return pd.DataFrame(table)


def pool(frame: pd.DataFrame, variant_of: Mapping[str, str] | None = None) -> list[Pooled]:
    """The pooled gains of every configuration of a gains frame, by name."""
    gains = task_gains(frame, variant_of)
    every = sorted(map(str, gains["task"].unique()))
    gains = gains.dropna(subset="gain")
    return [_pooled(str(name), part, every) for name, part in gains.groupby("configuration", sort=True)]


def _pooled(name: str, tasks: pd.DataFrame, every: Sequence[str]) -> Pooled:
    tasks = tasks.reset_index(drop=True)
    here, interval, p, alike = _both(tasks)
    rows = []
    for index, task in enumerate(tasks["task"]) if len(tasks) > 1 else ():
        mean, band, _, rest = _both(tasks.drop(index=index))
        row = {
            "task": task, "here": mean, "here_low": band.low, "here_high": band.high, "alike": rest.estimate,
            "alike_low": rest.interval.low, "alike_high": rest.interval.high, "tau2": rest.tau2,
        }  # fmt: skip
        rows.append(row)
    missing = tuple(t for t in every if t not in set(tasks["task"].astype(str)))
    return Pooled(name, tasks, missing, here, interval, p, alike, pd.DataFrame(rows))


def _both(tasks: pd.DataFrame) -> tuple[float, Interval, float, RandomEffects]:
    """Mean gain on these tasks, its interval and p, and on tasks like these."""
    gain, seeds = tasks["gain"].to_numpy(dtype=float), tasks["seeds"].to_numpy(dtype=float)
    mean, free = float(gain.mean()), float((seeds - 1).sum())
    if free == 0:
        return mean, UNKNOWN, float("nan"), random_effects(gain, np.zeros(gain.size))
    over_seeds = float(np.nansum((seeds - 1) * tasks["variance"].to_numpy(dtype=float)) / free)
    errors = over_seeds / seeds
    error = float(np.sqrt(errors.sum())) / gain.size
    return (
        mean,
        intervals.around(mean, error, free),
        intervals.p_value(mean, error, free),
        random_effects(gain, errors, free),
    )
