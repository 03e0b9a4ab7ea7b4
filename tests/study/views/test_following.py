"""A study that another process writes, watched: what is shown, how it ends, and that nothing is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.cli import commands, execute
from study.record.ledger import Ledger
from study.record.lines import LEDGER, read_events
from study.views import following
from tests.conftest import REPOSITORY
from tests.study.conftest import Event
from tests.terminal import watch as on_a_terminal
from tests.waiting import wait_for

WRITER = """
import json, sys
from pathlib import Path
from study.record.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    for line in sys.stdin:
        event = json.loads(line)
        ledger.append(event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")})
        print(flush=True)
"""
"""A driver that writes what it is told, until there is no more."""


class Driver:
    """A process that owns a study under `root`."""

    def __init__(self, root: Path) -> None:
        self.ledger = root / "small" / LEDGER
        command = [sys.executable, "-c", WRITER, str(self.ledger)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def write(self, events: list[Event]) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        for event in events:
            self.process.stdin.write(json.dumps(event) + "\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline()

    def end(self) -> None:
        self.process.communicate(timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def driver(root: Path, events: list[Event]) -> Iterator[Driver]:
    """It has written the first trial's first report."""
    driver = Driver(root)
    try:
        driver.write(events[:4])
        yield driver
    finally:
        driver.kill()


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Does something once the study is being watched."""
    threads: list[threading.Thread] = []
    begun = threading.Event()
    show = following._show
    monkeypatch.setattr(following, "_show", lambda *given: (begun.set(), show(*given)))

    def do(call: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=lambda: begun.wait(60) and call()))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join(60)


def watched(root: Path, *arguments: str) -> int:
    return study("watch", "small", "--root", root, "--interval", "0.1", *arguments)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_study_is_followed_to_its_end(
    root: Path, driver: Driver, events: list[Event], meanwhile: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    before = files(root)
    meanwhile(lambda: (driver.write(events[4:]), driver.end()))
    assert watched(root, "--plain") == 0
    lines = [line.partition("] ")[2] or line for line in capfd.readouterr().out.splitlines()]
    assert lines[0].startswith(f"study small, run by process {driver.process.pid} on ")
    assert lines[0].endswith("estimating what is left") or "left" in lines[0]
    assert lines[1:3] == ["trial 0 step 20: selection_mean 0.7750", "trial 0 complete at 0.7750"]
    assert "trial 2 complete at 0.8250" in lines and lines[-1] == "not running: the study is finished"
    assert files(root) == before


def test_events_as_json(root: Path, driver: Driver, events: list[Event], meanwhile: Any, capfd: Any) -> None:
    meanwhile(lambda: (driver.write(events[4:]), driver.end()))
    assert watched(root, "--json-events") == 0
    first, *shown, last = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (first["event"], last["event"]) == ("note", "note")
    assert shown == read_events(root / "small" / LEDGER)[5:]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (Driver.kill, "not running: its driver, process {pid} on {host}, has died; go on with study resume small"),
        (Driver.end, "not running: interrupted; go on with study resume small"),
    ],
)
def test_a_driver_that_ends_too_early(
    root: Path, driver: Driver, meanwhile: Any, capfd: Any, end: Callable[[Driver], None], words: str
) -> None:
    meanwhile(lambda: end(driver))
    assert watched(root) == 1
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == words.format(pid=driver.process.pid, host=os.uname().nodename)


def test_the_next_driver_is_followed_too(
    root: Path, driver: Driver, events: list[Event], meanwhile: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """One takes over at once from one that has died."""
    successors: list[Driver] = []
    find = following.find

    def found(*given: Any) -> Any:
        if not successors and driver.process.poll() is not None:
            successors.append(Driver(root))
            successors[0].write(events[4:6])
            threading.Timer(1.0, lambda: (successors[0].write(events[6:]), successors[0].end())).start()
        return find(*given)

    monkeypatch.setattr(following, "find", found)
    meanwhile(driver.kill)
    assert watched(root, "--plain") == 0
    out = capfd.readouterr().out
    assert f"run by process {successors[0].process.pid} on" in out and "trial 2 complete" in out


def test_one_that_is_not_running_is_shown_once(write_study: Any, events: list[Event], capsys: Any) -> None:
    root = write_study(events)
    assert watched(root) == 0
    out = capsys.readouterr().out
    assert "Best trial 2 against" in out and out.endswith("\nnot running: the study is finished\n")
    assert watched(root, "--json-events") == 0
    assert json.loads(capsys.readouterr().out)["words"] == "not running: the study is finished"


def test_one_that_was_interrupted(write_study: Any, events: list[Event], capsys: Any) -> None:
    assert watched(write_study(events[:8])) == 1
    assert capsys.readouterr().out.endswith("not running: interrupted; go on with study resume small\n")


def test_of_a_confirmation_its_own_trials_are_shown(
    root: Path, driver: Driver, events: list[Event], meanwhile: Any, capfd: Any
) -> None:
    driver.write(events[4:])
    asked = {"event": "asked", "trial": 4, "phase": "confirm", "kind": "winner", "point": {}}
    driver.write([{"event": "test_opened", "protocol_hash": "", "reason": ""}, asked])
    started = {"event": "started", "trial": 4, "attempt": 1}
    meanwhile(lambda: (driver.write([started]), driver.end()))
    assert watched(root, "--plain") == 1
    lines = capfd.readouterr().out.splitlines()
    assert "0 of 1 trials" in lines[0] and lines[1].endswith("trial 4 started")
    assert lines[-1] == "not running: interrupted; go on with study confirm small"


def test_watching_takes_no_lock(root: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    news = following.News(following.find(root, "small"))
    monkeypatch.setattr("study.record.ownership._lock", lambda *_, **__: pytest.fail("a lock was asked for"))
    assert list(news) == [] and news.owner() is not None


def test_ctrl_c_ends_the_watching_alone(root: Path, driver: Driver) -> None:
    command = [sys.executable, "-m", "study", "watch", "small", "--root", str(root), "--plain"]
    watching = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert watching.stdout is not None
        assert "run by process" in watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        output, _ = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert (watching.returncode, output) == (0, "the study goes on; watch it again with study watch small\n")
    assert driver.process.poll() is None


def test_the_live_table_on_a_terminal(root: Path, driver: Driver, events: list[Event]) -> None:
    def go_on() -> None:
        driver.write(events[4:])
        driver.end()

    timer = threading.Timer(5.0, go_on)
    timer.start()
    command = [sys.executable, "-m", "study", "watch", "small", "--root", str(root), "--interval", "0.2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    status, frames, left = on_a_terminal(command, root.parent, environment, 100, 30)
    timer.join()
    assert status == 0
    assert any(line.split()[:3] == ["0", "baseline", "running"] for frame in frames for line in frame)
    assert any(line.startswith("4 of 4 trials (1 failed)") for line in left)
    assert left[-1] == "not running: the study is finished" or left[-2] == "not running: the study is finished"


def test_a_driver_can_begin_while_one_watches(root: Path, write_study: Any, events: list[Event]) -> None:
    write_study(events[:8])
    with Ledger.open(root / "small" / LEDGER):
        news = following.News(following.find(root, "small"))
        assert news.owner() is not None
    assert news.owner() is None
    with Ledger.open(root / "small" / LEDGER):
        wait_for(lambda: news.owner() is not None, 10, "the next driver is seen")
