"""t intervals against SciPy's, and what identical values allow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.analysis import intervals
from study.analysis.intervals import UNKNOWN, Interval

VALUES = np.array([0.012, -0.003, 0.021, 0.008, 0.005])


def test_interval_of_mean_is_scipys() -> None:
    expected, interval = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95), intervals.of_mean(VALUES)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_p_value_is_scipys() -> None:
    error = VALUES.std(ddof=1) / np.sqrt(len(VALUES))
    assert intervals.p_value(VALUES.mean(), error, 4) == pytest.approx(stats.ttest_1samp(VALUES, 0.0).pvalue)


@pytest.mark.parametrize("values", [[0.1], [], [0.05, 0.05, 0.05]])
def test_too_little_variation_gives_no_interval(values: list[float]) -> None:
    interval = intervals.of_mean(values)
    assert not interval.known
    assert not interval.excludes_zero


def test_equal_systems_have_an_interval_and_p_of_one() -> None:
    assert intervals.of_mean([0.0, 0.0, 0.0]) == Interval(0.0, 0.0)
    assert intervals.p_value(0.0, 0.0, 2) == 1.0
    assert np.isnan(intervals.p_value(0.05, 0.0, 2))


def test_excludes_and_within() -> None:
    assert Interval(0.001, 0.02).excludes_zero
    assert Interval(-0.02, -0.001).excludes_zero
    assert not Interval(-0.001, 0.02).excludes_zero
    assert Interval(-0.004, 0.009).within(0.01)
    assert not Interval(-0.004, 0.011).within(0.01)
    assert not UNKNOWN.within(1.0)


def test_interval_of_a_share_is_wilsons() -> None:
    """Against the closed form: centre (k + z²/2) / (n + z²), half width z sqrt(k (n - k) / n + z²/4) / (n + z²)."""
    z, k, n = stats.norm.ppf(0.975), 12, 40
    centre, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    interval = intervals.of_share(k, n)
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half))
    assert intervals.of_share(0, 40).low == 0.0 and intervals.of_share(0, 40).high > 0.0
    assert intervals.of_share(0, 0) == UNKNOWN


def test_interval_of_a_ratio() -> None:
    """With equal weights that of the mean; with others it covers the ratio as often as it says."""
    equal, mean = intervals.of_ratio(VALUES, np.full(5, 3.0)), intervals.of_mean(VALUES)
    assert (equal.low, equal.high) == pytest.approx((mean.low, mean.high))
    generator, covered = np.random.default_rng(0), 0
    truth = 0.3 * (1 * 1 + 2 * 2) / (1 + 2)  # examples of weight 1 score 0.3, those of weight 2 score 0.6
    for _ in range(400):
        weights = generator.integers(1, 3, 200)
        interval = intervals.of_ratio(0.3 * weights + generator.normal(0, 0.2, 200), weights)
        covered += interval.low <= truth <= interval.high
    assert 0.92 < covered / 400 < 0.98
    assert intervals.of_ratio([0.5], [1.0]) == UNKNOWN and intervals.of_ratio([0.5, 0.1], [0.0, 0.0]) == UNKNOWN
