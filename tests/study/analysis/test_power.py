"""Power and detectable differences against statsmodels; spreads recovered from a pilot of known spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from study.analysis import differences, power
from study.analysis.power import ASSUMED, Spread

ONLY_SEEDS = Spread(seed=0.01, language_seed=0.0, example=0.0, rest=0.0)


@pytest.mark.parametrize("seeds", [3, 5, 8, 20])
def test_power_by_seed_is_that_of_the_paired_t_test(seeds: int) -> None:
    expected = TTestPower().power(effect_size=1.5, nobs=seeds, alpha=0.05)
    assert power.power(0.015, ONLY_SEEDS, seeds, languages=5, examples=100) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("seeds", [3, 8])
def test_detectable_difference_is_statsmodels(seeds: int) -> None:
    expected = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8) * 0.01
    assert power.detectable(ONLY_SEEDS, seeds, 5, 100) == pytest.approx(expected, rel=0.01)


def test_variances_by_hand() -> None:
    spread = Spread(seed=0.02, language_seed=0.04, example=0.1, rest=0.3)
    # (0.02^2 + (0.04^2 + 0.3^2 / 100) / 10) / 4 and 0.1^2 / (10 x 100)
    assert spread.seed_variance(4, 10, 100) == pytest.approx((4e-4 + (1.6e-3 + 9e-4) / 10) / 4)
    assert spread.example_variance(10, 100) == pytest.approx(1e-5)


def test_seeds_needed_is_the_first_that_is_enough() -> None:
    needed = power.seeds_needed(0.01, ASSUMED, languages=13, examples=200)
    assert needed is not None
    assert power.power(0.01, ASSUMED, needed, 13, 200) >= power.POWER
    assert power.power(0.01, ASSUMED, needed - 1, 13, 200) < power.POWER


def test_no_number_of_seeds_makes_up_for_few_sentences() -> None:
    assert power.seeds_needed(0.01, ASSUMED, languages=3, examples=20, both=True) is None


def test_fewer_than_two_seeds_see_nothing() -> None:
    assert power.detectable(ASSUMED, 1, 10, 100) == np.inf
    assert power.power(0.5, ASSUMED, 1, 10, 100) == 0.0


def test_plan_warns_when_one_point_needs_more_seeds_than_planned() -> None:
    few, many = power.plan(3, 13, 200), power.plan(60, 13, 2_000)
    assert not few.enough_for_one_point
    assert any(line.startswith("Warning: a difference of one point on new sentences needs") for line in few.lines())
    assert many.enough_for_one_point
    assert not any("Warning" in line for line in many.lines())
    limited = power.plan(8, 3, 20)
    assert any("more test sentences" in line for line in limited.lines())


def test_pilot_recovers_the_spread_it_was_drawn_from() -> None:
    """Scores as sentence means of a Gaussian model (rescaled into [0, 1]): moments within 15 %."""
    generator = np.random.default_rng(3)
    s, languages, n = 40, 25, 120
    truth = Spread(seed=0.02, language_seed=0.03, example=0.1, rest=0.15)
    frames = []
    common = generator.normal(0, truth.seed, (s, 1))
    for index in range(languages):
        d = common + generator.normal(0, truth.language_seed, (s, 1))
        d = d + generator.normal(0, truth.example, (1, n)) + generator.normal(0, truth.rest, (s, n))
        index_frame = pd.MultiIndex.from_product([range(s), range(n)], names=["seed", "example"])
        for name, values in (("winner", 0.5 + d / 2), ("control a", 0.5 - d / 2)):
            frame = pd.DataFrame({"score": values.ravel()}, index=index_frame).reset_index()
            frames.append(frame.assign(configuration=name, language=f"l{index:02}"))
    pilot = pd.concat(frames, ignore_index=True).assign(
        weight=1.0, metric="score", study="pilot", control="", split="test"
    )
    pilot["example"] = pilot["language"] + pilot["example"].astype(str)
    got = power.from_pilot(pilot, "winner", "control a")
    for name in ("seed", "language_seed", "example", "rest"):
        assert getattr(got, name) == pytest.approx(getattr(truth, name), rel=0.25 if name == "seed" else 0.15)
    assert got.translated == 0


def test_a_test_set_that_is_one_in_all_languages_tells_less() -> None:
    """Three tenths of what a sentence does to the difference are common to its translations."""
    generator = np.random.default_rng(1)
    seeds, languages, n = 8, 15, 500
    common, frames = generator.normal(size=n), []
    for language in range(languages):
        own = np.sqrt(0.3) * common + np.sqrt(0.7) * generator.normal(size=n)
        d = 0.1 * own + generator.normal(0, 0.2, (seeds, n))
        index = pd.MultiIndex.from_product([range(seeds), range(n)], names=["seed", "example"])
        for name, values in (("winner", 0.5 + d), ("control a", np.full(d.shape, 0.5))):
            frame = pd.DataFrame({"score": values.ravel()}, index=index).reset_index()
            frames.append(frame.assign(configuration=name, language=f"l{language:02}"))
    pilot = pd.concat(frames, ignore_index=True).assign(
        weight=1.0, metric="score", study="pilot", control="", split="test"
    )
    got = power.from_pilot(pilot, "winner", "control a")
    assert got.translated == pytest.approx(0.1 * np.sqrt(0.3), rel=0.15)
    assert got.example == pytest.approx(0.1 * np.sqrt(0.7), rel=0.15)
    parts = differences.parts(
        differences.pair(pilot, "winner", "control a"), lambda each: sum(each.values()) / len(each)
    )
    planned = got.seed_variance(seeds, languages, n) + got.example_variance(languages, n)
    assert planned == pytest.approx(parts.seed_variance + parts.example_variance, rel=0.3)
    apart = power.plan(seeds, languages, n, replace(got, translated=0.0))
    assert power.plan(seeds, languages, n, got).detectable_by_both > 1.4 * apart.detectable_by_both
    assert any("one in all languages" in line for line in apart.lines())
