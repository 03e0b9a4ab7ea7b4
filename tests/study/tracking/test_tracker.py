"""A study's thread to MLflow against a real server behind a gate that misbehaves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER
from study.tracking import mirror
from study.tracking import tracker as tracker_module
from study.tracking.tracker import Tracker, rebuild
from tests.study.conftest import place_of
from tests.study.tracking.conftest import Gate, Server, dump, glimpse, wait_for
from tests.study.tracking.test_mirror import append, assert_equals_ledger
from trainables.errors import UserError

Event = dict[str, Any]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An experiment of each test's own on the server that they share."""
    return str(request.node.name).replace("[", ".").rstrip("]")[:99]


@pytest.fixture
def ledger(tmp_path: Path, name: str) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / name / LEDGER) as ledger:
        yield ledger


@pytest.fixture
def study(events: list[Event], config: StudyConfig, name: str) -> list[Event]:
    """The events of the small study under the test's name, as its only one."""
    events[0]["config"]["name"] = name
    events[0]["uuid"] = f"{abs(hash(name)):032x}"[-32:]
    return events


def follow(gate: Gate, ledger: Ledger, said: list[str]) -> Tracker:
    return Tracker(gate.uri, place_of(ledger.path.parent), said.append)


def has_points(store: str, experiment: str, run: str) -> bool:
    runs = glimpse(store, experiment)
    return run in runs and bool(runs[run].data.metrics)


def has_ended(store: str, experiment: str, run: str) -> bool:
    runs = glimpse(store, experiment)
    return run in runs and runs[run].info.status != "RUNNING"


def test_everything_arrives_while_the_study_runs(
    gate: Gate, server: Server, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    said: list[str] = []
    with follow(gate, ledger, said):
        append(ledger, study)
        wait_for(lambda: has_ended(server.store, name, "trial 3"))
        assert glimpse(server.store, name)[name].info.status == "RUNNING"
    assert said == []
    shown = dump(server.store, name)
    assert_equals_ledger(shown, ledger.path, config)
    assert shown[name]["status"] == "FINISHED"
    run = glimpse(server.store, name)[name].info.run_id
    assert list((server.folder / "artifacts").rglob(f"{run}/artifacts/study.yaml"))


def test_closing_sends_all_that_is_left_however_much(
    gate: Gate,
    server: Server,
    ledger: Ledger,
    study: list[Event],
    config: StudyConfig,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror, "CHUNK", 3)
    append(ledger, study)
    said: list[str] = []
    assert follow(gate, ledger, said).close(60)
    assert said == []
    assert_equals_ledger(dump(server.store, name), ledger.path, config)


def test_the_environment_is_what_it_was(gate: Gate, server: Server, ledger: Ledger, study: list[Event]) -> None:
    before = dict(os.environ)
    append(ledger, study)
    with follow(gate, ledger, []):
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert dict(os.environ) == before
    rebuild(place_of(ledger.path.parent), gate.uri, pytest.fail)
    assert dict(os.environ) == before


@pytest.mark.parametrize("fault", ["hang", "500", "403", "down"])
def test_an_outage_is_said_once_and_made_up_for(
    gate: Gate,
    server: Server,
    ledger: Ledger,
    study: list[Event],
    config: StudyConfig,
    name: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker_module, "LONGEST_PAUSE_SECONDS", 0.5)
    if fault == "hang":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    words = {"hang": "does not answer", "500": "answers 500", "403": "--allowed-hosts 127.0.0.1", "down": "refused"}
    said: list[str] = []
    tracker = follow(gate, ledger, said)
    append(ledger, study[:4])
    wait_for(lambda: has_points(server.store, name, "trial 0 baseline"))
    if fault == "down":
        gate.close()
    else:
        gate.fault = lambda method, path: fault
    append(ledger, study[4:])
    wait_for(lambda: len(said) == 1)
    time.sleep(1.0)
    assert len(said) == 1
    assert words[fault] in said[0]
    assert "goes on" in said[0]
    if fault == "down":
        gate.open()
    gate.fault = lambda method, path: ""
    gate.released.set()
    wait_for(lambda: len(said) == 2)
    assert "answers again" in said[1]
    assert tracker.close(60.0)
    shown = dump(server.store, name)
    assert_equals_ledger(shown, ledger.path, config)
    created = [shown[run]["times"][0] for run in ("trial 0 baseline", "trial 1", "trial 2", "trial 3")]
    assert created == sorted(created)


def test_catching_up_asks_a_server_for_little(
    gate: Gate, server: Server, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    """For four requests a trial (MLflow takes a hundred parameters at once), several at a time; again, for none."""
    asked: list[str] = []
    meeting = threading.Barrier(2)

    def fault(method: str, path: str) -> str:
        asked.append(path.partition("/mlflow/")[2].partition("?")[0])
        if asked.count("runs/create") in (2, 3) and asked[-1] == "runs/create":  # not the first, which is the study's
            meeting.wait(60)
        return ""

    gate.fault = fault
    append(ledger, study)
    rebuild(place_of(ledger.path.parent), gate.uri, pytest.fail)
    assert (asked.count("runs/create"), asked.count("runs/update"), asked.count("runs/search")) == (5, 5, 1)
    assert asked.count("runs/log-batch") == 2 * 4 + 1
    shown = dump(server.store, name, ids=True)
    assert_equals_ledger(shown, ledger.path, config)
    asked.clear()
    rebuild(place_of(ledger.path.parent), gate.uri, pytest.fail)
    assert not {"runs/create", "runs/delete", "runs/log-batch"} & set(asked)
    assert asked.count("runs/search") == 3  # is the study there, which run is it, which are its trials
    assert dump(server.store, name, ids=True) == shown


def test_what_fails_among_several_is_there_once(
    gate: Gate, server: Server, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    """Every third request loses its answer: what it asked for was done."""
    asked: list[str] = []

    def fault(method: str, path: str) -> str:
        asked.append(path)
        is_written = path.endswith(("/runs/create", "/runs/log-batch", "/runs/update"))
        return "lost" if is_written and len(asked) % 3 == 0 else ""

    gate.released.set()
    gate.fault = fault
    append(ledger, study)
    said: list[str] = []
    with suppress(UserError):  # its patience is a matter of its own
        rebuild(place_of(ledger.path.parent), gate.uri, said.append)
    gate.fault = lambda method, path: ""
    rebuild(place_of(ledger.path.parent), gate.uri, said.append)
    assert said == []
    assert_equals_ledger(dump(server.store, name), ledger.path, config)


def test_a_slow_server_gets_everything(
    gate: Gate, server: Server, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    gate.fault = lambda method, path: "slow"
    said: list[str] = []
    tracker = follow(gate, ledger, said)
    append(ledger, study)
    assert tracker.close(60.0)
    assert said == []
    assert_equals_ledger(dump(server.store, name), ledger.path, config)


def test_closing_ends_in_time_and_says_what_is_missing(
    gate: Gate, server: Server, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    gate.fault = lambda method, path: "hang"
    said: list[str] = []
    tracker = follow(gate, ledger, said)
    append(ledger, study)
    began = time.monotonic()
    assert not tracker.close(timeout=0.5)
    assert time.monotonic() - began < 1.5
    assert not tracker.close()
    assert len(said) == 1
    # The ledger's first event says only who opened it: the thread may have done with it before the others came.
    assert any(f"lacks the last {n} events" in said[0] for n in (len(study), len(study) + 1))
    assert f"study rebuild {name} --mlflow --root {ledger.path.parent.parent}" in said[0]
    gate.released.set()
    rebuild(place_of(ledger.path.parent), server.uri)
    assert_equals_ledger(dump(server.store, name), ledger.path, config)


def test_closing_does_not_wait_for_a_server_that_is_not_there(gate: Gate, ledger: Ledger, study: list[Event]) -> None:
    gate.close()
    said: list[str] = []
    tracker = follow(gate, ledger, said)
    append(ledger, study)
    began = time.monotonic()
    assert not tracker.close(timeout=60.0)
    assert time.monotonic() - began < 20.0
    assert "connection refused" in said[0]


@pytest.mark.parametrize("kind", ["lost", "held"])
def test_a_run_whose_creation_seemed_to_fail_is_there_once(
    gate: Gate,
    server: Server,
    ledger: Ledger,
    study: list[Event],
    config: StudyConfig,
    name: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lost: the server has created it, the answer never came. Held: it creates it only after the second attempt."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    creations: list[str] = []

    def fault(method: str, path: str) -> str:
        if path.endswith("/runs/create"):
            creations.append(path)
            return kind if len(creations) == 2 else ""
        return ""

    gate.fault = fault
    said: list[str] = []
    tracker = follow(gate, ledger, said)
    append(ledger, study[:4])
    wait_for(lambda: has_points(server.store, name, "trial 0 baseline"))
    gate.released.set()
    time.sleep(0.5)
    append(ledger, study[4:])
    assert tracker.close(60.0)
    assert len(creations) == (5 if kind == "lost" else 6)
    assert_equals_ledger(dump(server.store, name), ledger.path, config)


@pytest.mark.parametrize("kind", ["report", "finished"])
def test_a_patient_one_waits_for_something_to_see(
    monkeypatch: pytest.MonkeyPatch, gate: Gate, server: Server, ledger: Ledger, study: list[Event], kind: str
) -> None:
    """What was there before it does not count: a study that is resumed has to start its workers too."""
    monkeypatch.setattr("study.tracking.tracker.POLL_SECONDS", 0.05)
    first = next(i for i, event in enumerate(study) if event["event"] == kind)
    append(ledger, study[: first + 1])
    advanced: list[None] = []
    monkeypatch.setattr(mirror.Mirror, "advance", lambda self: advanced.append(None))
    monkeypatch.setattr(mirror.Mirror, "finish", lambda self: None)
    with Tracker(gate.uri, place_of(ledger.path.parent), patient=True):
        append(ledger, [{**study[first], "event": "started"}])
        time.sleep(0.5)
        assert not advanced
        append(ledger, [study[first]])
        wait_for(lambda: bool(advanced))


def test_a_patient_one_waits_no_longer_than_its_study(
    monkeypatch: pytest.MonkeyPatch, gate: Gate, server: Server, tmp_path: Path, name: str
) -> None:
    finished: list[None] = []
    monkeypatch.setattr(mirror.Mirror, "advance", lambda self: False)
    monkeypatch.setattr(mirror.Mirror, "finish", lambda self: finished.append(None))
    assert Tracker(gate.uri, place_of(tmp_path / name), patient=True).close(20.0)
    assert finished


def test_a_tracker_without_a_ledger_waits(gate: Gate, server: Server, tmp_path: Path, name: str) -> None:
    said: list[str] = []
    with Tracker(gate.uri, place_of(tmp_path / name), said.append):
        pass
    assert said == []
    assert glimpse(server.store, name) == {}


@pytest.mark.slow
def test_a_killed_server_that_comes_back_gets_the_rest(
    tmp_path: Path, empty_store: Path, ledger: Ledger, study: list[Event], config: StudyConfig, name: str
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    own = Server(folder)
    said: list[str] = []
    try:
        own.start()
        tracker = Tracker(own.uri, place_of(ledger.path.parent), said.append)
        append(ledger, study[:8])
        wait_for(lambda: has_points(own.store, name, "trial 0 baseline"))
        own.kill()
        append(ledger, study[8:])
        wait_for(lambda: len(said) == 1)
        own.start()
        wait_for(lambda: len(said) == 2)
        assert tracker.close(60.0)
        assert_equals_ledger(dump(own.store, name), ledger.path, config)
    finally:
        own.kill()


def test_words_that_a_full_disk_does_not_take_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 (closing it fails too)
    monkeypatch.setattr("sys.stderr", full)
    try:
        tracker_module.to_stderr("MLflow is away")
    finally:
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
