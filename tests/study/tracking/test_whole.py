"""Runs written straight into MLflow's SQLite file are, row for row, those that its client writes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.record.ledger import Ledger
from study.record.lines import LEDGER
from study.tracking import whole
from study.tracking.answers import settings
from study.tracking.mirror import Mirror
from study.tracking.runs import TRIAL, Point
from study.tracking.store import Run, Store
from study.tracking.whole import Whole
from tests.study.conftest import evaluation, place_of
from tests.study.tracking.test_mirror import append, send
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]
STUDY = "0" * 32


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings():
        yield


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The keys of the runs that MLflow's client is asked to create."""
    keys: list[tuple[str, str]] = []
    create = Store._create
    monkeypatch.setattr(Store, "_create", lambda self, key, *rest: keys.append(key) or create(self, key, *rest))
    return keys


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All runs of a file, with their names in the place of their identifiers."""
    with closing(sqlite3.connect(path)) as file:
        names = dict(file.execute("SELECT run_uuid, name FROM runs"))

        def named(value: Any) -> Any:
            if not isinstance(value, str):
                return value
            return next((value.replace(key, name) for key, name in names.items() if key in value), value)

        found = {}
        for table, columns in whole.COLUMNS.items():
            everything = file.execute(f"SELECT {', '.join(columns)} FROM {table}")
            found[table] = sorted((tuple(map(named, row)) for row in everything), key=repr)
        return found


def test_rows_are_those_of_the_client(
    store: str,
    tmp_path: Path,
    empty_store: Path,
    events: list[Event],
    created: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = evaluation(10, 0.0, False)
    values = {**odd.primary.values, "sw": math.nan, "yo": math.inf}
    events[3]["evaluation"] = Evaluation(10, "validation", {"accuracy": LanguageScores(values, odd.primary.counts)})
    events[3]["evaluation"] = events[3]["evaluation"].to_json()
    shown = []
    for folder, revision in ((store, whole.REVISION), (None, "another")):
        monkeypatch.setattr(whole, "REVISION", revision)
        root = Path(folder.removeprefix("sqlite:///")).parent if folder else tmp_path / "other" / "studies"
        if not folder:
            root.mkdir(parents=True)
            (root / "mlflow.db").write_bytes(empty_store.read_bytes())
        with Ledger.open(root / "small" / LEDGER) as ledger:
            append(ledger, events)
        send(Mirror(place_of(root / "small"), None, pytest.fail))
        shown.append(rows(root / "mlflow.db"))
        trials = [key for key in created if key[0] == TRIAL]
        assert len(trials) == (4 if revision == "another" else 0)
    text = repr(shown[1]).replace("/other/", "/")
    begun = (
        next(row[7] for row in shown[1]["runs"] if row[1] == "small"),
        next(row[7] for row in shown[0]["runs"] if row[1] == "small"),
    )
    assert repr(shown[0]) == text.replace(str(begun[0]), str(begun[1]))


def run(number: int) -> Whole:
    points = [Point("a/b", 0.5, 2000, 1), Point("a/b", 0.5, 2000, 1), Point("a/b", 0.25, 2500, 2)]
    tags = {"study.uuid": STUDY, TRIAL: str(number)}
    return Whole(number, f"trial {number}", 1.0, 3.0, "FINISHED", tags, {"x.y": "1"}, points)


@pytest.fixture
def parent(store: str) -> tuple[Store, Run]:
    there = Store(store, Path(store.removeprefix("sqlite:///")).parent, "small")
    there.uuid = STUDY
    return there, there.run(("phase", "study"), "small", 1.0, {})


def test_what_is_there_is_left_alone(parent: tuple[Store, Run]) -> None:
    store, study = parent
    first = store.write_whole(study, [run(0), run(1)])
    assert first.keys() == store.there([]).keys() == {0, 1} and first[0].ended
    assert store.write_whole(study, [run(0), run(2)]).keys() == {2}
    store.client.delete_run(first[1].id)
    assert store.there([]).keys() == {0, 2}
    found = store.client.get_run(first[0].id)
    assert (found.info.status, found.info.end_time, found.data.metrics) == ("FINISHED", 3000, {"a/b": 0.25})
    assert [p.value for p in store.client.get_metric_history(first[0].id, "a/b")] == [0.5, 0.25]


def test_what_mlflow_would_refuse_is_left_to_it(parent: tuple[Store, Run]) -> None:
    store, study = parent
    for key in ("a@b", "/a", "a//b", "../a", "a" * 251):
        assert store.write_whole(study, [replace(run(0), points=[Point(key, 0.5, 1, 1)])]) == {}
        assert store.write_whole(study, [replace(run(0), parameters={key: "1"})]) == {}
    assert store.there([]) == {}


def test_another_file_is_left_alone(parent: tuple[Store, Run], tmp_path: Path, empty_store: Path) -> None:
    """One of another schema, one that lacks the study, one that is gone."""
    store, study = parent
    (tmp_path / "other.db").write_bytes(empty_store.read_bytes())
    for uri in (f"sqlite:///{tmp_path / 'other.db'}", f"sqlite:///{tmp_path / 'gone.db'}", "http://127.0.0.1:9"):
        assert whole.write(uri, store.experiment, "file:///a", study.id, STUDY, [run(0)]) == {}
        assert whole.there(uri, STUDY) == {}
    assert not (tmp_path / "gone.db").exists()
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as file, file:
        file.execute("UPDATE alembic_version SET version_num = 'later'")
    assert store.write_whole(study, [run(0)]) == {}


def test_what_agrees_is_not_asked_for_again(
    store: str, events: list[Event], created: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But what does not, or is there twice, is."""
    root = Path(store.removeprefix("sqlite:///")).parent
    with Ledger.open(root / "small" / LEDGER) as ledger:
        append(ledger, events)
    mirror = Mirror(place_of(root / "small"), None, pytest.fail)
    send(mirror)
    first, client = mirror.store.there([]), mirror.store.client
    asked: list[Any] = []
    find = Store.find
    monkeypatch.setattr(Store, "find", lambda self, key=None: asked.append(key) or find(self, key))
    send(Mirror(place_of(root / "small"), None, pytest.fail))
    assert not [key for key in asked if key is not None and key[0] == TRIAL]
    client.update_run(first[0].id, "FAILED")
    tags = {"study.uuid": mirror.store.uuid, TRIAL: "1", "phase": "run"}
    client.create_run(mirror.store.experiment, tags=tags, run_name="twice")
    send(Mirror(place_of(root / "small"), None, pytest.fail))
    assert {key[1] for key in asked if key is not None and key[0] == TRIAL} == {"0", "1"}
    again = mirror.store.there([])
    assert [again[n].status for n in range(4)] == [first[n].status for n in range(4)]
