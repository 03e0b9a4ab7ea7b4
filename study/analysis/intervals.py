"""An interval, and the t intervals that the rest of this package is built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
"""Coverage of every interval of this project."""


@dataclass(frozen=True)
class Interval:
    """Both ends, in the unit of the estimate; NaN where the data give none."""

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    @property
    def excludes_zero(self) -> bool:
        """Whether zero is outside; false where there is no interval."""
        return self.known and not self.low <= 0.0 <= self.high

    def within(self, margin: float) -> bool:
        """Whether the whole interval lies in [-margin, margin]."""
        return self.known and -margin <= self.low and self.high <= margin


UNKNOWN = Interval(float("nan"), float("nan"))
"""No interval can be given."""

NO_VARIATION = 1e-12
"""Standard errors below this are zero: scores are multiples of one over the number of examples."""


def around(estimate: float, standard_error: float, df: float, level: float = LEVEL) -> Interval:
    """Two-sided t interval.

    Unknown where values agree exactly on something other than zero: so few examples that all seeds land on the same
    fraction say nothing of how seeds vary. Exactly equal systems (all zero) do have the interval [0, 0].
    """
    if not (np.isfinite(standard_error) and df > 0) or _tied(estimate, standard_error):
        return UNKNOWN
    half = float(stats.t.ppf((1 + level) / 2, df)) * standard_error
    return Interval(estimate - half, estimate + half)


def of_mean(values: ArrayLike) -> Interval:
    """t interval of a mean of independent values, df = n - 1; unknown for fewer than two.

    >>> of_mean([0.51, 0.53, 0.55]).excludes_zero
    True
    """
    x = np.asarray(values, dtype=float)
    if x.size < 2:
        return UNKNOWN
    return around(float(x.mean()), float(x.std(ddof=1) / np.sqrt(x.size)), x.size - 1)


def of_share(right: int, count: int) -> Interval:
    """Wilson's interval of a share of independent examples (1927); unknown for none."""
    if count < 1:
        return UNKNOWN
    found = stats.binomtest(right, count).proportion_ci(LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def of_ratio(scores: ArrayLike, weights: ArrayLike) -> Interval:
    """t interval of sum(score x weight) / sum(weight) of independent examples, by linearisation (Cochran 1977)."""
    s, w = np.asarray(scores, dtype=float), np.asarray(weights, dtype=float)
    if s.size < 2 or not w.sum() > 0:
        return UNKNOWN
    ratio = float((s * w).sum() / w.sum())
    influence = w * (s - ratio) / w.mean()
    return around(ratio, float(influence.std(ddof=1) / np.sqrt(s.size)), s.size - 1)


def p_value(estimate: float, standard_error: float, df: float) -> float:
    """Two-sided p of a t test of zero; NaN where `around` is unknown, 1 where it is [0, 0]."""
    if not (np.isfinite(standard_error) and df > 0) or _tied(estimate, standard_error):
        return float("nan")
    if standard_error < NO_VARIATION:
        return 1.0
    return float(2 * stats.t.sf(abs(estimate) / standard_error, df))


def _tied(estimate: float, standard_error: float) -> bool:
    return standard_error < NO_VARIATION < abs(estimate)
