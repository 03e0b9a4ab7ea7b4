"""The prepared views of MLflow's experiment page."""

from __future__ import annotations

import json

from study.config import StudyConfig
from study.tracking import charts
from study.tracking.runs import MAX_TAG

UUID = "0123456789abcdef0123456789abcdef"


def test_a_view_lists_one_phase_and_draws_what_was_searched(config: StudyConfig) -> None:
    key, value = charts.view_tag(UUID, config, "run", "accuracy", ["perturbation.epsilon", "training.batch_size"], 5.0)
    view = json.loads(value)
    state = json.loads(view["state"])
    assert key == f"mlflow.sharedViewState.{UUID}-run"
    assert view["createdAt"] == 5000
    assert state["orderByKey"] == "metrics.`validation_summary/accuracy.selection_mean`"
    assert state["searchFilter"] == f"tags.`study.uuid` = '{UUID}' and tags.phase = 'run'"
    parallel, scatter, table = state["compareRunCharts"]
    assert parallel["selectedParams"] == ["perturbation.epsilon", "training.batch_size"]
    assert "validation_summary/accuracy.low_resource_mean" in parallel["selectedMetrics"]
    assert scatter["xaxis"] == {"key": "perturbation.epsilon", "type": "PARAM"}
    assert table["type"] == "DIFFERENCE"
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert all(card["metricSectionId"] in sections for card in state["compareRunCharts"])


def test_the_view_of_confirm_shows_the_test_split(config: StudyConfig) -> None:
    _, value = charts.view_tag(UUID, config, "confirm", "accuracy", [], 5.0)
    state = json.loads(json.loads(value)["state"])
    assert state["orderByKey"] == "metrics.`test_summary/accuracy.low_resource_mean`"
    assert "validation" not in json.dumps(state["compareRunSections"])
    assert state["compareRunCharts"][0]["selectedParams"] == list(charts.FALLBACK_AXES)


def test_a_view_fits_into_a_tag_however_much_is_searched(config: StudyConfig) -> None:
    varied = [f"augmentation.some_rather_long_name_{i}" for i in range(20)]
    _, value = charts.view_tag(UUID, config, "run", "attacked_accuracy", varied, 5.0)
    assert len(value) <= MAX_TAG


def test_links_are_read_off_the_tags(config: StudyConfig) -> None:
    tags = dict([charts.view_tag(UUID, config, "run", "accuracy", [], 5.0)])
    ((name, link),) = charts.view_links("http://127.0.0.1:5000/", "7", {**tags, "other": "x"})
    assert name == "small: trials"
    assert link.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert f"viewStateShareKey={UUID}-run" in link
