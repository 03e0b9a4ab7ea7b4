"""Means over tasks by hand; their intervals against planted truth (`benchmarks/pooled.py` is the larger version)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.pooled import mean_rates
from study.analysis import pooled
from study.analysis.intervals import UNKNOWN, Interval
from study.analysis.pooled import Claim
from trainables.errors import UserError

TASKS = ("nli", "ner", "qa", "pos")


def gains(seed: int = 0, seeds: int = 3, tasks: tuple[str, ...] = TASKS) -> pd.DataFrame:
    """Gains frame of two configurations: one gains two points in every task, the other nothing."""
    generator = np.random.default_rng(seed)
    rows = [
        {"task": task, "language": language, "configuration": name, "seed": s, "baseline": 0.5,
         "score": 0.5 + effect + generator.normal(0, 0.004)}
        for name, effect in (("mild", 0.02), ("none", 0.0))
        for task in tasks for language in ("de", "sw", "yo") for s in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_two_means_by_hand() -> None:
    frame = gains()
    found = pooled.pool(frame)[0]
    assert found.configuration == "mild"
    per_seed = frame[frame["configuration"] == "mild"].groupby(["task", "seed"])["score"].mean().unstack() - 0.5
    mean = per_seed.mean(axis=1)
    assert found.here == pytest.approx(mean.mean())
    # Four tasks with three seeds each: eight degrees of freedom, the variances averaged.
    half = stats.t.ppf(0.975, 8) * np.sqrt(per_seed.var(axis=1, ddof=1).mean() / 3 / 4)
    assert found.here_interval.high == pytest.approx(found.here + half)
    assert found.alike.interval.high == pytest.approx(stats.ttest_1samp(mean, 0).confidence_interval().high)
    assert list(found.without["task"]) == sorted(TASKS)
    assert found.without.set_index("task").loc["qa", "here"] == pytest.approx(mean.drop("qa").mean())


def test_tasks_with_more_seeds_weigh_more_among_tasks_like_these() -> None:
    frame = gains(seeds=6)
    frame = frame[(frame["task"] == "nli") | (frame["seed"] < 2)]
    found = pooled.pool(frame)[0]
    assert list(found.tasks["seeds"]) == [2, 6, 2, 2]
    assert found.here == pytest.approx(found.tasks["gain"].mean())
    seeds, variance = (found.tasks[c].to_numpy(dtype=float) for c in ("seeds", "variance"))
    errors = np.average(variance, weights=seeds - 1) / seeds
    expected = np.average(found.tasks["gain"], weights=1 / (found.alike.tau2 + errors))
    assert found.alike.estimate == pytest.approx(expected)


def test_a_task_without_scores_is_named_and_in_no_mean() -> None:
    frame = gains()
    frame = frame[~((frame["configuration"] == "mild") & (frame["task"] == "qa"))]
    found = pooled.pool(frame)[0]
    assert found.missing == ("qa",)
    assert len(found.tasks) == 3


@pytest.mark.parametrize("column", ["score", "baseline", ""])
def test_languages_that_not_every_seed_has_are_counted_and_in_no_mean(column: str) -> None:
    """Whether their row lacks, or is there without a number."""
    frame = gains()
    lost = (frame["task"] == "ner") & (frame["language"] == "yo") & (frame["seed"] == 1)
    left = frame.assign(**{column: frame[column].mask(lost)}) if column else frame[~lost]
    table = pooled.task_gains(left).set_index(["configuration", "task"])
    assert table.loc[("mild", "ner"), ["languages", "left_out"]].tolist() == [2, 1]
    assert table.loc[("mild", "qa"), ["languages", "left_out"]].tolist() == [3, 0]


def test_a_task_without_a_whole_language_is_named_and_in_no_mean() -> None:
    frame = gains()
    lost = (frame["task"] == "ner") & (frame["seed"] == 1)
    found = pooled.pool(frame.assign(score=frame["score"].mask(lost)))[0]
    assert found.missing == ("ner",) and found.alike.interval.known


def test_variants_count_once() -> None:
    frame = gains()
    frame.loc[frame["language"] == "de", "score"] += 0.3
    swiss = frame[frame["language"] == "de"].assign(language="de-CH")
    both = pooled.task_gains(pd.concat([frame, swiss]), {"de-CH": "de"})
    assert both["gain"].to_numpy() == pytest.approx(pooled.task_gains(frame)["gain"].to_numpy())


def test_one_seed_and_one_task() -> None:
    one_seed = pooled.pool(gains(seeds=1))[0]
    assert one_seed.here_interval == UNKNOWN
    assert one_seed.alike.interval.known
    assert np.isnan(one_seed.alike.tau2)
    one_task = pooled.pool(gains(tasks=("nli",)))[0]
    assert one_task.here_interval.known
    assert one_task.alike.interval == UNKNOWN
    assert one_task.without.empty


def test_faults_are_refused() -> None:
    frame = gains()
    with pytest.raises(UserError, match=r"gains\.baseline: is a required column"):
        pooled.check(frame.drop(columns="baseline"))
    with pytest.raises(UserError, match="4 repeated"):
        pooled.check(pd.concat([frame, frame.head(4)]))


def test_holm_over_claims_of_a_suite() -> None:
    claims = [Claim(str(p), 0.01, Interval(0.0, 0.02), p) for p in (0.01, float("nan"), 0.04, 0.03)]
    assert [c.p_adjusted for c in pooled.adjust(claims)] == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


@pytest.mark.parametrize("tasks", [3, 6, 10])
@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_coverage_and_level(tasks: int, tau: float) -> None:
    """3,000 suites each: 93 and 97 % are five Monte-Carlo errors away. At 0 tau² has one end to miss."""
    found = mean_rates(np.random.default_rng(tasks), 3_000, tasks, 3, tau)
    assert 0.93 <= found.here <= 0.97
    assert 0.93 <= found.alike <= 0.97
    assert 0.93 <= found.prediction <= 0.97
    assert 0.93 <= found.tau2 <= (0.985 if tau == 0 else 0.97)
    assert 0.03 <= found.false_positive <= 0.07
    assert found.heterogeneous <= 0.07 if tau == 0 else found.heterogeneous > 0.05


def test_each_tasks_own_variance_taken_for_known_would_cover_far_less() -> None:
    """Why the variance over seeds is pooled over tasks."""
    assert mean_rates(np.random.default_rng(0), 2_000, 3, 2, 0.0).as_known < 0.9
