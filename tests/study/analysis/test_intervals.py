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
