"""Whole reports of studies that lack something, or have more than others: nothing breaks, and nothing is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.analysis.frames import read_results
from study.export import headline
from study.plots import chart, plotting
from study.reporting import page, tables
from study.reporting.findings import Findings, find
from study.reporting.foreign import from_results
from study.reporting.known import Said
from study.reporting.source import from_ledger
from study.views.found import find as found_study
from tests.study.reporting import conftest
from tests.study.reporting.conftest import build, configured
from trainables.scores import LanguageScores

TWO_DOSES = {"levels": {"perturbation.epsilon": [0.05, 0.1], "perturbation.ascent_steps": [1]}}
SEARCHED = {"mode": "search", "sampler": "random", "replicates": 1, "levels": {}, "trials": 4}


@pytest.mark.parametrize("search", [TWO_DOSES, SEARCHED])
def test_targets_without_validation_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: Mapping[str, Any]
) -> None:
    """As of XQuAD, TyDi QA and Belebele: a search scores the source language alone."""
    whole = conftest.validation

    def of_the_source(proposal: Any) -> Any:
        evaluation = whole(proposal)
        values = {"en": evaluation.primary.values["en"]}
        return replace(evaluation, scores={"accuracy": LanguageScores(values, {"en": 60})})

    monkeypatch.setattr(conftest, "validation", of_the_source)
    rule = {"selection": "source_validation", "pivots": []}
    build(tmp_path, configured(search=search, protocol=rule), confirmed=search is TWO_DOSES)
    found = find(from_ledger("planted", tmp_path))
    assert "trials" in page.page([found]) and "trials" in page.markdown(found)
    cost = next(table for table in tables.all_tables(found) if table.name == "cost")
    assert cost.rows and "validation accuracy" in cost.caption


def test_of_a_gap_the_smallest_is_the_best_for_its_cost(tmp_path: Path) -> None:
    build(tmp_path, configured(protocol={"primary_endpoint": "transfer_gap"}), confirmed=False)
    source = from_ledger("planted", tmp_path)
    cost, summary = tables.cost(source), source.summary[source.summary["state"] == "COMPLETE"]
    assert "of which less is better" in cost.caption
    assert f"{100 * summary['transfer_gap'].min():.1f}" in [row[2] for row in cost.rows]
    assert f"{100 * summary['transfer_gap'].max():.1f}" not in [row[2] for row in cost.rows]


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a confirmed study that has control (e)."""
    root = tmp_path_factory.mktemp("averaged")
    build(root, configured(search=TWO_DOSES), averages=True)
    return root


def test_control_e_is_drawn(averaged: Path) -> None:
    drawn = chart.chart(
        found_study(averaged, "planted"), chart.Request(x="configuration", ys=("target_mean",), phase="confirm")
    )
    assert "control e" in set(drawn.points["role"])
    assert plotting.rendered(drawn, ".svg")


def test_results_with_control_e_are_read_as_anyones(averaged: Path) -> None:
    frame = read_results(averaged / "planted" / "results.parquet")
    found = find(from_ledger("planted", averaged))
    assert found.confirmed is not None and (frame["control"] == "e").any()
    (source,) = from_results(frame, Said(headline=found.confirmed.headline))
    assert source.headline == found.confirmed.headline


def test_the_endpoint_s_numbers_are_those_of_its_table(averaged: Path) -> None:
    found: Findings = find(from_ledger("planted", averaged))
    exported = headline.endpoint(found)
    assert exported is not None
    rows, table = exported
    assert len(rows) == len(table.rows)
    assert [row["treatment_configuration"] for row in rows] == [row[0].split(" − ")[0] for row in table.rows]
