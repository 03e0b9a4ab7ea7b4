"""Looks at a confirmation: bounds against other simulations, verdicts, and the level on 0/1 answers.

`benchmarks/looks.py` is the larger version.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.looks import SCENARIOS, rates
from study.analysis import sequential
from study.analysis.differences import Decomposition, decompose
from study.analysis.sequential import Plan


def by_seed(*differences: float) -> Decomposition:
    """Of differences whose sentences add nothing."""
    return decompose(differences, np.zeros((len(differences), 4)))


def test_one_look_is_the_plain_test() -> None:
    only = sequential.plan(8, 8)
    assert only.looks == (8,)
    assert only.bounds == pytest.approx((0.05,))


def test_the_last_look_is_at_most() -> None:
    assert sequential.plan(10, 4).looks == (4, 8, 10)
    assert sequential.plan(20, 4).looks == (4, 8, 12, 16, 20)


def test_little_is_spent_early_and_all_in_the_end() -> None:
    assert sequential.spent(1.0) == pytest.approx(0.05)
    assert sequential.spent(1.0, "pocock") == pytest.approx(0.05)
    assert float(sequential.spent(0.2)) < 1e-4
    first, *_, last = sequential.plan(20, 4).bounds
    assert first == pytest.approx(float(sequential.spent(0.2)))
    assert 0.03 < last < 0.05
    assert list(sequential.plan(20, 4).bounds) == sorted(sequential.plan(20, 4).bounds)


@pytest.mark.parametrize(("most", "every", "spending"), [(8, 4, "obrien_fleming"), (12, 3, "pocock")])
def test_bounds_keep_the_level_of_t_tests_looked_at_again_and_again(
    most: int, every: int, spending: sequential.Spending
) -> None:
    """Seeds drawn one by one, t tests by the library: 5 % of 60,000 studies, whose Monte-Carlo error is 0.09 %."""
    plan = sequential.plan(most, every, spending)
    seeds = np.random.default_rng(1).normal(size=(60_000, most))
    p = np.stack([stats.ttest_1samp(seeds[:, :n], 0, axis=1).pvalue for n in plan.looks])
    assert np.mean(np.any(p <= np.array(plan.bounds)[:, None], axis=0)) == pytest.approx(0.05, abs=0.003)
    assert np.mean(np.any(p <= 0.05, axis=0)) > 0.07  # what the bounds are for


def test_the_p_value_over_all_looks_is_level_just_where_a_bound_is_crossed() -> None:
    plan = sequential.plan(12, 4)
    assert sequential.over_looks(plan, 0, 0.003) == 0.003
    for at, bound in enumerate(plan.bounds):
        spent = float(sequential.spent(plan.looks[at] / plan.most))
        assert sequential.over_looks(plan, at, bound) == pytest.approx(spent, abs=1e-4)
        assert sequential.over_looks(plan, at, bound / 2) < spent < sequential.over_looks(plan, at, bound * 1.5)
    assert sequential.over_looks(plan, 2, 0.5) == pytest.approx(0.5, abs=0.02)
    assert np.isnan(sequential.over_looks(plan, 1, float("nan")))
    assert sequential.whenever(plan, 0.01) == pytest.approx(0.03)


def test_the_interval_excludes_zero_just_where_the_bound_is_crossed() -> None:
    plan = sequential.plan(8, 4)
    generator = np.random.default_rng(2)
    verdicts = set()
    for effect in np.linspace(0, 3, 40):
        found = sequential.look(by_seed(*generator.normal(effect, 0.3, 4)), plan, 0)
        assert found.interval.excludes_zero == (found.verdict == "crossed") == (found.p <= found.bound)
        verdicts.add(found.verdict)
    assert verdicts == {"crossed", "go on"}


def test_the_last_look_has_no_further_one() -> None:
    found = sequential.look(by_seed(0.01, -0.01, 0.02, -0.02, 0.01, -0.01, 0.0, 0.001), sequential.plan(8, 4), 1)
    assert found.verdict == "open"
    assert found.predictive == 0


def test_sentences_that_differ_stop_no_confirmation_for_an_effect() -> None:
    """All seeds agree on sentences, of which another sample may say otherwise; by seed alone it would be crossed."""
    plan = sequential.plan(8, 4)
    generator = np.random.default_rng(3)
    sentences = generator.choice([-1.0, 1.0], 50) + 0.2
    scores = sentences + generator.normal(0, 0.05, (4, 50))
    parts = decompose(scores.mean(axis=1), (scores - scores.mean(axis=1, keepdims=True)) / 50)
    assert stats.ttest_1samp(scores.mean(axis=1), 0).pvalue <= plan.bounds[0]
    assert sequential.look(parts, plan, 0).verdict == "futile"


def test_seeds_that_agree_to_the_last_digit_say_nothing() -> None:
    found = sequential.look(by_seed(0.02, 0.02, 0.02, 0.02), sequential.plan(8, 4), 0)
    assert found.verdict != "crossed"
    assert not found.interval.known


def test_predictive_power_is_the_share_of_futures_that_cross() -> None:
    """Futures drawn by brute force: mean and variance from their posterior, then the seeds to come."""
    plan = Plan((6, 30), (0.005, 0.048))
    so_far = np.array([0.9, 0.1, 0.7, -0.2, 0.5, 0.6])
    generator = np.random.default_rng(4)
    draws = 20_000
    variance = so_far.var(ddof=1) * 5 / generator.chisquare(5, draws)
    mean = generator.normal(so_far.mean(), np.sqrt(variance / 6))
    future = generator.normal(mean[:, None], np.sqrt(variance)[:, None], (draws, 24))
    whole = np.concatenate([np.broadcast_to(so_far, (draws, 6)), future], axis=1)
    expected = np.mean(stats.ttest_1samp(whole, 0, axis=1).pvalue <= 0.048)
    # Ours holds the variance at its estimate for the last test.
    assert float(sequential.predictive_power(by_seed(*so_far), plan)) == pytest.approx(float(expected), abs=0.05)


@pytest.mark.parametrize("scenario", ["seeds vary", "both vary"])
def test_level_savings_and_intervals_on_answers(scenario: str) -> None:
    """1,200 confirmations each, whose Monte-Carlo error is 0.6 % at 5 %."""
    plans = [sequential.plan(12, every) for every in (12, 6, 4, 3)]
    generator = np.random.default_rng(5)
    none = rates(generator, 1_200, plans, 0.0, SCENARIOS[scenario], examples=80)
    clear = rates(generator, 300, plans, 0.12, SCENARIOS[scenario], examples=80)
    assert all(r.shown <= 0.068 and r.followed <= r.shown for r in none)
    assert all(r.covered >= 0.93 for r in (*none, *clear))
    assert none[0].seeds == clear[0].seeds == 12
    for found in (none, clear):
        assert all(r.seeds < 11 for r in found[1:])
    assert all(r.shown > 0.95 * clear[0].shown for r in clear)
