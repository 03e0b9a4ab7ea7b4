"""A confirmation that stops when it knows: looks at the primary endpoint while seeds come in, the level kept.

Group-sequential testing (Jennison and Turnbull 2000): the two-sided level is spent over the planned looks by a spending
function (Lan and DeMets 1983); ``obrien_fleming`` spends hardly any of it early. What is bounded is the p-value of a
look, and bounds are those of the t test itself: a few paired seeds have no known variance, and the normal's tables,
carried over to t, would be wrong where it matters, at four or eight seeds. They come out of `PATHS` simulated studies
with a fixed seed, so that a plan is a pure function of its numbers.

At a look (`look`), the p-value is the larger of the tests by seed and by both of `differences`, as in every claim here.
More seeds do not average the sentences away, so that p-values by both go together over looks more closely than bounds
assume: the level is kept, and less than all of it is used. A look may also find that going on has little chance of
changing anything (predictive power under `FUTILE`). Nobody has to stop for that: bounds do not count on it.

Intervals are repeated confidence intervals: at each look the one whose level is its bound. They hold with 95 % all
together, whatever the reason for stopping, so that the last of them is longer than a plain interval of so many seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from study.analysis import intervals
from study.analysis.differences import Decomposition
from study.analysis.intervals import UNKNOWN, Interval

Floats = npt.NDArray[np.float64]

Spending = Literal["obrien_fleming", "pocock"]
"""How the level is spent: hardly any of it early, or in nearly equal parts."""

PATHS = 1_000_000
"""Simulated studies under no effect that the bounds come from: the level is right to 0.03 %."""

SEED = 0
"""Of those."""

FUTILE = 0.1
"""Predictive power below which going on is called futile."""

FEWEST = 3
"""Seeds of a first look, at least."""

Verdict = Literal["crossed", "futile", "go on", "open"]
"""A difference is shown; going on would hardly show one; look again; the last look shows none."""


@dataclass(frozen=True)
class Plan:
    """Looks and bounds of a confirmation, agreed before the test split is opened."""

    looks: tuple[int, ...]
    """Seeds at each look, rising."""
    bounds: tuple[float, ...]
    """Two-sided p-value at or under which a look stops."""
    spending: Spending = "obrien_fleming"

    @property
    def most(self) -> int:
        """Seeds of the last look."""
        return self.looks[-1]


def spent(fraction: npt.ArrayLike, spending: Spending = "obrien_fleming") -> Floats:
    """Share of the two-sided level, as a probability, that may be spent by a fraction in (0, 1] of the seeds.

    >>> spent([0.25, 0.5, 1.0]).round(4).tolist()
    [0.0001, 0.0056, 0.05]
    """
    t, alpha = np.asarray(fraction, dtype=float), 1 - intervals.LEVEL
    if spending == "pocock":
        return np.asarray(alpha * np.log(1 + (np.e - 1) * t))
    return np.asarray(2 * stats.norm.sf(stats.norm.isf(alpha / 2) / np.sqrt(t)))


@cache
def plan(most: int, look_every: int, spending: Spending = "obrien_fleming") -> Plan:
    """A look after every `look_every` seeds, and the last one at `most`; takes a second.

    >>> plan(8, 4).looks
    (4, 8)
    """
    assert FEWEST <= look_every <= most, "a look has three seeds at least, and no more than there are"
    looks = (*range(look_every, most, look_every), most)
    return Plan(looks, _bounds(looks, spending), spending)


def _bounds(looks: Sequence[int], spending: Spending) -> tuple[float, ...]:
    """Bounds under which simulated t tests of no effect reach what may be spent by each look."""
    increments = np.diff(spent(np.array(looks) / looks[-1], spending), prepend=0.0)
    bounds: list[float] = []
    going = np.ones(PATHS, dtype=bool)
    for seeds, t, increment in zip(looks, _paths(looks), increments, strict=True):
        if len(bounds) == 0:
            limit = float(stats.t.isf(increment / 2, seeds - 1))
        else:
            rank = max(round(increment * PATHS), 1)
            limit = float(np.partition(t[going], -rank)[-rank])
        bounds.append(float(2 * stats.t.sf(limit, seeds - 1)))
        going &= t < limit
    return tuple(bounds)


def _paths(looks: Sequence[int]) -> Iterator[Floats]:
    """(PATHS,) absolute t of simulated studies of no effect, at each look."""
    generator = np.random.default_rng(SEED)
    total, squares, before = np.zeros(PATHS), np.zeros(PATHS), 0
    for seeds in looks:
        size = seeds - before
        mean = generator.normal(0, 1 / np.sqrt(size), PATHS)
        within = generator.chisquare(size - 1, PATHS) if size > 1 else np.zeros(PATHS)
        # Sums of squares about the mean of old and new together.
        apart = (mean - total / before) ** 2 * before * size / seeds if before else 0.0
        total, squares, before = total + size * mean, squares + within + apart, seeds
        yield np.abs(total) / np.sqrt(seeds * squares / (seeds - 1))


@cache
def over_looks(plan: Plan, at: int, p: float) -> float:
    """The p-value of a whole confirmation that ended at look `at` (from 0), whose own p-value is `p`.

    Chance, under no effect, of crossing a bound before, or of so small a p at this look (stage-wise ordering, Armitage
    1957; stops for futility are not counted on). It is at most 5 % just where a bound is crossed, and holds beside
    those of other claims. NaN stays NaN.
    """
    if not np.isfinite(p) or at == 0:
        return p
    going, crossed = np.ones(PATHS, dtype=bool), 0
    for seeds, t, bound in zip(plan.looks[: at + 1], _paths(plan.looks), (*plan.bounds[:at], p), strict=False):
        over = going & (t >= stats.t.isf(bound / 2, seeds - 1))
        crossed += int(over.sum())
        going &= ~over
    return min(max(crossed, 1) / PATHS, 1.0)


def whenever(plan: Plan, p: float) -> float:
    """The p-value, over all looks of a plan, of a comparison that its bounds do not watch: Bonferroni's, which holds
    whatever the reason for stopping."""
    return min(p * len(plan.looks), 1.0)


def p_values(parts: Decomposition) -> Floats:
    """(…) the larger p-value of the tests by seed and by both."""
    error, both = _errors(parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_seed = 2 * stats.t.sf(np.abs(parts.estimate) / error, parts.seeds - 1)
        by_both = 2 * stats.t.sf(np.abs(parts.estimate) / both, parts.df_both)
    return np.asarray(np.fmax(by_seed, by_both))


def predictive_power(parts: Decomposition, plan: Plan) -> Floats:
    """(…) chance, given the seeds so far, that the last look crosses its bound.

    The seeds to come are drawn about the mean so far, which is as uncertain as it is (a flat prior); the sentences stay
    the same, and what they add to the variance stays with them.
    """
    n, most = parts.seeds, plan.most
    if n >= most:
        return np.asarray((p_values(parts) <= plan.bounds[-1]).astype(float))
    variance = parts.seed_variance * n
    limit = np.maximum(
        stats.t.isf(plan.bounds[-1] / 2, most - 1) * np.sqrt(variance / most),
        stats.t.isf(plan.bounds[-1] / 2, np.maximum(parts.df_both, most - 1))
        * np.sqrt(variance / most + parts.example_variance),
    )
    spread = np.sqrt(variance * (most - n) / (n * most))
    with np.errstate(divide="ignore", invalid="ignore"):
        above = stats.t.sf((limit - parts.estimate) / spread, n - 1)
        below = stats.t.cdf((-limit - parts.estimate) / spread, n - 1)
    return np.asarray(above + below)


def _errors(parts: Decomposition) -> tuple[Floats, Floats]:
    return np.sqrt(parts.seed_variance), np.sqrt(parts.seed_variance + parts.example_variance)


@dataclass(frozen=True)
class Look:
    """What one look at the endpoint found."""

    seeds: int
    estimate: float
    interval: Interval
    """Repeated confidence interval; it excludes zero where the bound is crossed."""
    p: float
    bound: float
    predictive: float
    """Chance that the last look crosses its bound."""
    verdict: Verdict


def look(parts: Decomposition, plan: Plan, at: int) -> Look:
    """The `at`-th look (from 0) of a plan, at one difference; of fewer seeds than planned where some failed.

    Fewer than two seeds say nothing, and neither do seeds that agree to the last digit (`intervals.around`).
    """
    bound = plan.bounds[at]
    estimate, error = float(parts.estimate), float(np.sqrt(parts.seed_variance))
    silent = not intervals.around(estimate, error, parts.seeds - 1).known
    p = float("nan") if silent else float(p_values(parts))
    predictive = float("nan") if silent else float(predictive_power(parts, plan))
    half = float(parts.half_widths(1 - bound)[1])
    verdict: Verdict = "go on"
    if p <= bound:
        verdict = "crossed"
    elif at == len(plan.looks) - 1:
        verdict = "open"
    elif predictive < FUTILE:
        verdict = "futile"
    interval = UNKNOWN if silent else Interval(estimate - half, estimate + half)
    return Look(parts.seeds, estimate, interval, p, bound, predictive, verdict)
