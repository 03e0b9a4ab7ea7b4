"""What a suite's members say together, from their ledgers to words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis.frames import language_scores
from study.question.config import Published
from study.reporting import benchmark, beside, files, pooling
from study.reporting.findings import Findings, find
from study.reporting.source import from_ledger
from study.reporting.words import points
from tests.study.reporting.conftest import LANGUAGES, LOW, build, configured


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Findings]:
    """The same planted gains under other seeds, and a third that is not confirmed."""
    root = tmp_path_factory.mktemp("suite")
    for seed, name in enumerate(("first", "second", "third")):
        config = configured(name=f"whole.{name}", search={"replicates": 2})
        training = config.trial.training.model_copy(update={"seed": seed})
        trial = config.trial.model_copy(update={"training": training})
        build(root, config.model_copy(update={"trial": trial}), confirmed=name != "third")
    return {name: find(from_ledger(f"whole.{name}", root)) for name in ("first", "second", "third")}


def test_the_gain_over_tasks_is_the_mean_of_the_members_own(members: Mapping[str, Findings]) -> None:
    answers = pooling.together(members, "low_resource_mean")
    assert answers.gain is not None
    claims = [f.confirmed.claim for f in members.values() if f.confirmed is not None]
    assert list(answers.gain.tasks["task"]) == ["first", "second"]
    assert list(answers.gain.tasks["gain"]) == pytest.approx([claim.estimate for claim in claims])
    assert answers.gain.here == pytest.approx(np.mean([claim.estimate for claim in claims]))
    assert [row for row, _ in pooling.tables(answers)] == ["first", "second"]
    topics = dict.fromkeys(topic for topic, _ in answers.words)
    assert list(topics) == ["Gain", "Resources", "Distance", "Fertility"]


def test_slopes_stand_beside_the_claims_on_what_nobody_claims(members: Mapping[str, Findings], tmp_path: Path) -> None:
    answers = pooling.together(members, "low_resource_mean")
    files.write_suite(members, answers, None, tmp_path)
    rows = pd.read_csv(tmp_path / "gain_slopes.csv")
    assert set(rows["fact"]) == {"resource_class", "distance", "log_pretraining_size", "other_script", "fertility"}
    plain = rows[~rows["adjusted"]].set_index("fact")["slope"]
    assert plain["resource_class"] < 0 and plain["log_pretraining_size"] < 0  # as was planted: few resources gain more
    shown = {row[1]: row[3] for row in pooling.slope_table(answers).rows}
    assert shown["resource class"] == points(plain["resource_class"])


def test_a_gap_that_narrows_is_a_gain(members: Mapping[str, Findings]) -> None:
    """High scores gain less here, the source the least of all languages of few resources."""
    answers = pooling.together(members, "transfer_gap")
    confirmed, source = members["first"].confirmed, members["first"].source
    assert confirmed is not None and answers.gain is not None
    treated, control = (each.mean().to_dict() for each in pooling.sides(members["first"], confirmed))
    gap = source.reduction("transfer_gap")
    assert gap(treated) < gap(control)
    assert answers.gain.tasks["gain"].iloc[0] == pytest.approx(gap(control) - gap(treated))
    assert ("Gain", "Less of the transfer gap is better: a gain is by how much it fell.") in answers.words


def test_languages_of_few_resources_gain_more_as_was_planted(members: Mapping[str, Findings]) -> None:
    """Three times as much; and of a suite without an endpoint nothing but slopes is corrected for."""
    said = [text for topic, text in pooling.together(members, None).words if topic == "Resources"]
    assert said[0].startswith("Low-resource languages gain more, in these tasks: −")
    cells, lacking = pooling._cells({name: each for name, each in members.items() if each.confirmed is not None})
    assert not lacking
    assert len(cells) == 2 * len({language for language in LANGUAGES if language not in ("en", "de-CH")})
    results = members["first"].source.results
    assert results is not None and members["first"].confirmed is not None
    scores = language_scores(results[results["split"] == "test"]).groupby(["configuration", "language"])["score"].mean()
    confirmed, mine = members["first"].confirmed, cells[cells["task"] == "first"].set_index("language")["gain"]
    for language in sorted(LOW)[:3]:
        gain = scores[confirmed.headline, language] - scores[confirmed.control, language]
        assert mine[language] == pytest.approx(gain)


def test_languages_that_are_cut_finer_gain_more_where_that_was_measured(members: Mapping[str, Findings]) -> None:
    """Those of few resources, all but Russian; without a measurement the question is not asked."""
    said = [text for topic, text in pooling.together(members, None).words if topic == "Fertility"]
    assert said[0].startswith("Languages whose words are cut into more tokens gain more, in these tasks: ")
    assert "1 more, whose fact is unknown" in said[0]

    def unmeasured(found: Findings) -> Findings:
        return replace(
            found, source=replace(found.source, config=found.source.config.model_copy(update={"measured": None}))
        )

    topics = {topic for topic, _ in pooling.together({k: unmeasured(v) for k, v in members.items()}, None).words}
    assert topics == {"Gain", "Resources", "Distance"}


def test_a_score_that_is_missing_under_a_seed_costs_its_language_or_the_member(members: Mapping[str, Findings]) -> None:
    """And it is said; the others' answers are there. Swahili is in the endpoint, French nowhere."""
    first = members["first"]
    assert first.source.results is not None and first.confirmed is not None

    def without(language: str) -> Mapping[str, Findings]:
        rows = first.source.results
        assert rows is not None and first.confirmed is not None
        lost = (rows["language"] == language) & (rows["seed"] == rows["seed"].min())
        lost &= rows["configuration"] == first.confirmed.headline
        results = rows.assign(weight=rows["weight"].mask(lost, 0.0))
        return {**members, "first": replace(first, source=replace(first.source, results=results))}

    said = [text for _, text in pooling.together(without("sw"), "low_resource_mean").words]
    assert "Not in it, for want of scores: first." in said and "One task says nothing of tasks like it." in said
    assert "Left out of what follows, since a score is missing under some seed: sw of first." in said
    high = pooling.together(without("ru"), "low_resource_mean")
    assert high.gain is not None and list(high.gain.tasks["task"]) == ["first", "second"]
    assert ("Languages", "Left out of what follows, since a score is missing under some seed: ru of first.") in (
        high.words
    )


def test_a_member_whose_headline_has_learned_nothing_is_named(members: Mapping[str, Findings]) -> None:
    first = members["first"]
    assert first.confirmed is not None
    source = replace(first.source, stuck={first.confirmed.headline: (1, 3), "control d": (3, 3)})
    told = {**members, "first": replace(first, source=source)}
    cautions = [text for topic, text in pooling.together(told, "target_mean").words if topic == "Caution"]
    assert len(cautions) == 1 and cautions[0].startswith("In first the headline or its control gives one answer")
    assert not [t for t, _ in pooling.together(members, "target_mean").words if t == "Caution"]


def test_a_member_whose_headline_lost_seeds_is_named(members: Mapping[str, Findings]) -> None:
    first = members["first"]
    assert first.confirmed is not None
    source = replace(first.source, seeds={first.confirmed.headline: (3, 5), first.confirmed.control: (5, 5)})
    told = {**members, "first": replace(first, source=source)}
    (caution,) = [text for topic, text in pooling.together(told, "target_mean").words if topic == "Caution"]
    assert caution.startswith("In first the headline or its control has no scores under some of its seeds")


def test_one_member_says_nothing_of_others(members: Mapping[str, Findings]) -> None:
    alone = {name: members[name] for name in ("first", "third")}
    assert pooling.together(alone, "low_resource_mean").words == ()


def test_the_benchmark_s_own_table_averages_over_nothing_that_is_missing(members: Mapping[str, Findings]) -> None:
    both = ["first", "second"]
    scores, languages = benchmark.tables({name: members[name] for name in both}, both)
    assert scores.columns == ("configuration", "first", "second", "average")
    assert [row[0] for row in scores.rows] == ["headline", "control a", "control c", "control d"]
    confirmed, results = members["first"].confirmed, members["first"].source.results
    assert confirmed is not None and results is not None
    mine = results[results["configuration"] == confirmed.headline]
    by_language = mine.groupby(["seed", "language"])["score"].mean().unstack()
    plain = by_language.drop(columns="de-CH").assign(de=by_language[["de", "de-CH"]].mean(axis=1)).mean(axis=1)
    ends = stats.ttest_1samp(plain, 0).confidence_interval()
    assert scores.rows[0][1] == f"{100 * plain.mean():.1f} [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"
    halves = [float(cell.split()[0]) for cell in scores.rows[0][1:]]
    assert halves[2] == pytest.approx((halves[0] + halves[1]) / 2, abs=0.11)
    assert {row[0] for row in languages.rows} == set(LANGUAGES)
    scores, languages = benchmark.tables(members, [*both, "third", "fourth"])
    assert all(row[3:] == ("–", "–", "–") for row in scores.rows)
    assert all(row[3:] == ("–", "–") for row in languages.rows)
    assert list(benchmark.tables({"third": members["third"]}, ["third"])) == []


def test_published_averages_stand_below_and_are_subtracted_over_the_same_languages_alone(
    members: Mapping[str, Findings],
) -> None:
    """Of the first member theirs are over three of our languages, of the second over one that is not ours."""
    over = {"first": ("en", "sw", "de"), "second": ("en", "nv")}
    average = Published(name="mean2020", where="a README", average=58.0, languages=over["first"])
    values = Published(name="mean2020", where="a README", values={"en": 60.0, "nv": 56.0})

    def beside_it(name: str) -> Findings:
        row = average if name == "first" else values
        source = replace(members[name].source, published=(row, row.model_copy(update={"metric": "brier"})))
        return replace(members[name], source=source, published=beside.find(source))

    scores, _ = benchmark.tables({name: beside_it(name) for name in over}, list(over))
    rows = {cells[0]: cells[1:] for cells in scores.rows}
    assert list(rows)[4:] == ["mean2020, published", "control a − mean2020", "headline − mean2020"]
    assert rows["mean2020, published"] == ("58.0 (3)", "58.0 (2)", "–")
    results = members["first"].source.results
    assert results is not None
    tested = results[(results["control"] == "a") & results["language"].isin(over["first"])]
    ours = tested.groupby(["seed", "language"])["score"].mean().unstack().mean(axis=1)
    ends = stats.ttest_1samp(ours, 0).confidence_interval()
    difference, low, high = (f"{100 * (v - 0.58):+.1f}".replace("-", "−") for v in (ours.mean(), ends.low, ends.high))
    assert rows["control a − mean2020"] == (f"{difference} [{low}, {high}]", "–", "–")
    assert rows["headline − mean2020"][1:] == ("–", "–")
    assert "mean2020: first, 3 languages (de en sw), of ours not in the difference: " in scores.caption
    assert "mean2020: second, 2 languages (en nv), not subtracted since ours lack nv" in scores.caption
    plain, _ = benchmark.tables({name: members[name] for name in over}, list(over))
    assert len(plain.rows) == 4 and "ublished" not in plain.caption
