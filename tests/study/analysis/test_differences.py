"""Paired differences against SciPy, statsmodels' two-way analysis of variance, the jackknife, and hand calculation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from study.analysis import differences, significance
from study.analysis.frames import Reduction, check_results, language_scores, reduce_seeds, seed_table
from tests.study.simulated import mean_of, results
from trainables.errors import UserError


def worst(scores: Mapping[str, float]) -> float:
    return min(scores.values())


def jackknife_error(frame: pd.DataFrame, reduction: Reduction) -> float:
    """Standard error of winner minus control a over examples, leaving out one at a time, all seeds together."""
    frame = frame.assign(product=frame["score"] * frame["weight"])
    tables = [
        frame.pivot(index=["configuration", "seed", "language"], columns="example", values=c).fillna(0.0)
        for c in ("product", "weight")
    ]
    tops, bottoms = (t.to_numpy().sum(axis=1, keepdims=True) - t.to_numpy() for t in tables)
    scores = pd.DataFrame(tops / bottoms, index=tables[0].index)
    reduced = scores.groupby(["configuration", "seed"]).agg(
        lambda column: reduction(dict(zip(column.index.get_level_values("language"), column, strict=True)))
    )
    replicates = (reduced.loc["winner"].mean() - reduced.loc["control a"].mean()).to_numpy()
    n = len(replicates)
    return float(np.sqrt((n - 1) / n * np.sum((replicates - replicates.mean()) ** 2)))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return check_results(results(np.random.default_rng(1), {"winner": 0.05, "control b": 0.01}, ["de", "sw", "yo"]))


@pytest.mark.parametrize("reduction", [mean_of(), mean_of(["sw"]), worst])
def test_estimate_and_seed_interval_are_scipys_paired_t_test(frame: pd.DataFrame, reduction: Reduction) -> None:
    scores = language_scores(frame)
    a, b = (reduce_seeds(seed_table(scores, name), reduction) for name in ("winner", "control a"))
    expected = stats.ttest_rel(a, b)
    got = differences.difference(differences.pair(frame, "winner", "control a"), reduction, "endpoint")
    interval = expected.confidence_interval(0.95)
    assert got.estimate == pytest.approx((a - b).mean())
    assert (got.by_seed.low, got.by_seed.high) == pytest.approx((interval.low, interval.high))
    assert got.p_seed == pytest.approx(expected.pvalue)
    assert got.p_sign_flip == pytest.approx(significance.sign_flip(a - b))
    assert got.seeds == (100, 101, 102, 103, 104)


def test_decomposition_is_that_of_a_two_way_analysis_of_variance() -> None:
    """Mean squares of statsmodels' seeds x examples table give the variances that `decompose` finds from influences."""
    generator = np.random.default_rng(4)
    s, n = 4, 30
    d = 0.1 + generator.normal(0, 0.2, (s, 1)) + generator.normal(0, 0.5, (1, n)) + generator.normal(0, 0.3, (s, n))
    long = pd.DataFrame({"d": d.ravel(), "seed": np.repeat(range(s), n), "example": np.tile(range(n), s)})
    table = anova_lm(smf.ols("d ~ C(seed) + C(example)", long).fit())
    by_seed, by_example, rest = (float(v) / (s * n) for v in table["mean_sq"])
    got = differences.decompose(d.mean(axis=1), (d - d.mean(axis=1, keepdims=True)) / n)
    assert float(got.seed_variance) == pytest.approx(by_seed)
    assert float(got.conditional_variance) == pytest.approx(by_example)
    assert float(got.example_variance) == pytest.approx(by_example - rest)
    total = by_seed + by_example - rest
    satterthwaite = total**2 / (by_seed**2 / (s - 1) + by_example**2 / (n - 1) + rest**2 / ((s - 1) * (n - 1)))
    assert float(got.df_both) == pytest.approx(max(satterthwaite, s - 1))


@pytest.mark.parametrize("reduction", [mean_of(), worst])
def test_example_influence_agrees_with_the_jackknife(reduction: Reduction) -> None:
    effects = {"winner": {"de": 0.1, "sw": 0.05}}
    frame = results(np.random.default_rng(6), effects, ["de", "sw", "yo"], seeds=3, examples=30)
    # One language is clearly the worst, so that leaving a sentence out does not change which.
    frame.loc[frame["language"] == "yo", "score"] *= 0.5
    data = differences.pair(frame, "winner", "control a")
    got = differences.difference(data, reduction, "endpoint")
    jackknife = jackknife_error(frame, reduction)
    half = stats.t.ppf(0.975, got.examples - 1) * jackknife
    assert (got.by_examples.high - got.by_examples.low) / 2 == pytest.approx(half, rel=0.05)
    assert got.examples == (30 if reduction is worst else 90)
    assert got.languages == (("yo",) if reduction is worst else ("de", "sw", "yo"))


@pytest.mark.parametrize("is_tied_under_every_seed", [True, False])
def test_two_languages_that_tie_for_worst_count_half_each(is_tied_under_every_seed: bool) -> None:
    """As the mean of the two does, which is the same score: raising one alone would not raise the worst."""
    frame = results(np.random.default_rng(6), {"winner": {"sw": 0.2}}, ["sw", "de"], seeds=3, examples=30)
    frame.loc[frame["language"] == "de", "score"] = 1.0
    other = frame[frame["language"] == "sw"].assign(language="yo")
    other["example"] = other["example"].str.replace("sw", "yo")  # as many right, of other sentences
    if not is_tied_under_every_seed:
        other.loc[other["seed"] == 100, "score"] = 1.0
    data = differences.pair(check_results(pd.concat([frame, other])), "winner", "control a")
    got = differences.difference(data, worst, "worst_language")
    assert got.languages == ("sw", "yo") and got.examples == 60
    if is_tied_under_every_seed:
        both = differences.difference(data, mean_of(["sw", "yo"]), "mean")
        assert (got.by_both.low, got.by_examples.low) == pytest.approx((both.by_both.low, both.by_examples.low))


def test_corpus_f1_differences_carry_weights_that_differ_between_systems() -> None:
    generator = np.random.default_rng(0)
    base = results(generator, {"winner": 0.1}, ["sw"], seeds=3, examples=40).assign(metric="f1")
    base["weight"] = generator.integers(0, 6, len(base)).astype(float)
    data = differences.pair(check_results(base), "winner", "control a")
    got = differences.difference(data, mean_of(), "f1")
    scores = language_scores(base)
    a, b = (seed_table(scores, name)["sw"] for name in ("winner", "control a"))
    assert got.estimate == pytest.approx((a - b).mean())
    n, jackknife = base["example"].nunique(), jackknife_error(base, mean_of())
    assert (got.by_examples.high - got.estimate) / stats.t.ppf(0.975, n - 1) == pytest.approx(jackknife, rel=0.05)


def test_translations_are_resampled_together() -> None:
    """Three languages that answer every sentence alike are one sample of sentences, not three."""
    one = results(np.random.default_rng(2), {"winner": 0.05}, ["sw"], seeds=3, examples=100)
    one["example"] = one["example"].str.removeprefix("sw-")
    three = pd.concat([one.assign(language=k) for k in ("sw", "yo", "ht")], ignore_index=True)
    unrelated = three.assign(example=three["language"] + three["example"])
    alone, parallel, apart = (
        differences.difference(differences.pair(check_results(f), "winner", "control a"), mean_of(), "mean")
        for f in (one, three, unrelated)
    )
    width = [d.by_examples.high - d.by_examples.low for d in (alone, parallel, apart)]
    assert width[1] == pytest.approx(width[0])
    assert width[2] == pytest.approx(width[0] / np.sqrt(3), rel=0.02)


def test_interval_by_both_contains_the_one_by_seed(frame: pd.DataFrame) -> None:
    got = differences.difference(differences.pair(frame, "winner", "control b"), mean_of(), "endpoint")
    assert got.by_both.low <= got.by_seed.low <= got.estimate <= got.by_seed.high <= got.by_both.high
    assert got.p_both >= got.p_seed
    assert 0 <= got.example_share <= 1


def test_sentences_that_add_little_do_not_shorten_the_interval() -> None:
    """They have many degrees of freedom: at three seeds the quantile falls faster than the variance grows."""
    by_seed, conditional, rest = 1e-4, 2e-5, 1e-5
    added, df = differences.combine(by_seed, conditional, rest, seeds=3, examples=500)
    mean, variance, both = np.array(0.01), np.array(by_seed), np.array(conditional)
    parts = differences.Decomposition(mean, variance, added, both, 3, 500, df)
    assert added > 0
    assert stats.t.ppf(0.975, df) * np.sqrt(by_seed + added) < stats.t.ppf(0.975, 2) * np.sqrt(by_seed)
    assert parts.half_widths()[0] == parts.half_widths()[1] == pytest.approx(stats.t.ppf(0.975, 2) * 0.01)


def test_one_seed_leaves_only_the_sentences(frame: pd.DataFrame) -> None:
    single = frame[frame["seed"] == 100]
    got = differences.difference(differences.pair(single, "winner", "control a"), mean_of(), "endpoint")
    assert not got.by_seed.known
    assert not got.by_both.known
    assert got.by_examples.known


@pytest.mark.parametrize("are_same_sentences", [True, False])
def test_seeds_that_agree_to_the_last_digit_leave_only_the_sentences(are_same_sentences: bool) -> None:
    """One sentence more is right under every seed: how seeds vary is not known, nor what includes it."""
    rows = [
        (name, letter, seed, str(example), float((example + seed * (not are_same_sentences)) % 40 < right))
        for name, letter, right in (("winner", "", 21), ("control a", "a", 20))
        for seed in range(3)
        for example in range(40)
    ]
    frame = pd.DataFrame(rows, columns=["configuration", "control", "seed", "example", "score"])
    data = differences.pair(check_results(frame.assign(study="s", language="sw")), "winner", "control a")
    got = differences.difference(data, mean_of(), "endpoint")
    assert got.estimate == pytest.approx(1 / 40) and got.by_examples.known
    assert not got.by_seed.known and not got.by_both.known and np.isnan([got.p_seed, got.p_both]).all()
    assert differences.language_differences(data)[["both_low", "both_high", "q_both"]].isna().all(axis=None)


def test_pairs_are_made_over_common_seeds(frame: pd.DataFrame) -> None:
    fewer = frame[~((frame["configuration"] == "winner") & (frame["seed"] == 103))]
    assert differences.pair(fewer, "winner", "control a").seeds == (100, 101, 102, 104)


def test_no_common_seed_and_unequal_examples_are_user_errors(frame: pd.DataFrame) -> None:
    apart = frame.assign(seed=frame["seed"].where(frame["configuration"] == "winner", frame["seed"] + 50))
    with pytest.raises(UserError, match="must share seeds"):
        differences.pair(apart, "winner", "control a")
    lost = frame.drop(index=frame.index[(frame["configuration"] == "winner") & (frame["language"] == "sw")][0])
    with pytest.raises(UserError, match="must share all examples of sw"):
        differences.pair(lost, "winner", "control a")


def test_language_table_is_each_language_for_itself(frame: pd.DataFrame) -> None:
    data = differences.pair(frame, "winner", "control a")
    table = differences.language_differences(data).set_index("language")
    for language in ("de", "sw", "yo"):
        one = differences.difference(data, mean_of([language]), language)
        row = table.loc[language]
        assert row["difference"] == pytest.approx(one.estimate)
        assert (row["both_low"], row["both_high"]) == pytest.approx((one.by_both.low, one.by_both.high), rel=1e-4)
        assert row["examples"] == 80
    np.testing.assert_allclose(table["q_both"], significance.benjamini_hochberg(table["p_both"]))
    assert set(table["test"]) == {"McNemar, seeds clustered by sentence"}


def test_the_test_over_examples_follows_metric_and_seeds(frame: pd.DataFrame) -> None:
    single = differences.language_differences(differences.pair(frame[frame["seed"] == 100], "winner", "control a"))
    assert set(single["test"]) == {"McNemar, exact"}
    assert single["p_seed"].isna().all()
    f1 = differences.language_differences(differences.pair(frame.assign(metric="f1"), "winner", "control a"))
    assert set(f1["test"]) == {"swapped sentences"}
    accuracy = differences.language_differences(differences.pair(frame, "winner", "control a"))
    assert np.abs(f1["p_examples"] - accuracy["p_examples"]).max() < 0.05


def test_seeds_without_scores_are_counted_on_both_sides(frame: pd.DataFrame) -> None:
    seeds = sorted(frame["seed"].unique())
    lost = ((frame["configuration"] == "winner") & frame["seed"].isin(seeds[:2])) | (
        (frame["configuration"] == "control a") & (frame["seed"] == seeds[2])
    )
    data = differences.pair(frame[~lost], "winner", "control a")
    assert (data.seeds, data.unpaired) == (tuple(seeds[3:]), (2, 1))
    assert differences.difference(data, mean_of(), "x").unpaired == (2, 1)


def test_claims_made_together_are_adjusted(frame: pd.DataFrame) -> None:
    claims = [
        differences.difference(differences.pair(frame, "winner", c), mean_of(), c) for c in ("control a", "control b")
    ]
    adjusted = differences.adjust(claims)
    expected = significance.holm([c.p_both for c in claims])
    assert [c.p_adjusted for c in adjusted] == pytest.approx(list(expected))
