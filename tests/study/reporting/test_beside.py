"""Ours beside what others have published: only languages that both have, and an interval of ours alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from study.analysis.frames import language_scores, seed_table
from study.question.config import Published
from study.reporting import beside, files, pooling, tables
from study.reporting.beside import Beside
from study.reporting.findings import Findings, find
from study.reporting.source import Source

ROW = Published(
    name="someone2020", where="table 1", seeds=5, average=70.0, values={"en": 61.0, "swa": 50.0, "de": 66.0, "nv": 9.0}
)


@pytest.fixture(scope="module")
def told(planted: Source) -> Findings:
    brier = Published(name="someone2020", where="table 2", metric="brier", values={"en": 30.0, "de": 25.0})
    return find(replace(planted, published=(ROW, brier)))


def test_differences_are_over_seeds_in_the_languages_that_both_have(planted: Source, told: Findings) -> None:
    plain, headline, *rest = told.published
    assert [plain.configuration, headline.configuration] == ["control a", planted.headline]
    assert [each.metric for each in rest] == ["brier", "brier"]
    assert list(headline.scores["language"]) == ["de", "en", "sw", beside.MEAN]
    assert headline.theirs_alone == ("nv",)
    assert planted.results is not None
    mine = seed_table(language_scores(planted.results), str(planted.headline))
    assert set(headline.ours_alone) == set(mine.columns) - {"de", "en", "sw"}
    mean = mine[["de", "en", "sw"]].mean(axis=1)
    assert headline.mean["theirs"] == pytest.approx((0.66 + 0.61 + 0.50) / 3)
    assert headline.mean["difference"] == pytest.approx(mean.mean() - 0.59)
    half = 2.7764451 * mean.std(ddof=1) / 5**0.5
    assert headline.mean["difference_high"] - headline.mean["difference"] == pytest.approx(half, rel=1e-6)


def test_the_table_and_the_conclusions_say_what_is_not_known_and_what_differs(told: Findings, tmp_path: Path) -> None:
    (table,) = [each for each in tables.all_tables(told) if each.name == "reference"]
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert [row[2] for row in table.rows] == ["de", "en", "sw", "mean of 3", "de", "en", "mean of 2"]
    for text in ("theirs is a mean of 5 seeds", "selection by pivot validation", "vocabulary trimmed", "60 steps"):
        assert text in table.caption
    (said, *_) = [text for topic, text in told.conclusions if topic == "Published"]
    assert "mean over the 3 languages that both have (not in it:" in said
    assert "of ours over 5 seeds alone; theirs is a mean of 5 seeds, without an interval" in said
    files.write(told, tmp_path)
    assert len(pd.read_csv(tmp_path / "reference.csv")) == 2 * 4 + 2 * 3
    assert "someone2020" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_rows_named_alike_and_configurations_of_other_languages_stand_apart(planted: Source) -> None:
    other = ROW.model_copy(update={"values": {"ru": 60.0}})
    results = planted.results
    assert results is not None
    lacks = (results["configuration"] == planted.headline) & (results["language"] == "de")
    source = replace(planted, published=(ROW, other), results=results[~lacks])
    rows = beside.table(source, beside.find(source)).rows
    assert [row[2] for row in rows] == ["de", "en", "sw", "mean of 3", "en", "sw", "mean of 2", "ru", "mean of 1"]
    assert [rows[i][3] for i in (3, 6, 8)] == ["59.0", "55.5", "60.0"]
    assert [cell == "–" for cell in rows[3][4::3]] == [False, True]


def average(*languages: str) -> Published:
    return Published(name="mean2020", where="a README", average=58.0, languages=languages)


def test_an_average_alone_is_subtracted_over_its_own_languages_or_not_at_all(planted: Source, tmp_path: Path) -> None:
    fits, wider = average("en", "swa", "de"), average("en", "de", "nv")
    told = find(replace(planted, published=(fits, wider)))
    same, _, lacking, _ = told.published
    assert planted.results is not None
    mine = seed_table(language_scores(planted.results), same.configuration)[["en", "sw", "de"]].mean(axis=1)
    assert list(same.scores["language"]) == [beside.MEAN]
    assert (same.alike, same.languages) == (True, 3)
    assert same.mean["difference"] == pytest.approx(mine.mean() - 0.58)
    assert (lacking.alike, lacking.languages, lacking.theirs_alone) == (False, 2, ("nv",))
    assert lacking.scores[["ours", "difference"]].isna().all(axis=None)
    rows = beside.table(told.source, told.published).rows
    assert [row[2:4] for row in rows] == [("mean of 3", "58.0"), ("mean of 3, 2 here", "58.0")]
    assert set(rows[1][4:]) == {"–"} and "–" not in rows[0][4:6]
    said = [text for topic, text in told.conclusions if topic == "Published"]
    assert "control a has 2: not subtracted (not scored: nv)" in said[2]
    suite = beside.suite_table({"one": told.published})
    assert suite is not None and suite.rows[2][5:] == ("58.0", "–", "–", "–")
    files.write(told, tmp_path)
    assert pd.read_csv(tmp_path / "reference.csv")["difference"].isna().tolist() == [False, False, True, True]


def test_nothing_stands_there_before_the_confirmation_or_without_a_common_language(planted: Source) -> None:
    unconfirmed = replace(planted, published=(ROW,), results=None, further=pd.DataFrame())
    assert beside.find(unconfirmed) == ()
    assert beside.find(replace(planted, published=(ROW.model_copy(update={"values": {"nv": 9.0}}),))) == ()


def test_a_suite_s_table_counts_languages_and_averages_over_no_tasks(told: Findings, tmp_path: Path) -> None:
    none: tuple[Beside, ...] = ()
    table = beside.suite_table({"one": told.published, "two": none, "three": told.published[:1]})
    assert table is not None
    assert [row[0] for row in table.rows] == ["one"] * 4 + ["three"]
    assert table.rows[0][4] == f"3 ({len(told.published[0].ours_alone)} ours, 1 theirs alone)"
    assert beside.suite_table({"two": none}) is None
    files.write_suite({"one": told}, pooling.together({}, None), None, tmp_path)
    assert set(pd.read_csv(tmp_path / "reference.csv")["member"]) == {"one"}
