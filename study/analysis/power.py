"""How small an effect a confirmation can see: before paying for it.

The model is that of `differences`: a configuration's difference from a control is the effect, plus what varies by seed
(in common over languages, and in each language), by sentence, and by seed and sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from study.analysis import intervals
from study.analysis.differences import Paired, combine, pair

Floats = npt.NDArray[np.float64]

NODES = 500
"""Points at which the distribution of an estimated variance is evaluated."""

POWER = 0.8
"""Chance of seeing an effect, at which it counts as detectable."""

MAX_SEEDS = 1_000
"""Beyond this many seeds an effect counts as out of reach."""

ONE_POINT = 0.01
"""A difference of one point: the least that most readers care about."""


NEW = "new sentences"
"""What a difference is seen on where the sentences count as a sample too, in words."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the paired difference, in score units."""

    seed: float
    """Over seeds, in common to all languages."""
    language_seed: float
    """Over seeds, of each language for itself."""
    example: float
    """Over a language's sentences, in common to all seeds."""
    rest: float
    """Of one sentence under one seed."""
    translated: float = 0.0
    """Over sentences that stand in all languages, in common to their translations and all seeds."""

    def seed_variance(self, seeds: int, languages: int, examples: int) -> float:
        """Of the mean over seeds and languages, the sentences held."""
        own = self.language_seed**2 + self.rest**2 / examples
        return (self.seed**2 + own / languages) / seeds

    def example_variance(self, languages: int, examples: int) -> float:
        """What sentences add to it: those of each language, and those that are one in all of them."""
        return (self.example**2 / languages + self.translated**2) / examples


ASSUMED = Spread(seed=0.004, language_seed=0.01, example=0.15, rest=0.3)
"""Where there is no pilot: seeds as measured on the embedded default (paired differences of a mean over 48 languages:
SD 0.004), sentences as if two trained models disagreed on about a tenth of them."""


def from_pilot(results: pd.DataFrame, treatment: str, control: str) -> Spread:
    """The spread a pilot shows, by the method of moments; needs two seeds and two examples per language.

    `results`: a checked results frame of one study and split. With one language the two seed parts are not told apart,
    and all of it stands in `seed`.
    """
    data = pair(results, treatment, control)
    assert len(data.seeds) >= 2, "a pilot needs at least two seeds"
    shared, rest, noise = np.mean([_example_variances(data, k) for k in data.languages], axis=0)
    table = data.language_scores()
    seed, own = _seed_variances(table[0] - table[1], noise)
    translated = _translated_variance(data)
    return Spread(_root(seed), _root(own), _root(shared - translated), _root(rest), _root(translated))


def from_scores(differences: Sequence[Floats], examples: int) -> Spread:
    """The spread over seeds that scores per language show, that over sentences as in `ASSUMED`.

    `differences`: for each configuration of a pilot an array (seeds, languages) of its differences from the control,
    paired by seed, two seeds at least; `examples`: sentences behind each score. Variances are averaged.
    """
    noise = ASSUMED.rest**2 / examples
    seed, own = np.mean([_seed_variances(d, noise) for d in differences], axis=0)
    return replace(ASSUMED, seed=_root(seed), language_seed=_root(own))


def _seed_variances(d: Floats, noise: float) -> tuple[float, float]:
    """Variance over seeds in common to the languages, and of each for itself, of differences (seeds, languages) in
    each of which sentences leave a variance of `noise`. One language alone has all of it in the first."""
    seeds, languages = d.shape
    common = float(d.mean(axis=1).var(ddof=1))
    if languages == 1:
        return common - noise, 0.0
    residual = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
    own = float(np.sum(residual**2) / ((seeds - 1) * (languages - 1)))
    return common - own / languages, own - noise


def _example_variances(data: Paired, language: str) -> tuple[float, float, float]:
    """Variance over sentences in common to all seeds; of one seed alone; the latter over the sentences."""
    d = data.scores[language][0] - data.scores[language][1]
    s, n = d.shape
    residual = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
    rest = float(np.sum(residual**2) / ((s - 1) * (n - 1)))
    return float(d.mean(axis=0).var(ddof=1)) - rest / s, rest, rest / n


def _translated_variance(data: Paired) -> float:
    """Covariance over sentences, at least 0, of the mean differences of two languages that have them both."""
    table = np.full((data.size, len(data.languages)), np.nan)
    for column, language in enumerate(data.languages):
        d = (data.scores[language][0] - data.scores[language][1]).mean(axis=0)
        table[data.units[language], column] = d - d.mean()
    there = ~np.isnan(table)
    known = np.where(there, table, 0.0)
    common, products = there.T.astype(float) @ there, known.T @ known
    pairs = np.triu(common > 1, k=1)
    return max(float(np.mean(products[pairs] / (common[pairs] - 1))), 0.0) if pairs.any() else 0.0


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))


def power(effect: float, spread: Spread, seeds: int, languages: int, examples: int, both: bool = False) -> float:
    """Chance that the interval of the primary endpoint (a mean over languages) excludes zero, given `effect`.

    By seed, or, with `both`, by both (see `differences`). Exact for the first under normality; for the second the
    examples' own variances count as known, as they nearly are with a few hundred examples.
    """
    if seeds < 2:
        return 0.0
    by_seed = spread.seed_variance(seeds, languages, examples)
    drawn = by_seed * stats.chi2.ppf((np.arange(NODES) + 0.5) / NODES, seeds - 1) / (seeds - 1)
    quantile = (1 + intervals.LEVEL) / 2
    half = stats.t.ppf(quantile, seeds - 1) * np.sqrt(drawn)
    variance = by_seed
    if both:
        rest = spread.rest**2 / (seeds * languages * examples)
        different = examples * (1 if spread.translated else languages)
        added, df = combine(drawn, spread.example_variance(languages, examples) + rest, rest, seeds, different)
        half = np.maximum(half, stats.t.ppf(quantile, df) * np.sqrt(drawn + added))
        variance += spread.example_variance(languages, examples)
    if variance == 0:
        return float(effect != 0)
    deviation = np.sqrt(variance)
    seen = stats.norm.sf((half - effect) / deviation) + stats.norm.cdf((-half - effect) / deviation)
    return float(seen.mean())


def detectable(spread: Spread, seeds: int, languages: int, examples: int, both: bool = False) -> float:
    """The smallest effect seen with chance `POWER`; infinite with fewer than two seeds."""
    if seeds < 2:
        return float("inf")

    def lacking(effect: float) -> float:
        return power(effect, spread, seeds, languages, examples, both) - POWER

    upper = 1e-4
    while lacking(upper) < 0:
        upper *= 2
    return float(optimize.brentq(lacking, 0.0, upper, xtol=1e-7))


def seeds_needed(effect: float, spread: Spread, languages: int, examples: int, both: bool = False) -> int | None:
    """Fewest seeds that see `effect` with chance `POWER`; None beyond `MAX_SEEDS` (the sentences limit it).

    >>> seeds_needed(0.01, Spread(0.01, 0.01, 0.2, 0.2), languages=15, examples=500)
    11
    """
    return _first(lambda seeds: power(effect, spread, seeds, languages, examples, both) >= POWER)


def _first(enough: Callable[[int], bool]) -> int | None:
    """Least number in 2 … MAX_SEEDS for which a monotone property holds."""
    if not enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Plan:
    """What a confirmation of a given size can see of the primary endpoint."""

    seeds: int
    languages: int
    examples: int
    spread: Spread
    detectable_by_seed: float
    detectable_by_both: float
    one_point_power: float
    """Chance of seeing one point, new sentences counted too."""
    one_point_seeds: int | None
    """Seeds that one point needs; None: no number of seeds is enough with so few sentences."""

    @property
    def enough_for_one_point(self) -> bool:
        """Whether the planned seeds see a one-point effect with chance `POWER`."""
        return self.one_point_seeds is not None and self.seeds >= self.one_point_seeds

    def lines(self) -> list[str]:
        """The plan in words, one statement a line."""
        languages = f"{self.languages} language{'s' * (self.languages != 1)}"
        seen = f"With {self.seeds} seeds, {languages} and {self.examples} test sentences a language,"
        answer = [
            f"{seen} differences of the primary endpoint of {100 * self.detectable_by_both:.1f} points or more are "
            f"seen with a chance of {POWER:.0%}, and one of one point with a chance of {self.one_point_power:.0%}: on "
            f"{NEW}, of which those are a sample.",
            f"On those very sentences alone, {100 * self.detectable_by_seed:.1f} points or more are seen with a chance "
            f"of {POWER:.0%}.",
        ]
        if self.languages > 1 and not self.spread.translated:
            answer.append(
                "Sentences of different languages count as different ones: of a test set that is one in all languages "
                "less is seen, as a pilot would show."
            )
        if self.one_point_seeds is None:
            answer.append(
                f"Warning: no number of seeds shows one point on {NEW}; it takes more test sentences or languages."
            )
        elif not self.enough_for_one_point:
            answer.append(
                f"Warning: a difference of one point on {NEW} needs {self.one_point_seeds} seeds, {self.seeds} are "
                "planned (protocol.confirm_seeds)."
            )
        return answer


def plan(seeds: int, languages: int, examples: int, spread: Spread = ASSUMED) -> Plan:
    """What a confirmation can see, with `languages` in its endpoint and `examples` test sentences in each."""
    return Plan(
        seeds, languages, examples, spread,
        detectable_by_seed=detectable(spread, seeds, languages, examples),
        detectable_by_both=detectable(spread, seeds, languages, examples, both=True),
        one_point_power=power(ONE_POINT, spread, seeds, languages, examples, both=True),
        one_point_seeds=seeds_needed(ONE_POINT, spread, languages, examples, both=True),
    )  # fmt: skip
