"""Tests and corrections by hand, against other tests, enumeration, and their own level under no effect."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from study.analysis import significance

P = np.array([0.001, 0.04, 0.03, 0.2, 0.04, 0.9, 0.0004])


HOLM = [0.006, 0.16, 0.15, 0.4, 0.16, 0.9, 0.0028]
BENJAMINI_HOCHBERG = [0.0035, 0.056, 0.056, 0.7 / 3, 0.056, 0.9, 0.0028]
CORRECTIONS = pytest.mark.parametrize(
    ("correction", "expected"),
    [(significance.holm, HOLM), (significance.benjamini_hochberg, BENJAMINI_HOCHBERG)],
)


@CORRECTIONS
def test_corrections_by_hand(correction: Callable[[np.ndarray], np.ndarray], expected: list[float]) -> None:
    np.testing.assert_allclose(correction(P), expected)


@CORRECTIONS
def test_unknown_p_values_stay_unknown_and_uncounted(
    correction: Callable[[np.ndarray], np.ndarray], expected: list[float]
) -> None:
    np.testing.assert_allclose(correction(np.insert(P, 3, np.nan)), np.insert(expected, 3, np.nan))
    np.testing.assert_array_equal(correction([np.nan, np.nan]), [np.nan, np.nan])
    assert correction([]).size == 0


@pytest.mark.parametrize("pairs", [3, 5, 6, 8])
def test_smallest_sign_flip_p_is_reached_and_not_passed(pairs: int) -> None:
    assert significance.sign_flip(np.linspace(0.01, 0.02, pairs)) == significance.smallest_sign_flip_p(pairs)


def test_five_sign_flipped_pairs_never_reach_five_per_cent() -> None:
    assert significance.smallest_sign_flip_p(5) == 0.0625
    assert significance.smallest_sign_flip_p(6) < 0.05


@pytest.mark.parametrize(
    "units",
    [
        [3, -1, 4, 1, 5, 9, -2],
        [8, 2, 28, -24, -4, -8, -10, -20, 20, 12, -4],  # sums to nothing, but for rounding
        [1, 1, -2, 3, 3, 0],
        [0, 0, 0],
        [5],
    ],
)
@pytest.mark.parametrize("unit", [20, 40, 30])
def test_sign_flip_is_exact(units: list[int], unit: int) -> None:
    sums = [abs(sum(s * u for s, u in zip(signs, units, strict=True))) for signs in product((1, -1), repeat=len(units))]
    expected = np.mean(np.array(sums) >= abs(sum(units)))
    assert significance.sign_flip([u / unit for u in units]) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_of_many_pairs_is_seeded_and_counts_the_observed() -> None:
    assert significance.sign_flip(np.ones(40)) == 1 / (1 + significance.DRAWS)
    d = np.random.default_rng(0).normal(0.1, 1, 40)
    assert significance.sign_flip(d) == significance.sign_flip(d)


def test_sign_flip_of_nothing_known_is_unknown() -> None:
    assert np.isnan(significance.sign_flip([]))
    assert np.isnan(significance.sign_flip([np.nan, 0.1, 0.2]))


def test_sign_flip_of_many_pairs_is_close_to_the_t_test() -> None:
    d = np.random.default_rng(0).normal(0.3, 1, 60)
    assert significance.sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)


def test_mcnemar_is_the_binomial_test_of_the_discordant() -> None:
    first = np.array([1] * 30 + [1] * 12 + [0] * 4 + [0] * 9)
    second = np.array([1] * 30 + [0] * 12 + [1] * 4 + [0] * 9)
    assert significance.mcnemar(first, second) == pytest.approx(stats.binomtest(4, 16).pvalue)


def test_clustered_mcnemar_with_one_seed_is_mcnemars() -> None:
    d = np.array([[1] * 12 + [-1] * 4 + [0] * 50])
    expected = reference_mcnemar([[40, 12], [4, 10]], exact=False, correction=False).pvalue
    assert significance.clustered_mcnemar(d) == pytest.approx(expected)


def test_clustered_mcnemar_by_hand() -> None:
    # Three seeds, four sentences; means 1, 1/3, -1/3, 0: (1)^2 / (1 + 1/9 + 1/9) = 9/11.
    d = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, -1, 0]])
    assert significance.clustered_mcnemar(d) == pytest.approx(stats.chi2.sf(9 / 11, 1))


def test_clustered_mcnemar_of_equal_answers_is_one() -> None:
    assert significance.clustered_mcnemar(np.zeros((3, 10))) == 1.0


def test_swapping_sentences_agrees_with_enumeration() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random((2, 1, 10))
    weights = generator.integers(1, 5, (2, 1, 10)).astype(float)

    def score(x: np.ndarray, w: np.ndarray) -> float:
        return float((x * w).sum() / w.sum())

    observed, extreme = abs(score(a[0], weights[0, 0]) - score(b[0], weights[1, 0])), 0
    for flips in product([False, True], repeat=10):
        swap = np.array(flips)
        xa, xb = np.where(swap, b[0], a[0]), np.where(swap, a[0], b[0])
        wa = np.where(swap, weights[1, 0], weights[0, 0])
        wb = np.where(swap, weights[0, 0], weights[1, 0])
        extreme += abs(score(xa, wa) - score(xb, wb)) >= observed - 1e-12
    exact = extreme / 2**10
    error = np.sqrt(exact * (1 - exact) / significance.DRAWS)
    assert significance.swap_sentences((a, b), (weights[0], weights[1])) == pytest.approx(exact, abs=4 * error + 1e-4)


@pytest.mark.parametrize("seeds", [1, 3])
def test_example_tests_keep_their_level(seeds: int) -> None:
    """Two systems that differ on a tenth of 200 sentences, without a preference: Monte-Carlo SE 0.7 %."""
    generator = np.random.default_rng(seeds)
    repetitions, rejected = 1000, 0
    for _ in range(repetitions):
        # Sentences that the systems' seeds mostly agree on, so that seeds are no independent evidence.
        lean = generator.choice([-1, 0, 1], p=[0.05, 0.9, 0.05], size=200)
        d = np.where(generator.random((seeds, 200)) < 0.8, lean, 0)
        rejected += significance.clustered_mcnemar(d) < 0.05
    assert rejected / repetitions == pytest.approx(0.05, abs=0.021)
