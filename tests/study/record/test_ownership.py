"""Who owns a study: where there are no locks, after a process number was given anew, after the clock was set."""

from __future__ import annotations

import errno
import fcntl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.record import ownership
from study.record.ledger import Ledger
from study.record.lines import owner_path, read_events
from study.record.ownership import claim, lives, parse, running_owner, this_process
from study.record.record import StudyRecord
from study.views import picture
from trainables.errors import UserError


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_nobody_owns_a_study_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner has written that it gives up, and holds the lock until that is on the disk."""
    monkeypatch.setattr(ownership, "LOOKING_SECONDS", 0.0)
    monkeypatch.setattr(ownership, "RELEASING_SECONDS", 0.1)
    path = tmp_path / "ledger.owner"
    first = claim(path)
    ownership._write(first._descriptor, replace(first.owner, released=True))
    with pytest.raises(UserError, match=r"owned by process .* and running"):
        claim(path)
    monkeypatch.setattr(ownership, "RELEASING_SECONDS", 60.0)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(claim, path)
        time.sleep(0.1)
        assert not waiting.done()
        first.release()
        second = waiting.result(20)
    assert second.owner.epoch == 2
    with pytest.raises(UserError, match=r"owned by process .* and running"):
        claim(path)
    second.release()


def test_an_owner_file_that_cannot_be_looked_at_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger.open(path)

    def stale(self: Path) -> Any:
        raise OSError(errno.ESTALE, "Stale file handle", str(self))

    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stale)
        with pytest.raises(UserError, match="cannot be read, Stale file handle"):
            ledger.append("stopped", cause="")
    assert path.read_bytes() == before
    monkeypatch.setattr(ownership, "_write", lambda *_: stale(path))
    ledger.close()
    monkeypatch.undo()
    Ledger.open(path).close()


@pytest.mark.usefixtures("lockless")
def test_a_root_without_locks_is_refused_in_a_line_and_nothing_begins(tmp_path: Path) -> None:
    path = tmp_path / "studies" / "x" / "ledger.jsonl"
    with pytest.raises(UserError, match=r"--root: must be on a file system with locks .*Function not implemented"):
        Ledger.open(path)
    assert list(path.parent.iterdir()) == []


def test_whether_a_copied_study_is_owned_is_told_by_its_process_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studies" / "x" / "ledger.jsonl"
    with Ledger.open(path):
        monkeypatch.setattr(ownership, "_lock", _lockless)
        assert running_owner(owner_path(path)) is not None
    assert running_owner(owner_path(path)) is None


def _lockless(descriptor: int, patience: float = 0.0) -> bool:
    raise ownership.LocklessError("none")


def test_a_later_process_of_the_same_number_is_not_the_owner() -> None:
    owner = this_process(1)
    assert owner.born is not None
    assert lives(owner) is not None
    assert lives(replace(owner, born=owner.born - 100.0)) is None
    assert lives(replace(owner, born=None)) is not None
    assert lives(replace(owner, born=None, since=owner.since - 10**9)) is None


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_an_owner_stays_the_owner_when_the_clock_is_set(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = this_process(1)
    create, boot = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create(self) + shift)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + shift)
    assert lives(owner) is not None


def test_owners_of_other_versions_are_read() -> None:
    text = '{"pid": 1, "host": "a", "boot": "b", "since": 1.0, "epoch": 3, "released": false'
    assert parse(text + "}").epoch == 3
    assert parse(text + ', "colour": "blue"}').born is None
    with pytest.raises(TypeError):
        parse('{"pid": 1}')


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("jump", [-3600, 24 * 3600])
def test_a_clock_that_is_set_spends_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, is_old: bool
) -> None:
    """A ledger of an earlier version has its clock alone, and what that is set forth counts."""
    path, now = tmp_path / "studies" / "x" / "ledger.jsonl", time.time()
    clock: Any = iter([now, now, now + 10, now + 10, now + jump, now + jump])
    monkeypatch.setattr("study.record.ledger.time.time", lambda: next(clock))
    seconds: Any = iter([0.0, 0.0, 0.0, 10.0, 10.0])
    monkeypatch.setattr("study.record.ledger.time.monotonic", lambda: next(seconds, 10.0))
    with Ledger.open(path) as ledger:
        ledger.append("asked", trial=0, phase="run", kind="sampled", control=None, point={})
        ledger.append("started", trial=0, attempt=1)
        ledger.append("finished", trial=0, attempt=1, outcome="COMPLETE", error=None)
    events = [{k: v for k, v in e.items() if not (is_old and k == "elapsed")} for e in read_events(path)]
    record = StudyRecord.of(events)
    assert record.active_seconds == pytest.approx(10.0 if jump < 0 or not is_old else jump)
    if jump < 0:
        assert picture.seconds(record.trials[0], now) == 0.0
