"""Machines without /proc, /dev/shm, /sys and calls that only Linux has: macOS, above all."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from study.record import ownership
from trainables import machine
from trainables.storage import scratch
from trainables.workers import worker

REPOSITORY = Path(__file__).resolve().parent.parent

LINUX = re.compile(r"/proc/|/sys/|/dev/shm|sched_[gs]etaffinity|\bprctl\b|\bepoll\b|inotify|O_TMPFILE|posix_fadvise")

KNOWN = {
    "study/record/ownership.py",
    "trainables/machine.py",
    "trainables/storage/scratch.py",
    "trainables/workers/worker.py",
}
"""Files that name what Linux alone has, each with a test below of what they do without."""


def test_nothing_else_assumes_linux() -> None:
    paths = [p for folder in ("study", "trainables", "search_spaces") for p in (REPOSITORY / folder).rglob("*.py")]
    found = {str(p.relative_to(REPOSITORY)) for p in paths if LINUX.search(p.read_text(encoding="utf-8"))}
    assert found == KNOWN


@pytest.fixture
def without_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of ours finds /proc, /sys or /dev/shm, or the calls that only Linux has."""

    def hidden(path: Path) -> bool:
        return str(path).startswith(("/proc", "/sys", "/dev/shm"))

    def hiding(method: Any) -> Any:
        def look(self: Path, *arguments: Any, **keywords: Any) -> Any:
            if hidden(self):
                raise FileNotFoundError(2, "hidden", str(self))
            return method(self, *arguments, **keywords)

        return look

    for name in ("read_text", "open", "stat", "readlink", "iterdir"):
        monkeypatch.setattr(Path, name, hiding(getattr(Path, name)))
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not hidden(Path(path)) and access(path, mode))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)


@pytest.mark.usefixtures("without_linux")
def test_cpus_are_the_machines_where_nothing_limits_them() -> None:
    assert machine.cpus() == os.cpu_count()
    assert machine.words() is None


@pytest.mark.usefixtures("without_linux")
def test_a_study_is_owned_by_one_where_the_kernel_has_no_identity(tmp_path: Path) -> None:
    path = tmp_path / "owner.json"
    claim = ownership.claim(path)
    owner = ownership.running_owner(path)
    assert owner is not None
    assert owner.pid == os.getpid()
    with pytest.raises(ownership.UserError, match="and running"):
        ownership.claim(path)
    claim.release()
    assert ownership.running_owner(path) is None


@pytest.mark.usefixtures("without_linux")
def test_sockets_find_a_short_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(long))
    assert str(scratch.socket_folder()) == "/tmp"


@pytest.mark.usefixtures("without_linux")
def test_a_worker_names_no_file_of_its_standard_error() -> None:
    assert worker._stderr() == ""


@pytest.fixture(params=[("darwin", 20), ("linux", 10)])
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    platform, shift = request.param
    monkeypatch.setattr(sys, "platform", platform)
    return int(shift)


def test_peak_memory_is_in_mb_of_either_system(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        ru_maxrss = 300 << unit

    monkeypatch.setattr(worker.resource, "getrusage", lambda who: Usage)
    assert worker._peak_mb() == 300
