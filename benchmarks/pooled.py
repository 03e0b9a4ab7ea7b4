"""Do the pooled answers of a suite cover what they promise? Planted gains, heterogeneity, slopes; 3, 6 and 10 tasks.

First table: mean gains of tasks, seeds few in each. Second: slopes of gain on a fact about languages, cells missing at
random (40 %), adjusted for a baseline score that goes with the fact. The data come out of the models that the intervals
assume, but for tasks whose seeds vary unequally, and slopes that vary by task.

    python benchmarks/pooled.py [repetitions]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from study.analysis import intervals, mixed, random_effects
from study.analysis.crossed import design

Floats = npt.NDArray[np.float64]

QUANTILE = (1 + intervals.LEVEL) / 2

EFFECT = 1.0
"""Planted mean gain; the unit is the standard error that seeds leave in a task's gain."""


@dataclass(frozen=True)
class MeanRates:
    """Shares of simulated suites; the Monte-Carlo standard error of one near 95 % is sqrt(.95 x .05 / repetitions)."""

    here: float
    """The mean over these very tasks is covered."""
    alike: float
    """That of tasks like these."""
    as_known: float
    """The same, had each task's own variance over its seeds been taken for known."""
    tau2: float
    prediction: float
    """The next task's measured gain is covered."""
    heterogeneous: float
    """The test of heterogeneity refuses."""
    false_positive: float
    """Gain on tasks like these where there is none."""


def mean_rates(
    generator: np.random.Generator, repetitions: int, tasks: int, seeds: int, tau: float, unequal: float = 0.0
) -> MeanRates:
    """Gains of so many tasks, true ones scattered by `tau`; `unequal`: log of the ratio of the tasks' largest standard
    deviation over seeds to the middle one."""
    deviation = np.exp(unequal * np.linspace(-1, 1, tasks))
    deviation /= np.sqrt((deviation**2).mean())
    true = EFFECT + generator.normal(0, tau, (repetitions, tasks))
    per_seed = true[..., None] + np.sqrt(seeds) * deviation[:, None] * generator.normal(0, 1, (*true.shape, seeds))
    y, own = per_seed.mean(axis=-1), per_seed.var(axis=-1, ddof=1) / seeds
    pooled, df = np.broadcast_to(own.mean(axis=-1, keepdims=True), own.shape), tasks * (seeds - 1)
    wide = stats.t.ppf(QUANTILE, tasks - 1)
    half = stats.t.ppf(QUANTILE, df) * np.sqrt(pooled.mean(axis=-1) / tasks)
    here = np.abs(y.mean(axis=-1) - true.mean(axis=-1)) <= half
    found, known = random_effects.fit(y, pooled), random_effects.fit(y, np.maximum(own, 1e-6))
    chance = random_effects.heterogeneity(y, pooled, tau**2, df)
    tail = 1 - QUANTILE
    # At zero only the upper end can miss: the lower one is never below it.
    tau2 = (chance <= QUANTILE) & ((chance >= tail) | (tau == 0))
    future = EFFECT + generator.normal(0, tau, repetitions) + generator.normal(0, 1, repetitions)
    spread = np.sqrt(found.scale * (found.tau2 + pooled.mean(axis=-1)) + found.error**2)
    shares = (
        here,
        np.abs(found.estimate - EFFECT) <= wide * found.error,
        np.abs(known.estimate - EFFECT) <= wide * known.error,
        tau2,
        np.abs(found.estimate - future) <= wide * spread,
        random_effects.heterogeneity(y, pooled, 0.0, df) > intervals.LEVEL,
        np.abs(found.estimate - EFFECT) > wide * found.error,
    )
    return MeanRates(*(float(np.mean(s)) for s in shares))


@dataclass(frozen=True)
class World:
    """Standard deviations of gains: of a language, a task, a cell; and of the slope over tasks."""

    language: float
    task: float
    rest: float
    by_task: float = 0.0


WORLDS = {
    "languages differ": World(0.01, 0.01, 0.005),
    "languages differ little": World(0.004, 0.01, 0.006),
    "languages do not differ": World(0.0, 0.01, 0.01),
    "slopes vary by task": World(0.006, 0.01, 0.006, by_task=0.002),
}

SLOPE = 0.002
"""Planted gain per class of resources."""

KEPT = 0.6
"""Share of the languages that a task has."""


@dataclass(frozen=True)
class SlopeRates:
    """Shares of simulated suites."""

    here: float
    """The interval about new languages in these tasks covers the planted slope."""
    alike: float
    """So does the one about tasks like these."""
    untold: float
    """There was no interval (too few cells to tell the variances apart); counted as a miss."""
    width: float
    """Median half interval of the first."""


def cells(generator: np.random.Generator, tasks: int, languages: int) -> pd.DataFrame:
    """Cells of a suite, some missing: language, task, fact (0 … 5), baseline."""
    language, task = np.repeat(np.arange(languages), tasks), np.tile(np.arange(tasks), languages)
    kept = generator.random(language.size) < KEPT
    fact = generator.permutation(np.resize(np.arange(6.0), languages))
    baseline = 0.6 + 0.04 * fact[language] - 0.03 * task + generator.normal(0, 0.05, language.size)
    return pd.DataFrame({"language": language, "task": task, "fact": fact[language], "baseline": baseline})[kept]


def slope_rates(
    generator: np.random.Generator, repetitions: int, tasks: int, languages: int, world: World
) -> SlopeRates:
    """Gains in the cells of one suite, drawn over and over."""
    known = cells(generator, tasks, languages)
    language, task = known["language"].to_numpy(), known["task"].to_numpy()
    fact = known["fact"].to_numpy()
    slopes = SLOPE + generator.normal(0, world.by_task, (repetitions, tasks))[:, task]
    y = (
        slopes * (fact - fact.mean())
        - 0.1 * known["baseline"].to_numpy()
        + generator.normal(0, world.language, (repetitions, languages))[:, language]
        + generator.normal(0, world.task, (repetitions, tasks))[:, task]
        + generator.normal(0, world.rest, (repetitions, len(known)))
    )
    covered, halves = [], []
    for over_tasks in (False, True):
        x, blocks = design(known, True, over_tasks)
        found = mixed.fit(y, x, blocks)
        halves.append(stats.t.ppf(QUANTILE, found.df[:, 1]) * found.errors[:, 1])
        covered.append(np.abs(found.coefficients[:, 1] - SLOPE) <= halves[-1])
    untold = float(np.mean(np.isnan(halves[0])))
    return SlopeRates(float(np.mean(covered[0])), float(np.mean(covered[1])), untold, float(np.nanmedian(halves[0])))


def mean_rows(repetitions: int) -> Iterator[str]:
    """The first table."""
    generator = np.random.default_rng(4)
    yield f"{'seeds vary':10} tasks seeds  tau |  here alike (own)  tau2  next |  null  het."
    for name, unequal in (("alike", 0.0), ("1 : 2.7", 0.5)):
        for tasks in (3, 6, 10):
            for seeds in (2, 5):
                for tau in (0.0, 0.5, 2.0):
                    r = mean_rates(generator, repetitions, tasks, seeds, tau, unequal)
                    yield (
                        f"{name:10} {tasks:5} {seeds:5} {tau:4.1f} | {r.here:5.3f} {r.alike:5.3f} {r.as_known:5.3f} "
                        f"{r.tau2:5.3f} {r.prediction:5.3f} | {r.false_positive:5.3f} {r.heterogeneous:5.3f}"
                    )


def slope_rows(repetitions: int) -> Iterator[str]:
    """The second table."""
    yield f"{'gains':24} tasks languages | these alike  none | half interval, points a class"
    for name, world in WORLDS.items():
        for tasks in (3, 6, 10):
            for languages in (8, 20):
                r = slope_rates(np.random.default_rng(100 * tasks + languages), repetitions, tasks, languages, world)
                held = f"{r.here:5.3f} {r.alike:5.3f} {r.untold:5.3f} | {100 * r.width:.2f}"
                yield f"{name:24} {tasks:5} {languages:9} | {held}"


def main(repetitions: int) -> None:
    """Print both tables."""
    print(f"{repetitions} simulated suites a row (Monte-Carlo error {np.sqrt(0.95 * 0.05 / repetitions):.4f})")
    for row in mean_rows(repetitions):
        print(row, flush=True)
    print(
        f"slopes, {repetitions // 5} suites a row (Monte-Carlo error {np.sqrt(0.95 * 0.05 / (repetitions // 5)):.4f})"
    )
    for row in slope_rows(repetitions // 5):
        print(row, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
