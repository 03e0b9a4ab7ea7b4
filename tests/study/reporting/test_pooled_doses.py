"""The members' designs pooled: what each point gains over tasks, and which languages gain more of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.analysis.crossed import PER_DOSE
from study.reporting import files, pooled_doses, pooling, slopes, suite_words
from study.reporting.findings import Findings
from study.reporting.pooled_doses import Doses


@pytest.fixture(scope="module")
def members(found: Findings) -> Mapping[str, Findings]:
    """The planted design twice, a little worse in the second, which lacks a point."""
    assert found.dosed is not None
    gains = found.dosed.gains
    worse = gains.assign(score=gains["score"] - 0.01, gain=gains["gain"] - 0.01)
    rest = worse[worse["point"] != sorted(worse["point"].unique())[0]]
    return {"one": found, "two": replace(found, dosed=replace(found.dosed, gains=rest))}


@pytest.fixture(scope="module")
def doses(members: Mapping[str, Findings]) -> Doses:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slopes, "FACTS", ("resource_class",))
        answers = pooled_doses.together(members, "low_resource_mean")
    assert answers is not None
    return answers


def test_a_point_s_gain_is_the_mean_over_the_members_that_have_it(
    members: Mapping[str, Findings], doses: Doses
) -> None:
    assert [dose for dose, _, _ in doses.points] == sorted(dose for dose, _, _ in doses.points)
    gains = members["one"].dosed.gains  # type: ignore[union-attr]
    whole = [(dose, g) for dose, g, _ in doses.points if not g.missing]
    assert (len(doses.points), len(whole)) == (8, 7)
    reduction = members["one"].source.reduction("low_resource_mean")
    for dose, pooled in whole:
        mine = gains[gains["point"] == pooled.configuration]
        assert dose == pytest.approx(mine["relative_norm"].mean())
        by_seed = [reduction(part.set_index("language")["gain"].to_dict()) for _, part in mine.groupby("seed")]
        assert pooled.here == pytest.approx(np.mean(by_seed) - 0.005)


def test_a_point_without_a_score_under_some_seed_is_in_no_mean_of_its_member(
    members: Mapping[str, Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slopes, "FACTS", ())
    one = members["one"]
    assert one.dosed is not None
    gains, point = one.dosed.gains, sorted(one.dosed.gains["point"].unique())[-1]
    lost = (gains["point"] == point) & (gains["language"] == "sw") & (gains["seed"] == gains["seed"].min())
    without = replace(one, dosed=replace(one.dosed, gains=gains.assign(score=gains["score"].mask(lost))))
    answers = pooled_doses.together({**members, "one": without}, "low_resource_mean")
    assert answers is not None
    assert [g.missing for _, g, _ in answers.points if g.configuration == point] == [("one",)]


def test_what_was_planted_is_seen_and_called_exploratory(doses: Doses) -> None:
    said = list(pooled_doses.sentences(doses))
    assert said[0].startswith("Exploratory, on validation: 8 points of the design")
    resources = [plain for plain, _ in doses.slopes if plain.covariate == "resource_class"]
    assert [each.configuration for each in resources][-1] == PER_DOSE
    best = max(doses.points, key=lambda point: point[1].here)[1].configuration
    (slope,) = [each for each in resources if each.configuration == best]
    assert slope.interval.high < 0  # low classes gain three times as much
    first, second = pooled_doses.tables(doses)
    assert [row[2] for row in first.rows].count("1 of 2") == 1
    for table in (first, second):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert "Exploratory: validation" in table.caption


def test_doses_of_several_kinds_have_no_slope_in_common(
    members: Mapping[str, Findings], doses: Doses, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "unit of achieved relative norm" in " ".join(pooled_doses.sentences(doses))
    one = members["one"]
    assert one.dosed is not None
    other = replace(one, dosed=replace(one.dosed, gains=one.dosed.gains.assign(series="rdrop")))
    monkeypatch.setattr(slopes, "FACTS", ("resource_class",))
    mixed = pooled_doses.together({"one": one, "other": other}, None)
    assert mixed is not None and mixed.units == ("achieved relative norm", "weight")
    assert PER_DOSE not in {plain.configuration for plain, _ in mixed.slopes}
    first, second = pooled_doses.tables(mixed)
    assert "Dose: achieved relative norm, or weight" in first.caption and "kinds are several" in second.caption


def test_one_design_or_searches_are_not_pooled(members: Mapping[str, Findings], searched: Findings) -> None:
    assert pooled_doses.together({"one": members["one"], "s": searched}, None) is None
    assert pooled_doses.together(members, "group:script:Nope") is None


def test_the_numbers_are_beside_the_page(doses: Doses, tmp_path: Path) -> None:
    files.write_suite({}, pooling.together({}, None), doses, tmp_path)
    assert len(pd.read_csv(tmp_path / "pooled_doses.csv")) == 8
    assert set(pd.read_csv(tmp_path / "dose_slopes.csv")["fact"]) == {"resource_class"}


def test_points_are_told_as_strongly_as_their_corrected_p_allows(doses: Doses) -> None:
    dose, pooled, _ = doses.points[1]
    alike = replace(pooled.alike, estimate=0.02, interval=replace(pooled.alike.interval, low=0.01, high=0.03))
    sure = replace(pooled, configuration="epsilon 1", alike=alike)
    assert suite_words.points_of_design([(dose, sure, 0.01)]) == ["On tasks like these gains: epsilon 1 (+2.0)."]
    (said,) = suite_words.points_of_design([(dose, sure, 0.2)])
    assert said.startswith("Of the 1 point it cannot be told")
