"""Dose and response: gains by hand, levels against SciPy, optimum and threshold against planted responses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import dose
from tests.study.simulated import FACTS, design_trials

UNITS = {str(r.language): f"class {r.resource_class}" for r in FACTS.itertuples()}
VARIANTS = {"de-CH": "de"}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return design_trials(np.random.default_rng(0))


def test_gains_are_over_the_baseline_of_the_same_seed(trials: pd.DataFrame) -> None:
    gains = dose.dose_gains(trials)
    row = gains[(gains["language"] == "sw") & (gains["seed"] == 2)].iloc[3]
    mine = trials[(trials["language"] == "sw") & (trials["seed"] == 2)]
    own = mine.loc[mine["trial"] == row["trial"], "score"].item()
    assert row["gain"] == pytest.approx(own - mine.loc[mine["kind"] == "baseline", "score"].item())
    assert row["paired"]
    assert len(gains) == 4 * 10 * len(FACTS)


def test_a_single_baseline_serves_all_seeds_unpaired(trials: pd.DataFrame) -> None:
    one = trials[(trials["kind"] != "baseline") | (trials["seed"] == 0)]
    gains = dose.dose_gains(one)
    assert gains.loc[gains["seed"] == 0, "paired"].all()
    assert not gains.loc[gains["seed"] == 1, "paired"].any()
    assert len(gains) == 4 * 10 * len(FACTS)


def test_epsilon_zero_of_the_design_is_a_baseline_too(trials: pd.DataFrame) -> None:
    clean = trials["kind"] == "baseline"
    as_points = trials.assign(kind="design")
    as_points.loc[clean, "perturbation.method"] = "adversarial"
    as_points.loc[clean, ["perturbation.epsilon", "perturbation.ascent_steps"]] = [0.0, 1.0]
    pd.testing.assert_series_equal(dose.dose_gains(as_points)["gain"], dose.dose_gains(trials)["gain"])


def test_an_augmentation_is_dosed_as_a_perturbation_is(trials: pd.DataFrame) -> None:
    """Probability 0 of the design is a baseline, the others a series of the augmentation's name; copies tell apart."""
    spelt = trials.rename(columns={"perturbation.ascent_steps": "augmentation.copies"})
    spelt = spelt.rename(columns={"perturbation.epsilon": "augmentation.probability"})
    clean = spelt["kind"] == "baseline"
    spelt = spelt.assign(
        **{"perturbation.method": "none", "augmentation.method": np.where(clean, "none", "character_noise")}
    )
    gains = dose.dose_gains(spelt)
    np.testing.assert_allclose(gains["gain"], dose.dose_gains(trials)["gain"])
    assert set(gains["series"]) == {"character_noise, copies 1", "character_noise, copies 2"}
    assert set(dose.language_map(gains)["method"]) == {"character_noise"}
    zero = spelt[clean].assign(kind="design", trial=999, score=0.99)
    zero = zero.assign(**{"augmentation.method": "character_noise", "augmentation.probability": 0.0})
    both = dose.dose_gains(pd.concat([spelt, zero], ignore_index=True))
    assert 999 not in set(both["trial"])
    assert both["gain"].mean() < gains["gain"].mean()


def test_clean_trials_with_other_knobs_are_no_baseline(trials: pd.DataFrame) -> None:
    tuned = trials[trials["kind"] == "baseline"].assign(kind="design", trial=999, score=0.99)
    both = pd.concat(
        [trials.assign(**{"training.learning_rate": 2e-4}), tuned.assign(**{"training.learning_rate": 5e-4})]
    )
    np.testing.assert_allclose(dose.dose_gains(both)["gain"], dose.dose_gains(trials)["gain"])


def test_gains_are_over_the_baseline_of_the_same_encoder(trials: pd.DataFrame) -> None:
    """A stronger encoder's scores are no gain, and its doses are a series of their own."""
    name = "encoder.name_or_path"
    strong = trials.assign(trial=trials["trial"] + 1000, score=trials["score"] + 0.1, **{name: "strong"})
    both = dose.dose_gains(pd.concat([trials.assign(**{name: "weak"}), strong], ignore_index=True))
    alone = dose.dose_gains(trials)
    for encoder, start in (("weak", 0), ("strong", 1000)):
        mine = both[both["trial"] >= start] if start else both[both["trial"] < 1000]
        np.testing.assert_allclose(mine["gain"], alone["gain"], atol=1e-12)
        assert mine["series"].str.contains(encoder).all()


def test_samples_of_a_search_are_left_out_unless_asked_for(trials: pd.DataFrame) -> None:
    searched = trials.assign(kind=trials["kind"].replace("design", "sampled"))
    assert dose.dose_gains(searched).empty
    assert len(dose.dose_gains(searched, searched=True)) == len(dose.dose_gains(trials))


def test_unfinished_trials_and_other_splits_are_left_out(trials: pd.DataFrame) -> None:
    pruned = trials.assign(state=np.where(trials["trial"] == 5, "PRUNED", "COMPLETE"))
    assert 5 not in set(dose.dose_gains(pruned)["trial"])
    assert dose.dose_gains(trials.assign(split="test")).empty


def test_series_tell_kinds_apart_and_leave_sizes_together(trials: pd.DataFrame) -> None:
    gains = dose.dose_gains(trials)
    assert set(gains["series"]) == {"adversarial, ascent steps 1", "adversarial, ascent steps 2"}
    assert "adversarial, epsilon 0.05, ascent steps 2" in set(gains["point"])


def test_levels_are_scipys_t_intervals_with_variants_counted_once(trials: pd.DataFrame) -> None:
    gains = dose.dose_gains(trials)
    found = dose.responses(dose.by_unit(gains, UNITS, VARIANTS))
    assert len(found) == 5 * 2
    response = next(r for r in found if r.unit == "class 5" and r.series.endswith("1"))
    part = gains[gains["point"] == "adversarial, epsilon 0.1, ascent steps 1"]
    part = part.pivot(index="seed", columns="language", values="gain")
    by_hand = (part["ar"] + part["en"] + part[["de", "de-CH"]].mean(axis=1)) / 3
    expected = stats.ttest_1samp(by_hand, 0).confidence_interval()
    level = response.levels.iloc[1]
    assert (level["gain"], level["low"], level["high"]) == pytest.approx((by_hand.mean(), expected.low, expected.high))
    assert level["relative_norm"] == pytest.approx(0.95 * 0.1)
    assert (response.languages, response.over, response.paired) == (3, "seeds", True)


def test_planted_optimum_and_harm_are_found(trials: pd.DataFrame) -> None:
    """0.05 x - 0.12 x^2 with x = 2.5 e is largest at e = 1/12 and zero at e = 1/6; the dose is 0.95 e."""
    everything = dict.fromkeys(FACTS["language"], "all")
    for found in dose.responses(dose.by_unit(dose.dose_gains(trials), everything, VARIANTS)):
        assert found.harm_from == pytest.approx(0.95 * 0.2)
        assert found.gains == pytest.approx((0.95 * 0.05, 0.95 * 0.1))
        assert found.best == pytest.approx(0.95 * 0.1)
        assert found.best_gain.low > 0
        # Gains at 0.05 and 0.1 are 0.44 and 0.50 points: too close to exclude that the smallest dose is the best.
        assert not found.optimum.known


def test_an_optimum_inside_what_was_tried_is_bounded() -> None:
    peaked = {k: {0.05: 0.0, 0.1: 0.03, 0.2: 0.05, 0.4: 0.0, 0.8: -0.2} for k in FACTS["language"]}
    unit = dose.by_unit(
        dose.dose_gains(design_trials(np.random.default_rng(1), peaked)), dict.fromkeys(FACTS["language"], "all")
    )
    for found in dose.responses(unit):
        assert (found.optimum.low, found.optimum.high) == pytest.approx((0.95 * 0.2, 0.95 * 0.2))


def test_no_optimum_is_claimed_at_the_edge_of_what_was_tried() -> None:
    rising = {k: {e: 0.05 * e for e in (0.05, 0.1, 0.2, 0.4, 0.8)} for k in FACTS["language"]}
    unit = dose.by_unit(
        dose.dose_gains(design_trials(np.random.default_rng(1), rising)), dict.fromkeys(FACTS["language"], "all")
    )
    for found in dose.responses(unit):
        assert not found.optimum.known
        assert np.isnan(found.harm_from)


def simulated(generator: np.random.Generator, truth: Sequence[float], seeds: int = 4) -> np.ndarray:
    """(seeds, levels) gains: baseline noise SD 0.01 (shared by the gains of one seed), own noise SD 0.005."""
    shared = generator.normal(0, 0.01, (seeds, 1))
    return np.array(truth) + shared + generator.normal(0, 0.005, (seeds, len(truth)))


def as_unit(gains: np.ndarray) -> pd.DataFrame:
    long = pd.DataFrame(gains).rename_axis("seed").reset_index().melt("seed", var_name="point", value_name="gain")
    dose_of = long["point"].astype(float) + 1
    return long.assign(
        unit="all", series="m", relative_norm=dose_of, point=long["point"].astype(str), languages=1, paired=True
    )


def test_level_intervals_and_optimum_set_cover() -> None:
    """1,000 designs of 5 doses x 4 seeds: Monte-Carlo SE of a share near 95 % is 0.7 %."""
    generator = np.random.default_rng(2)
    truth = np.array([0.0, 0.008, 0.01, 0.004, -0.03])
    covered, kept = [], []
    for _ in range(1000):
        values = simulated(generator, list(truth))
        _, low, high = dose.bands(values)
        covered.append((low <= truth) & (truth <= high))
        kept.append(dose.possibly_best(values)[2])
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(kept) >= 0.94


def test_harm_is_seldom_claimed_where_there_is_none() -> None:
    """Five doses without effect: at most 2.5 % wrong claims in all; 2,000 designs, Monte-Carlo SE 0.35 %."""
    generator = np.random.default_rng(3)
    wrong = [dose.harm_from(dose.bands(simulated(generator, [0.0] * 5))[2]) is not None for _ in range(2000)]
    assert np.mean(wrong) < 0.037


def test_harm_is_an_unbroken_run_up_to_the_largest_dose() -> None:
    assert dose.harm_from(np.array([-0.1, 0.2, -0.1, -0.2])) == 2
    assert dose.harm_from(np.array([-0.1, -0.2, 0.1])) is None
    assert dose.harm_from(np.array([-0.1, np.nan, -0.2])) == 2
    assert dose.harm_from(np.array([0.1, -0.1, -0.2, np.nan])) == 1  # nothing is said of the last
    assert dose.harm_from(np.array([np.nan, np.nan])) is None


def test_no_harm_is_concluded_where_an_interval_reaches_zero() -> None:
    """The largest dose loses on average, and so does the one before it surely; neither is harm yet."""
    values = np.array([[0.02, -0.05, -0.03], [0.03, -0.06, 0.02], [0.02, -0.05, -0.02], [0.03, -0.06, 0.01]])
    found = dose.responses(as_unit(values))[0]
    assert (found.levels["gain"] < 0).tolist() == [False, True, True]
    assert (found.levels["high"] < 0).tolist() == [False, True, False]
    assert np.isnan(found.harm_from)


def test_one_lost_seed_changes_nothing_for_the_other_doses() -> None:
    """The largest dose has two seeds of three left: no interval of its own, and the others as they were."""
    part = as_unit(simulated(np.random.default_rng(5), [0.03, 0.01, -0.08, -0.2], seeds=3))
    whole, lost = (dose.responses(each)[0] for each in (part, part[~((part["point"] == "3") & (part["seed"] == 0))]))
    pd.testing.assert_frame_equal(lost.levels[:3], whole.levels[:3])
    assert np.isnan(lost.levels["high"].iloc[3]) and not np.isnan(whole.levels["high"].iloc[3])
    assert (lost.gains, lost.harm_from) == (whole.gains, whole.harm_from) == ((1.0,), 3.0)


def test_quasi_random_points_are_gathered_into_levels() -> None:
    """Twenty points under one seed each: levels of neighbours, over points, and the baseline's noise is not in them."""
    generator = np.random.default_rng(4)
    part = as_unit(simulated(generator, [0.01] * 20, seeds=1)).assign(paired=False)
    found = dose.responses(part)[0]
    assert (found.over, found.paired) == ("points", False)
    assert len(found.levels) == 6 and found.levels["points"].sum() == 20
    assert (found.levels["values"] >= dose.FEWEST).all()
    assert found.levels["relative_norm"].is_monotonic_increasing


def test_one_value_has_no_interval() -> None:
    found = dose.responses(as_unit(simulated(np.random.default_rng(0), [0.1, 0.2], seeds=1)))[0]
    assert found.levels["low"].isna().all()
    assert np.isnan(found.harm_from)
    assert found.gains == ()
    assert not found.optimum.known


def test_trend_is_scipys_spearman_at_each_magnitude_with_variants_once(trials: pd.DataFrame) -> None:
    table = dose.resource_trend(dose.language_map(dose.dose_gains(trials)), FACTS)
    assert len(table) == 5
    assert set(table["languages"]) == {14}
    gains = dose.dose_gains(trials)
    small = gains[gains["relative_norm"] < 0.05].groupby(["language", "seed"])["gain"].mean().groupby("language").mean()
    small["de"] = (small["de"] + small.pop("de-CH")) / 2
    expected = stats.spearmanr(FACTS.set_index("language").loc[small.index, "resource_class"], small)
    assert (table["rho"].iloc[0], table["p"].iloc[0]) == pytest.approx((expected.statistic, expected.pvalue))
    # Low-resource languages gain twice as much at small doses, and lose twice as much at large ones.
    assert table["rho"].iloc[0] < 0 < table["rho"].iloc[-1]


def test_map_has_every_language_and_magnitude_and_is_corrected(trials: pd.DataFrame) -> None:
    gains = dose.dose_gains(trials)
    table = dose.language_map(gains)
    assert len(table) == 5 * len(FACTS)
    assert (table["q"] >= table["p"] - 1e-12).all()
    cell = table[(table["language"] == "sw") & (table["bin"] == 0)].iloc[0]
    # The first of five bins holds two points: K 1 and K 2 at the smallest epsilon.
    own = gains[(gains["language"] == "sw") & (gains["relative_norm"] < 0.05)].groupby("seed")["gain"].mean()
    assert cell["gain"] == pytest.approx(own.mean())
    assert cell["p"] == pytest.approx(stats.ttest_1samp(own, 0).pvalue)


def test_methods_share_no_column_of_the_map(trials: pd.DataFrame) -> None:
    gains = dose.dose_gains(trials)
    noise = gains.assign(series="random_perturbation", gain=0.0, point="noise " + gains["point"].astype(str))
    table = dose.language_map(pd.concat([gains, noise], ignore_index=True))
    assert table.groupby("bin")["method"].nunique().eq(1).all()
    mine = table[table["method"] == "adversarial"].reset_index(drop=True)
    alone = dose.language_map(gains)
    pd.testing.assert_frame_equal(
        mine[["language", "relative_norm", "gain", "p"]], alone[["language", "relative_norm", "gain", "p"]]
    )
    trend = dose.resource_trend(table, FACTS)
    assert trend.groupby("method").size().to_dict() == {"adversarial": 5, "random_perturbation": 5}
