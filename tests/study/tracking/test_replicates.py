"""Trials that differ in their seed alone: one run above them, with mean, standard deviation and number."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER
from study.record.record import StudyRecord
from study.tracking import mirror as mirror_module
from study.tracking.answers import settings
from study.tracking.mirror import Mirror
from study.tracking.replicates import Aggregates, Replicates
from study.tracking.tracker import rebuild
from tests.study.conftest import evaluation, place_of
from tests.study.tracking.conftest import Dump, dump
from tests.study.tracking.test_charts import state
from tests.study.tracking.test_mirror import append, send

Event = dict[str, Any]

GAINS = {3: 0.01, 4: 0.04, 5: 0.02}
"""Of the trials of the one point, by number."""

KEY = "validation_accuracy/sw"


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings():
        yield


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "studies" / "small" / LEDGER) as ledger:
        yield ledger


@pytest.fixture
def design(config: StudyConfig) -> StudyConfig:
    search = config.search.model_copy(update={"mode": "design", "sampler": "grid", "replicates": 3})
    protocol = config.protocol.model_copy(update={"confirm_seeds": 3})
    return config.model_copy(update={"search": search, "protocol": protocol})


def trial(number: int, gain: float, begun: float, outcome: str = "COMPLETE", **asked: Any) -> list[Event]:
    common = {"trial": number, "attempt": 1}
    scored = evaluation(20, gain, True).to_json()
    return [
        {"event": "asked", "time": begun, "trial": number, **asked},
        {"event": "started", "time": begun + 1, **common},
        {"event": "report", "time": begun + 5, "step": 20, **common, "evaluation": scored},
        {"event": "finished", "time": begun + 9, **common, "outcome": outcome, "error": None},
    ]


@pytest.fixture
def rows(design: StudyConfig) -> list[Event]:
    """A baseline and a point under three seeds each, and two seeds of a configuration that was confirmed."""
    facts = {"uuid": "0" * 32, "code_version": "1", "fingerprints": {}, "protocol_hash": "abc"}
    events: list[Event] = [{"event": "study", "time": 1000.0, "config": design.model_dump(mode="json"), **facts}]
    none = {"perturbation.method": "none", "augmentation.method": "none"}
    for seed in range(3):
        events += trial(
            seed, 0.0, 1100.0 + 10 * seed, phase="run", kind="baseline", point={**none, "training.seed": seed}
        )
    for number, gain in GAINS.items():
        point = {"perturbation.epsilon": 0.2, "training.seed": number - 3}
        events += trial(number, gain, 1200.0 + 10 * number, phase="run", kind="design", point=point)
    for number in (6, 7):
        confirmed = {"phase": "confirm", "kind": "winner", "attributes": {"configuration": "trial 3"}}
        point = {"perturbation.epsilon": 0.2, "training.seed": 900 + number}
        events += trial(number, 0.0, 1300.0 + 10 * number, point=point, **confirmed)
    return events


def heard(rows: list[Event]) -> dict[int, Replicates]:
    record, aggregates = StudyRecord(), Aggregates()
    for row in rows:
        record.apply(row)
        aggregates.hear(row, record)
    found = {number: aggregates.of(number) for number in record.trials}
    return {number: of for number, of in found.items() if of is not None}


def last(run: dict[str, Any], key: str) -> float:
    return float(run["points"][key][-1][2])


def test_means_are_those_of_the_seeds_in_the_order_in_which_they_ended(rows: list[Event], design: StudyConfig) -> None:
    of = heard(rows)[4]
    assert [t.number for t in of.trials] == [3, 4, 5]
    points = {(p.key, p.step): p for p in of.points(design)}
    scores = [0.4 + gain for gain in GAINS.values()]
    for step in (1, 2, 3):
        assert points[f"{KEY}.mean", step].value == pytest.approx(statistics.fmean(scores[:step]))
        assert points[f"{KEY}.n", step].value == step
    assert (f"{KEY}.std", 1) not in points
    assert points[f"{KEY}.std", 3].value == pytest.approx(statistics.stdev(scores))
    assert points["validation_summary/accuracy.low_resource_mean.mean", 3].milliseconds == 1259000
    assert {p.step for p in of.points(design, sent=2)} == {3}


def test_failed_seeds_and_repeated_ends_count_for_nothing(rows: list[Event], design: StudyConfig) -> None:
    end = next(i for i, e in enumerate(rows) if e["event"] == "finished" and e["trial"] == 4)
    rows[end]["outcome"] = "FAIL"
    rows.insert(end + 5, dict(rows[end - 4]))  # of a driver that had been taken over
    of = heard(rows)[4]
    (number,) = {p.value for p in of.points(design) if p.key == "replicates" and p.step == 2}
    assert (number, len(of.results)) == (2.0, 2)


def test_trials_of_a_search_stand_alone(events: list[Event]) -> None:
    assert heard(events) == {}


def below(shown: Dump) -> Dump:
    """All runs but the study's own, which begins when its ledger was opened, with the names of those above them."""
    names = {run["id"]: name for name, run in shown.items()}
    kept = {name: run | {"parent": names[run["parent"]]} for name, run in shown.items() if run["is_child"]}
    return {name: {k: v for k, v in run.items() if k not in ("id", "experiment")} for name, run in kept.items()}


@pytest.fixture
def shown(store: str, ledger: Ledger, rows: list[Event]) -> Dump:
    append(ledger, rows)
    send(Mirror(place_of(ledger.path.parent), None, pytest.fail))
    return dump(store, "small", ids=True)


def test_a_point_is_a_run_with_its_seeds_below_it(shown: Dump) -> None:
    point, baseline, winner = shown["point 3 epsilon=0.2"], shown["point 0 baseline"], shown["winner trial 3"]
    assert {run["parent"] for run in (point, baseline, winner)} == {shown["small"]["id"]}
    assert {shown[f"trial {number}"]["parent"] for number in GAINS} == {point["id"]}
    assert shown["trial 7 confirm winner"]["parent"] == winner["id"]
    assert shown["trial 4"]["tags"]["configuration"] == "epsilon=0.2"
    assert (point["tags"]["phase"], winner["tags"]["phase"]) == ("points", "configurations")
    assert (winner["tags"]["configuration"], winner["status"]) == ("trial 3", "FINISHED")
    assert point["times"] == (1230000, 1259000)
    assert point["parameters"]["perturbation.epsilon"] == "0.2"
    assert "training.seed" not in point["parameters"]
    assert (last(point, f"{KEY}.n"), last(winner, f"{KEY}.n")) == (3, 2)
    assert last(point, f"{KEY}.mean") == pytest.approx(0.4 + sum(GAINS.values()) / 3)


def test_following_resuming_and_rebuilding_show_the_same(
    shown: Dump, store: str, ledger: Ledger, tmp_path: Path, empty_store: Path, rows: list[Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(mirror_module, "CHUNK", 16)  # the seeds of a point lie in several chunks
    rebuild(place_of(ledger.path.parent))
    again = dump(store, "small", ids=True)
    points = {name for name, run in shown.items() if "study.point" in run["tags"]}
    assert {name: again[name]["id"] for name in points} == {name: shown[name]["id"] for name in points}

    other = tmp_path / "other" / "studies"
    other.mkdir(parents=True)
    (other / "mlflow.db").write_bytes(empty_store.read_bytes())
    with Ledger.open(other / "small" / LEDGER) as followed:
        mirror = Mirror(place_of(followed.path.parent), None, pytest.fail)
        for number, row in enumerate(rows):
            append(followed, [row])
            mirror.advance()
            if number == 22:  # between two seeds of the point
                send(mirror)
                mirror = Mirror(place_of(followed.path.parent), None, pytest.fail)
        send(mirror)
    followed_shown = dump(f"sqlite:///{other / 'mlflow.db'}", "small", ids=True)
    assert below(again) == below(followed_shown) == below(shown)


def test_a_mean_the_ledger_does_not_have_is_written_anew(
    shown: Dump, store: str, ledger: Ledger, rows: list[Event]
) -> None:
    from mlflow import MlflowClient

    MlflowClient(store).log_metric(shown["point 3 epsilon=0.2"]["id"], "replicates", 9, timestamp=5, step=9)
    rebuild(place_of(ledger.path.parent))
    again = dump(store, "small", ids=True)
    assert again["point 3 epsilon=0.2"]["points"] == shown["point 3 epsilon=0.2"]["points"]
    assert again["trial 5"]["parent"] == again["point 3 epsilon=0.2"]["id"] != shown["point 3 epsilon=0.2"]["id"]


def test_replicates_have_views_of_seeds_and_of_means(shown: Dump) -> None:
    tags = {key.rpartition("-")[2]: state(value) for key, value in shown["small"]["experiment"].items()}
    assert tags.keys() == {"run", "points", "confirm", "configurations"}
    assert tags["run"]["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "configuration"}]
    assert not tags["run"]["useGroupedValuesInCharts"]
    _, scatter, table, mean, spread, *_ = tags["points"]["compareRunCharts"]
    assert scatter["yaxis"]["key"] == "validation_summary/accuracy.low_resource_mean.mean"
    assert table["baselineColumnUuid"] == shown["point 0 baseline"]["id"]
    assert [mean["metricKey"][-5:], spread["metricKey"][-4:]] == [".mean", ".std"]
    recorded = shown["point 3 epsilon=0.2"]["points"]
    drawn = [c["metricKey"] for c in tags["points"]["compareRunCharts"] if c["type"] == "BAR"]
    assert set(drawn) <= recorded.keys()
