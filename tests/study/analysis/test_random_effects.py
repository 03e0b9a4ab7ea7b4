"""Random effects against a likelihood maximised by brute force, and against published figures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from study.analysis import random_effects
from study.analysis.intervals import UNKNOWN

# Colditz et al. 1994, thirteen trials of the BCG vaccine (metafor's dat.bcg): cases and others, vaccinated and not.
CASES = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27])
OTHERS = np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886])
CONTROL_CASES = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29])
CONTROL_OTHERS = np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825])
BCG = np.log(CASES / (CASES + OTHERS)) - np.log(CONTROL_CASES / (CONTROL_CASES + CONTROL_OTHERS))
BCG_VARIANCES = 1 / CASES - 1 / (CASES + OTHERS) + 1 / CONTROL_CASES - 1 / (CONTROL_CASES + CONTROL_OTHERS)


def brute_force(y: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> float:
    """tau² where the restricted likelihood, written out, is largest on a grid, and about there."""

    def minus(tau2: float) -> float:
        w = 1 / (tau2 + v)
        mean = np.sum(w * y) / np.sum(w)
        return float(np.sum(np.log(tau2 + v)) + np.log(np.sum(w)) + np.sum(w * (y - mean) ** 2)) / 2

    grid = np.linspace(0, 4 * float(y.var()), 2_001)
    best = grid[np.argmin([minus(t) for t in grid])]
    step = grid[1]
    near = optimize.minimize_scalar(
        minus, bounds=(max(best - step, 0), best + step), method="bounded", options={"xatol": 1e-12}
    )
    return 0.0 if minus(0.0) <= near.fun else float(near.x)


def test_published_figures_of_the_bcg_trials() -> None:
    """metafor: tau² 0.3132, estimate -0.7145; with test="knha" an error of 0.1808, -1.1084 to -0.3206; I² 92.22 %;
    tau² from 0.1197 to 1.1115 by the Q profile."""
    found = random_effects.random_effects(BCG, BCG_VARIANCES)
    assert found.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert found.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert float(random_effects.fit(BCG, BCG_VARIANCES).error) == pytest.approx(0.1808, abs=5e-5)
    assert (found.interval.low, found.interval.high) == pytest.approx((-1.1084, -0.3206), abs=5e-5)
    assert found.i2 == pytest.approx(0.9222, abs=5e-5)
    assert (found.tau2_interval.low, found.tau2_interval.high) == pytest.approx((0.1197, 1.1115), abs=5e-5)


@pytest.mark.parametrize("units", [2, 3, 6, 10])
@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_reml_is_where_the_likelihood_is_largest(units: int, tau: float) -> None:
    generator = np.random.default_rng(units)
    v = np.exp(generator.normal(0, 0.7, (5, units)))
    y = generator.normal(1, np.sqrt(tau**2 + v))
    expected = [brute_force(*row) for row in zip(y, v, strict=True)]
    assert random_effects.reml(y, v) == pytest.approx(np.array(expected), rel=1e-4, abs=1e-4)


def test_equal_variances_are_the_t_test_over_units() -> None:
    y = np.array([0.01, 0.03, -0.005, 0.02])
    found = random_effects.random_effects(y, np.full(4, 1e-5))
    expected = stats.ttest_1samp(y, 0.0)
    low, high = expected.confidence_interval()
    assert found.p == pytest.approx(float(expected.pvalue))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    # A further unit of this kind: the t interval of a new observation.
    half = stats.t.ppf(0.975, 3) * y.std(ddof=1) * np.sqrt(1 + 1 / 4)
    assert found.prediction.high - found.estimate == pytest.approx(half)


def test_heterogeneity_is_the_analysis_of_variance() -> None:
    """Equal numbers of seeds, their variance pooled: the F test between tasks, exactly."""
    generator = np.random.default_rng(5)
    values = generator.normal(generator.normal(0, 1, (5, 1)), 1, (5, 4))
    pooled = values.var(axis=1, ddof=1).mean() / 4
    found = random_effects.random_effects(values.mean(axis=1), np.full(5, pooled), df=15)
    assert found.p_heterogeneity == pytest.approx(float(stats.f_oneway(*values).pvalue))


def test_the_interval_of_tau2_is_what_is_not_refused() -> None:
    found = random_effects.random_effects(BCG, BCG_VARIANCES, df=30)
    for end, chance in ((found.tau2_interval.low, 0.975), (found.tau2_interval.high, 0.025)):
        assert float(random_effects.heterogeneity(BCG, BCG_VARIANCES, end, 30)) == pytest.approx(chance, abs=1e-6)


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert random_effects.random_effects([0.3], [0.1]).interval == UNKNOWN
    unknown_errors = random_effects.random_effects([0.01, 0.02, 0.04], [0.0, 0.0, 0.0])
    assert unknown_errors.interval.known
    assert np.isnan(unknown_errors.tau2)
    assert np.isnan(unknown_errors.p_heterogeneity)
    assert random_effects.random_effects([0.2, 0.2], [0.0, 0.0]).interval == UNKNOWN
