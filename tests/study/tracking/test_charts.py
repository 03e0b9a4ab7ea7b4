"""The prepared views of MLflow's experiment page."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from typing import Any

from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.tracking import charts
from study.tracking.charts import View, Views

UUID = "0123456789abcdef0123456789abcdef"


def state(value: str) -> dict[str, Any]:
    """What the page unpacks."""
    packed = json.loads(value)["state"]
    assert packed.startswith("deflate;")
    return dict(json.loads(zlib.decompress(b64decode(packed.removeprefix("deflate;")))))


def test_a_view_lists_one_phase_and_draws_what_was_searched(config: StudyConfig) -> None:
    view = View("run", "accuracy", ("de", "sw"), 5.0, ("perturbation.epsilon", "training.batch_size"), "abc")
    key, value = charts.view_tag(UUID, config, view)
    shown = state(value)
    assert key == f"mlflow.sharedViewState.{UUID}-run"
    assert json.loads(value)["createdAt"] == 5000
    assert shown["orderByKey"] == "metrics.`validation_summary/accuracy.selection_mean`"
    assert shown["searchFilter"] == f"tags.`study.uuid` = '{UUID}' and tags.phase = 'run'"
    parallel, scatter, table, *bars = shown["compareRunCharts"]
    assert parallel["selectedParams"] == ["perturbation.epsilon", "training.batch_size"]
    assert "validation_summary/accuracy.low_resource_mean" in parallel["selectedMetrics"]
    assert scatter["xaxis"] == {"key": "perturbation.epsilon", "type": "PARAM"}
    assert scatter["yaxis"] == {"key": "validation_summary/accuracy.low_resource_mean", "type": "METRIC"}
    assert table["baselineColumnUuid"] == "abc"
    assert [bar["metricKey"] for bar in bars] == ["validation_accuracy/de", "validation_accuracy/sw"]
    sections = {section["uuid"] for section in shown["compareRunSections"]}
    assert all(card["metricSectionId"] in sections for card in shown["compareRunCharts"])
    assert len({card["uuid"] for card in shown["compareRunCharts"]}) == 5


def test_the_view_of_confirm_shows_the_test_split(config: StudyConfig) -> None:
    shown = state(charts.view_tag(UUID, config, View("confirm", "f1", ("sw",), 5.0))[1])
    assert shown["orderByKey"] == "metrics.`test_summary/f1.low_resource_mean`"
    assert "validation" not in json.dumps(shown) and not shown["orderByAsc"]
    named = config.protocol.model_copy(update={"primary_metric": "brier"})
    claimed = config.model_copy(update={"protocol": named})
    least = state(charts.view_tag(UUID, claimed, View("confirm", "f1", ("sw",), 5.0))[1])
    assert least["orderByKey"] == "metrics.`test_summary/brier.low_resource_mean`" and least["orderByAsc"]
    assert shown["compareRunCharts"][0]["selectedParams"] == list(charts.FALLBACK_AXES)


def test_a_view_fits_into_a_tag_however_much_there_is(config: StudyConfig) -> None:
    varied = tuple(f"augmentation.some_rather_long_name_{i}" for i in range(20))
    languages = tuple(f"l{i:03}" for i in range(200))
    _, value = charts.view_tag(UUID, config, View("run", "attacked_accuracy", languages, 5.0, varied))
    assert len(value) <= 20_000


def test_views_follow_the_trials(events: list[dict[str, Any]]) -> None:
    views = Views()
    for trial in StudyRecord.of(events[:2]).trials.values():
        views.note(trial)
    assert list(views.views({}, {})) == []
    for trial in StudyRecord.of(events).trials.values():
        views.note(trial)
    (view,) = views.views({0: "base", 1: "one"}, {})
    assert (view.phase, view.metric, view.begun, view.baseline) == ("run", "accuracy", 1000.0, "base")
    assert view.varied == ("perturbation.epsilon", "perturbation.ascent_steps")
    assert set(view.languages) == {"en", "de", "fr", "sw", "yo", "te", "th"}


def test_differences_are_drawn_from_the_baseline_of_one_encoder_only(events: list[dict[str, Any]]) -> None:
    """From that of another encoder they would be none of a method."""
    name = "encoder.name_or_path"
    further = [
        {**event, "trial": 99, "kind": "baseline", "point": {name: "another"}}
        if event["event"] == "asked"
        else {**event, "trial": 99}
        for event in events
        if event.get("trial") == 0
    ]
    views = Views()
    for trial in StudyRecord.of([*events, *further]).trials.values():
        views.note(trial)
    (view,) = views.views({0: "base", 99: "further"}, {})
    assert view.baseline == ""


def test_a_constant_is_no_axis_and_numbers_come_first(events: list[dict[str, Any]]) -> None:
    """A space names its method first, which may be the same everywhere."""
    for event in events:
        if event["event"] == "asked" and event["kind"] == "sampled" and event["point"]:
            constant = {"perturbation.method": "adversarial", "perturbation.norm": f"l{event['trial']}"}
            event["point"] = constant | event["point"]
    views = Views()
    for trial in StudyRecord.of(events).trials.values():
        views.note(trial)
    (view,) = views.views({}, {})
    assert view.varied == ("perturbation.epsilon", "perturbation.ascent_steps", "perturbation.norm")


def test_links_are_read_off_the_tags(config: StudyConfig) -> None:
    tags = dict([charts.view_tag(UUID, config, View("run", "accuracy", ("sw",), 5.0))])
    ((name, link),) = charts.view_links("http://127.0.0.1:5000/", "7", {**tags, "other": "x"})
    assert name == "small: trials"
    assert link.startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert f"viewStateShareKey={UUID}-run" in link


def test_many_bars_are_folded_up_until_they_are_asked_for(config: StudyConfig, events: list[dict[str, Any]]) -> None:
    views = Views()
    for trial in StudyRecord.of(events).trials.values():
        for _ in range(2):  # a trial is heard of as often as it gets on
            views.note(trial)
    (small,) = views.views({}, {})
    assert small.runs == 4
    languages = tuple(f"l{i}" for i in range(50))
    for runs, is_open in ((20, True), (21, False), (1000, False)):
        view = View("run", "accuracy", languages, 5.0, runs=runs)
        sections = {
            s["name"]: s["display"] for s in state(charts.view_tag(UUID, config, view)[1])["compareRunSections"]
        }
        assert sections["validation_accuracy"] is is_open and sections["study"]
    assert not View("run", "accuracy", languages[:10], 5.0, runs=1000).is_large  # a page loads a hundred
