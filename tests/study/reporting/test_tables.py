"""Tables in three renderings, and numbers that agree with the findings."""

from __future__ import annotations

import re

import pytest

from study.reporting import tables, words
from study.reporting.findings import Findings
from study.reporting.tables import Table

TABLE = Table("x", "R & D <5 %", ("name", "a_b"), (("p|q", "−1.0"), ("100 %", "≤ 2")))


def test_markdown() -> None:
    assert TABLE.markdown().splitlines() == [
        "**R & D <5 %**",
        "",
        "| name | a_b |",
        "| :-- | --: |",
        "| p\\|q | −1.0 |",
        "| 100 % | ≤ 2 |",
    ]


def test_latex_is_escaped_and_whole() -> None:
    text = TABLE.latex()
    assert r"\caption{R \& D $<$5 \%}" in text
    assert r"name & a\_b \\" in text
    assert r"p|q & $-$1.0 \\" in text
    assert text.count("{") == text.count("}")


def test_html_is_escaped() -> None:
    text = TABLE.html()
    assert "R &amp; D &lt;5 %" in text
    assert '<td class="n">−1.0</td>' in text


@pytest.fixture(scope="module")
def listed(found: Findings) -> dict[str, Table]:
    return {t.name: t for t in tables.all_tables(found)}


def test_every_table_is_there_and_rectangular(listed: dict[str, Table], searched: Findings) -> None:
    assert list(listed) == ["headline", "scores", "languages", "groups", "trend", "doses", "trials", "cost"]
    assert [t.name for t in tables.all_tables(searched)] == ["trials", "cost"]
    for table in (*listed.values(), *tables.all_tables(searched)):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        body = re.findall(r"^.*\\\\$", table.latex(), re.M)
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(table.columns) - 1 for line in body)


def test_every_caption_carries_the_protocol(listed: dict[str, Table]) -> None:
    for table in listed.values():
        for part in ("planted", "pivot_validation", "low_resource_mean", "5 seeds", "test split opened 1×"):
            assert part in table.caption


def test_headline_marks_the_claim(listed: dict[str, Table], found: Findings) -> None:
    assert found.confirmed is not None
    claims = [row for row in listed["headline"].rows if "(the claim)" in row[0]]
    assert len(claims) == 1
    claim = found.confirmed.claim
    assert claims[0][0].startswith(f"{claim.treatment} − {claim.control}")
    assert claims[0][4:7] == (words.points(claim.estimate), words.span(claim.by_seed), words.span(claim.by_both))


def test_scores_show_supervision_and_what_each_is(listed: dict[str, Table]) -> None:
    table = listed["scores"]
    assert table.columns[:3] == ("configuration", "what it is", "supervision")
    assert "(headline)" in table.rows[0][0]
    assert {row[2] for row in table.rows} == {"none"}
    assert any("(primary)" in c for c in table.columns)
    assert sum("(strongest)" in row[0] for row in table.rows) == 1


def test_studies_compared_are_adjusted_together(found: Findings, searched: Findings) -> None:
    table = tables.compared([found, found, searched])
    assert found.confirmed is not None
    assert [row[4] for row in table.rows] == [found.confirmed.control, found.confirmed.control, "not confirmed"]
    assert table.rows[0][-1] == words.p_text(min(1.0, 2 * found.confirmed.claim.p_seed))
