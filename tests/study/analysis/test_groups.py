"""Groups of languages against SciPy, statsmodels formulas, and their own level under no effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from study.analysis import groups
from tests.study.simulated import FACTS

A = np.array([0.031, 0.012, 0.044, 0.027])
B = np.array([0.004, -0.011, 0.009, 0.018, 0.001, -0.002])


def test_welch_is_scipys() -> None:
    expected = stats.ttest_ind(A, B, equal_var=False).confidence_interval(0.95)
    got = groups.welch_interval(A, B)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high))


def test_welch_of_groups_that_do_not_vary_is_unknown() -> None:
    assert not groups.welch_interval([0.1] * 3, [0.1] * 4).known
    assert not groups.welch_interval([0.1] * 3, [0.2] * 4).known
    assert groups.welch_interval([0.1] * 3, [0.2, 0.3]).known


def enumerated(a: Sequence[Fraction], b: Sequence[Fraction]) -> float:
    """The permutation p by rational arithmetic, in which equal statistics are equal."""

    def squared_t(x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction | float:
        means = [sum(v) / Fraction(len(v)) for v in (x, y)]
        gap = (means[0] - means[1]) ** 2
        error = sum(sum((u - m) ** 2 for u in v) / (len(v) - 1) / len(v) for v, m in zip((x, y), means, strict=True))
        return gap / error if error else (np.inf if gap else 0)

    pooled, observed = [*a, *b], squared_t(a, b)
    draws = [set(chosen) for chosen in combinations(range(len(pooled)), len(a))]
    sides = (([pooled[i] for i in d], [v for i, v in enumerate(pooled) if i not in d]) for d in draws)
    return sum(squared_t(*side) >= observed for side in sides) / len(draws)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([31, 12, 44, 27], [4, -11, 9, 18, 1, -2]),
        ([0, 2, 1, 0, 2, 1], [1, 1, 1]),  # no difference of means, but for rounding
        ([4, 4, 4, 4, 4, 4], [4, 4, 4]),
        ([4, 4, 4], [8, 8, 8, 8]),
        ([1, 1, 2, 0], [0, 0, 1, 0]),  # many equal statistics
        ([1, 0, 1], [1, 1, 1, 1, 1]),  # t is one either way
    ],
)
@pytest.mark.parametrize("unit", [1000, 40, 20, 30])
def test_permutation_is_exact(a: list[int], b: list[int], unit: int) -> None:
    expected = enumerated([Fraction(v, unit) for v in a], [Fraction(v, unit) for v in b])
    assert groups.permutation_p([v / unit for v in a], [v / unit for v in b]) == pytest.approx(expected, abs=1e-12)


def test_random_permutations_are_seeded_and_count_the_observed() -> None:
    a, b = np.arange(20) + 100.0, np.arange(20) * 1.0
    assert groups.permutation_p(a, b) == 1 / (1 + groups.ENUMERATED)
    near = np.arange(20) + 4.0
    assert groups.permutation_p(near, b) == groups.permutation_p(near, b)


def test_permutation_of_unknown_gains_is_unknown() -> None:
    assert np.isnan(groups.permutation_p([*A, np.nan], B))


def test_random_permutations_agree_with_welch_for_larger_groups() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.6, 1, 13), generator.normal(0, 1, 35)
    assert groups.permutation_p(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, abs=0.02)


def test_permutation_keeps_its_level() -> None:
    """No effect, 4 against 8 languages: Monte-Carlo SE 0.7 %."""
    generator = np.random.default_rng(1)
    p = [groups.permutation_p(x[:4], x[4:]) for x in generator.normal(size=(1000, 12))]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.021)


def test_welch_interval_covers() -> None:
    """Groups of 5 and 9 languages of unequal spread, difference 0.02: Monte-Carlo SE 0.5 %."""
    generator = np.random.default_rng(2)
    hits = []
    for _ in range(2000):
        got = groups.welch_interval(generator.normal(0.03, 0.02, 5), generator.normal(0.01, 0.01, 9))
        hits.append(got.low <= 0.02 <= got.high)
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.fixture
def languages() -> pd.DataFrame:
    generator = np.random.default_rng(3)
    codes = list(FACTS["language"])
    baseline = pd.DataFrame(generator.uniform(0.4, 0.9, (4, len(codes))), columns=codes)
    gain = pd.DataFrame(generator.normal(0.01, 0.01, (4, len(codes))), columns=codes)
    low = FACTS.loc[FACTS["resource_class"] <= 2, "language"]
    gain[list(low)] += 0.05
    return groups.gains_by_language(gain, baseline, FACTS)


def test_variants_are_one_language(languages: pd.DataFrame) -> None:
    assert "de-CH" not in set(languages["language"])
    assert len(languages) == len(FACTS) - 1


def test_contrasts_print_the_number_of_languages(languages: pd.DataFrame) -> None:
    table = groups.group_contrasts(languages, declared={"mine": ("sw", "yo", "ht")}).set_index("group")
    low = table.loc["low-resource, class ≤ 2"]
    assert (low["n_group"], low["n_rest"]) == (6, 8)
    assert low["difference"] == pytest.approx(0.05, abs=0.02)
    assert low["q"] < 0.05
    assert table.loc["unseen in pretraining", "n_group"] == 3
    assert table.loc["mine", "n_group"] == 3
    # Two languages are no group: Cyrillic (bg, ru) is not compared.
    assert "script Cyrl" not in table.index
    assert "script Latn" in table.index
    assert (table["q"] >= table["p"] - 1e-12).all()


def test_unknown_facts_are_in_neither_side(languages: pd.DataFrame) -> None:
    languages.loc[languages["language"] == "sw", "resource_class"] = np.nan
    table = groups.group_contrasts(languages).set_index("group")
    assert table.loc["low-resource, class ≤ 2", ["n_group", "n_rest"]].tolist() == [5, 8]


def test_adjustment_is_statsmodels_formula(languages: pd.DataFrame) -> None:
    low, rest = languages["resource_class"] <= 2, languages["resource_class"] >= 3
    estimate, interval, n = groups.adjusted_contrast(languages, low, rest)
    known = languages[languages["pretraining_size"].notna()].assign(low=low.astype(float))
    fit = smf.ols("gain ~ low + baseline + np.log(pretraining_size)", known).fit()
    assert n == len(known) == 11
    assert estimate == pytest.approx(fit.params["low"])
    assert (interval.low, interval.high) == pytest.approx(tuple(fit.conf_int().loc["low"]))


def test_adjustment_removes_what_the_baseline_explains() -> None:
    """Gains that follow the baseline score alone: the plain contrast shows a group effect, the adjusted one none."""
    generator = np.random.default_rng(4)
    low = np.repeat([True, False], 15)
    baseline = np.where(low, 0.4, 0.7) + generator.normal(0, 0.08, 30)
    frame = pd.DataFrame(
        {
            "gain": 0.1 * (0.8 - baseline) + generator.normal(0, 0.002, 30),
            "baseline": baseline,
            "pretraining_size": 10 ** generator.uniform(7, 10, 30),
        }
    )
    side = pd.Series(low)
    assert groups.welch_interval(frame.loc[side, "gain"], frame.loc[~side, "gain"]).excludes_zero
    estimate, interval, _ = groups.adjusted_contrast(frame, side, ~side)
    assert not interval.excludes_zero
    assert abs(estimate) < 0.01


def test_too_few_languages_are_not_adjusted(languages: pd.DataFrame) -> None:
    few = languages.head(6)
    estimate, interval, n = groups.adjusted_contrast(few, few["resource_class"] <= 2, few["resource_class"] >= 3)
    assert np.isnan(estimate)
    assert not interval.known
    assert n < 7


def test_variation_over_seeds_stands_beside_it(languages: pd.DataFrame) -> None:
    per_seed = pd.DataFrame(
        np.random.default_rng(5).normal(0, 0.01, (5, len(languages))), columns=languages["language"]
    )
    table = groups.group_contrasts(languages, per_seed).set_index("group")
    low = list(languages.loc[languages["resource_class"] <= 2, "language"])
    rest = list(languages.loc[languages["resource_class"] >= 3, "language"])
    expected = stats.ttest_1samp(per_seed[low].mean(axis=1) - per_seed[rest].mean(axis=1), 0).confidence_interval()
    row = table.loc["low-resource, class ≤ 2"]
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((expected.low, expected.high))


def test_spearman_is_scipys_and_its_interval_bonett_and_wrights() -> None:
    x = np.array([5, 5, 4, 4, 3, 3, 2, 2, 1, 1, np.nan])
    y = np.array([0.1, 0.3, 0.2, 0.5, 0.4, 0.35, 0.7, 0.45, 0.6, 0.9, 0.5])
    rho, interval, p, n = groups.spearman(x, y)
    expected = stats.spearmanr(x[:-1], y[:-1])
    assert (rho, p, n) == pytest.approx((expected.statistic, expected.pvalue, 10))
    half = 1.959964 * np.sqrt((1 + rho**2 / 2) / 7)
    assert (interval.low, interval.high) == pytest.approx(
        (np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)), abs=1e-6
    )


def test_spearman_interval_covers() -> None:
    """Bivariate normal, Pearson 0.5, so Spearman (6/pi) asin(0.25) = 0.483, 30 languages: Monte-Carlo SE 0.5 %."""
    generator = np.random.default_rng(6)
    truth, hits = 6 / np.pi * np.arcsin(0.25), []
    for _ in range(2000):
        x = generator.normal(size=30)
        _, interval, _, _ = groups.spearman(x, 0.5 * x + np.sqrt(0.75) * generator.normal(size=30))
        hits.append(interval.low <= truth <= interval.high)
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("n", [4, 5, 6])
def test_a_few_languages_show_a_trend_no_more_often_than_is_said(n: int) -> None:
    """The t approximation finds one in 8 % of all orders of four."""
    found = [groups.spearman(range(n), order) for order in permutations(range(n))]
    assert np.mean([p < 0.05 for _, _, p, _ in found]) <= 0.05
    rho, interval, p, _ = groups.spearman(range(n), range(n))
    assert rho == 1.0 and not interval.known
    assert p == pytest.approx(2 / math.factorial(n))


def test_the_exact_p_of_tied_ranks_is_that_of_all_orders() -> None:
    x, y = [1, 1, 2, 3, 3], [0.1, 0.4, 0.2, 0.5, 0.9]
    every = [stats.spearmanr(x, order).statistic for order in permutations(y)]
    expected = np.mean(np.abs(every) >= abs(stats.spearmanr(x, y).statistic) - 1e-9)
    assert groups.spearman(x, y)[2] == pytest.approx(expected)


def test_spearman_of_too_little_is_unknown() -> None:
    assert np.isnan(groups.spearman([1, 2, 3], [1, 2, 3])[0])
    assert np.isnan(groups.spearman([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])[0])
