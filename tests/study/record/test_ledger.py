"""The ledger: durable or not at all, torn lines dropped, one owner, strict JSON."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from study.record import ledger as module
from study.record.ledger import Ledger
from study.record.lines import Reading, Tail, encode, owner_path, read_events, read_study
from study.record.ownership import Owner, running_owner
from trainables.errors import UserError

ASKED: dict[str, Any] = {"phase": "run", "kind": "sampled", "control": None, "point": {}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studies" / "x" / "ledger.jsonl"


class Disk:
    """`os`, with writes that fail: the given calls of `write` and `fsync` raise after `written` bytes."""

    def __init__(self, failing: str, error: int, written: int = 0) -> None:
        self.failing, self.error, self.written, self.armed = failing, error, written, True

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.armed and self.failing == "write":
            if self.written:
                done, self.written = self.written, 0
                return os.write(descriptor, data[:done])
            raise OSError(self.error, os.strerror(self.error))
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        if self.armed and self.failing == "fsync":
            self.armed = False
            raise OSError(self.error, os.strerror(self.error))
        os.fsync(descriptor)


def test_events_come_back_as_they_went_in(path: Path) -> None:
    odd = {"text": "नमस्ते \ud800 \u2028 \n", "numbers": [0.1, -1e300, 10**20], "none": None, "flag": True}
    with Ledger.open(path) as ledger:
        written = ledger.append("note", **odd, where=Path("a/b"))
    events = read_events(path)
    assert [e["event"] for e in events] == ["opened", "note"]
    assert {k: events[1][k] for k in odd} == odd
    assert events[1]["where"] == "a/b"
    assert events[1]["time"] == written["time"] and abs(written["time"] - time.time()) < 60


def test_numbers_that_json_lacks_stay_strict_json(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("note", values=[float("nan"), float("inf"), -float("inf")], text="NaN")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    nan, *infinite = read_events(path)[1]["values"]
    assert nan != nan and infinite == [float("inf"), -float("inf")]
    assert read_events(path)[1]["text"] == "NaN"


@pytest.mark.parametrize("tail", [b'{"event":"note","ti', b'{"event":"note","time":1}', b"\0" * 5000, b"\0\0}\n"])
def test_a_torn_last_line_is_dropped_by_readers_and_cut_by_the_next_writer(path: Path, tail: bytes) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("note", n=1)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert [e.get("n") for e in read_events(path)] == [None, 1]
    assert path.read_bytes() == whole + tail, "a reader must not write"
    with Ledger.open(path) as ledger:
        ledger.append("note", n=2)
    assert path.read_bytes().startswith(whole)
    assert [e.get("n") for e in read_events(path)] == [None, 1, None, 2]


def test_every_possible_cut_of_the_last_line_loses_that_line_alone(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("note", n=1)
        before = path.stat().st_size
        ledger.append("note", n=2, text="x" * 70)
    whole = path.read_bytes()
    for size in range(before, len(whole)):
        path.write_bytes(whole[:size])
        assert read_events(path)[-1]["n"] == 1
        with Ledger.open(path):
            pass
        assert path.read_bytes()[:before] == whole[:before]


def test_damage_in_the_middle_is_an_error_that_names_the_line(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("note", n=1)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + lines[1])
    with pytest.raises(UserError, match="line 2 is no event"):
        read_events(path)


@pytest.mark.parametrize(
    "disk",
    [
        Disk("write", errno.ENOSPC),
        Disk("write", errno.ENOSPC, written=7),
        Disk("fsync", errno.EIO),
    ],
    ids=["full", "full in the middle of a line", "error of the device"],
)
def test_an_append_that_fails_leaves_nothing_behind(path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("note", n=1)
        before = path.read_bytes()
        monkeypatch.setattr(module, "os", disk)
        with pytest.raises(UserError, match=os.strerror(disk.error)):
            ledger.append("note", n=2)
        assert path.read_bytes() == before
        monkeypatch.undo()
        ledger.append("note", n=3)
    assert [e.get("n") for e in read_events(path)] == [None, 1, 3]


def test_an_append_is_not_torn_by_a_handler_that_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C raises: the event is written whole or not at all, and the interruption comes after it."""

    def interrupted(descriptor: int, data: bytes, write: Any = os.write) -> int:
        signal.raise_signal(signal.SIGINT)
        written: int = write(descriptor, data[:5])
        return written

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Ledger.open(path) as ledger:
            ledger.append("note", n=1)
            monkeypatch.setattr(module.os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.append("note", n=2)
            monkeypatch.undo()
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            ledger.append("note", n=3)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert [e.get("n") for e in read_events(path)] == [None, 1, 2, 3]


@pytest.mark.parametrize("last", [b"", b'{"event":"note"'], ids=["whole", "torn"])
def test_what_an_old_driver_writes_last_is_counted(path: Path, last: bytes) -> None:
    """It was taken over, and had looked at the owner's file just before."""
    with Ledger.open(path) as ledger:
        other = encode({"event": "note", "time": 1.0, "epoch": 0, "n": 0})
        with path.open("ab") as file:
            file.write(other + last)
        ledger.append("note", n=1)
        assert ledger.end == path.stat().st_size
    assert [e.get("n") for e in read_events(path)] == [None, 0, 1]


def test_short_writes_are_completed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        monkeypatch.setattr(module.os, "write", lambda d, data, write=os.write: write(d, data[:5]))
        ledger.append("note", n=1)
    assert read_events(path)[-1]["n"] == 1


def test_a_second_driver_is_refused_and_told_who_owns_the_study(path: Path) -> None:
    mine = f"owned by process {os.getpid()} on .*--take-over"
    with Ledger.open(path), pytest.raises(UserError, match=mine):
        Ledger.open(path)
    with Ledger.open(path):
        assert len(read_study(path).sessions) == 2


def test_take_over_fences_the_old_owner_off(path: Path) -> None:
    old = Ledger.open(path)
    old.append("asked", trial=0, **ASKED)
    with Ledger.open(path, take_over=True) as new:
        assert new.epoch == old.epoch + 1
        with pytest.raises(UserError, match="taken over by process"):
            old.append("asked", trial=1, **ASKED)
        old.close()
        with pytest.raises(UserError, match="owned by"):
            Ledger.open(path)
        # What an old owner wrote in the very moment of the take-over is no event of the study.
        with path.open("ab") as file:
            file.write(encode({"event": "asked", "time": 1.0, "epoch": old.epoch, "trial": 1, **ASKED}))
        assert list(read_study(path).trials) == [0]


def test_an_owner_that_was_killed_is_no_owner(path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from study.record.ledger import Ledger\n"
    code += "ledger = Ledger.open(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "open\n"
            owner = running_owner(owner_path(path))
            assert owner is not None and owner.pid == child.pid
            with pytest.raises(UserError, match=f"process {child.pid} on .* and running"):
                Ledger.open(path)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=30)
    assert running_owner(owner_path(path)) is None
    with Ledger.open(path) as ledger:
        assert ledger.epoch == 2


def test_an_owner_on_another_machine_needs_to_be_taken_over(path: Path) -> None:
    with Ledger.open(path) as ledger:
        epoch = ledger.epoch
    elsewhere = Owner(4711, "node-3", "another-boot", time.time() - 7500, epoch)
    owner_path(path).write_text(json.dumps(vars(elsewhere)), encoding="utf-8")
    with pytest.raises(UserError, match="process 4711 on node-3, for 2 h 05 min and perhaps running"):
        Ledger.open(path)
    with Ledger.open(path, take_over=True) as ledger:
        assert ledger.epoch == epoch + 1


def test_epochs_go_on_rising_when_the_owner_file_is_lost(path: Path) -> None:
    with Ledger.open(path):
        pass
    with Ledger.open(path) as ledger:
        ledger.append("asked", trial=0, **ASKED)
    owner_path(path).unlink()
    with Ledger.open(path) as ledger:
        ledger.append("asked", trial=1, **ASKED)
    assert list(read_study(path).trials) == [0, 1]


def test_a_tail_follows_a_growing_ledger(path: Path) -> None:
    with Ledger.open(path) as ledger:
        tail = Tail(path)
        assert [e["event"] for e in tail.poll()] == ["opened"]
        assert list(tail.poll()) == []
        ledger.append("note", n=1)
        with path.open("ab") as file:
            file.write(b'{"event": "no')
        assert [e["n"] for e in tail.poll()] == [1]


def test_what_was_read_is_brought_up_to_date(path: Path) -> None:
    with Ledger.open(path) as ledger:
        reading = Reading(path)
        record = reading.update()
        ledger.append("asked", trial=0, **ASKED)
        assert reading.update() is record and list(record.trials) == [0]
        ledger.append("asked", trial=1, **ASKED)
        assert [e["trial"] for e in reading.news()] == [1]
        assert record == read_study(path)


def test_a_ledger_in_place_of_another_is_read_anew(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("asked", trial=0, **ASKED)
    reading = Reading(path)
    reading.update()
    path.rename(path.with_name("aside"))
    with Ledger.open(path) as ledger:
        for number in (5, 6, 7):
            ledger.append("asked", trial=number, **ASKED)
        assert list(reading.update().trials) == [5, 6, 7]


def test_a_copy_goes_on_by_itself(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("asked", trial=0, **ASKED)
        ledger.append("asked", trial=1, **{**ASKED, "phase": "confirm"})
        record = read_study(path)
        copied, confirmed = record.copied(), record.copied("confirm")
        assert copied == record and list(confirmed.trials) == [1]
        before = read_study(path)
        for event in (
            ledger.append("started", trial=1, attempt=1),
            ledger.append("test_opened", protocol_hash="ab", reason=""),
        ):
            copied.apply(event)
    assert record == before != copied


def test_no_ledger_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such ledger"):
        read_study(tmp_path / "ledger.jsonl")


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written"):
        Ledger.open(tmp_path / "file" / "x" / "ledger.jsonl")


def test_appending_does_not_depend_on_length(path: Path) -> None:
    """The writer neither reads the ledger nor keeps it: events leave its state where it was."""
    with Ledger.open(path) as ledger:
        before = {k: v for k, v in vars(ledger).items() if k != "_end"}
        for n in range(200):
            ledger.append("note", n=n)
        assert {k: v for k, v in vars(ledger).items() if k != "_end"} == before
