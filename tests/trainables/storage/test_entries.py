"""Entries of the cache: a use is noted and held, and what goes is what nobody has used or holds."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trainables.errors import MachineError, UserError
from trainables.storage import entries
from trainables.storage.cache import build_once, found
from trainables.storage.entries import DAY

KEY = "thing-" + "a" * 12
OTHER = "thing-" + "b" * 12


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    return tmp_path


def make(folder: Path, days: float) -> Path:
    folder.mkdir()
    (folder / "file").write_bytes(bytes(10))
    entries.mark(folder).touch()
    age(folder, time.time() - days * DAY)
    return folder


def age(folder: Path, used: float) -> None:
    """As if it had been made and used last then."""
    for path in (folder, entries.mark(folder)):
        os.utime(path, (0, used))


def build(key: str) -> Path:
    return build_once(key, lambda folder: (folder / "file").write_bytes(bytes(10)) and None, "a thing")


def test_every_use_is_noted(cache: Path) -> None:
    for use in (found, build):
        folder = make(cache / f"{use.__name__}-{'a' * 12}", 40)
        use(folder.name)
        assert entries.mark(folder).stat().st_mtime == pytest.approx(time.time(), abs=60)
    assert found("nothing-" + "a" * 12) is None


def test_a_build_removes_what_is_unused_and_says_so(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    old, recent = make(cache / KEY, 31), make(cache / OTHER, 29)
    new = build("new-" + "a" * 12)
    assert not old.exists() and recent.is_dir() and new.is_dir()
    assert capfd.readouterr().err.splitlines()[-1] == "cache: removed 1 entry unused for 30 days (0 MiB)"
    assert not list(cache.glob(".*removed*"))


@pytest.mark.parametrize(("text", "is_removed"), [("0", False), ("2", True), ("45.5", False)])
def test_the_environment_says_after_how_many_days(
    cache: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_removed: bool
) -> None:
    monkeypatch.setenv("STUDY_CACHE_DAYS", text)
    old = make(cache / KEY, 40)
    build("new-" + "a" * 12)
    assert old.exists() is not is_removed


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_days_that_are_none_are_refused_before_anything_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("STUDY_CACHE_DAYS", text)
    with pytest.raises(UserError, match="STUDY_CACHE_DAYS: must be a number of days"):
        build(KEY)
    assert not (cache / KEY).exists()


def hold(folder: str, ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    assert entries.use(Path(folder))
    age(Path(folder), 0)  # its use lies long ago, as that of a trial that has run for long
    ready.set()
    done.wait(60)


def test_what_another_process_holds_stays_until_it_is_gone(cache: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    folder = make(cache / KEY, 40)
    holder = spawn.Process(target=hold, args=(str(folder), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        assert entries.remove(cache, 1) == (0, 0) and entries.unused(cache, 1) == []
    finally:
        done.set()
        holder.join(60)
    assert entries.remove(cache, 1) == (1, 10) and not folder.exists()


def test_an_entry_that_was_removed_is_built_again(cache: Path) -> None:
    """By hand, under a process that had used it."""
    first = build(KEY)
    first.rename(cache / "aside")
    assert found(KEY) is None
    assert build(KEY) == first and (first / "file").exists()


def test_few_are_held(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MOST_HELD", 2)
    for letter in "abcd":
        build(f"thing-{letter * 12}")
    for letter in "abcd":
        age(cache / f"thing-{letter * 12}", 0)
    assert {entry.folder.name[6] for entry in entries.unused(cache, 1)} == {"a", "b"}


def test_what_a_killed_remover_left_goes_with_the_next(cache: Path) -> None:
    for name in ("removed", "aside-1"):
        (cache / f".{KEY}.{name}-0123abcd").mkdir()
    entries.remove(cache, 30)
    assert [path.name for path in cache.iterdir()] == [f".{KEY}.aside-1-0123abcd"]


def test_an_entry_of_which_no_use_was_noted_counts_from_the_first_look(cache: Path) -> None:
    """It was built before uses were noted, forty days ago, and may have been used yesterday."""
    folder = make(cache / KEY, 40)
    entries.mark(folder).unlink()
    assert entries.unused(cache, 30) == [] and entries.remove(cache, 30) == (0, 0) and folder.is_dir()
    age(folder, 0)
    assert entries.remove(cache, 30)[0] == 1


def test_a_use_locks_a_file_that_every_user_may_note_his_own_in(cache: Path) -> None:
    """NFS locks no folders, and no file that is not open for writing."""
    before = os.umask(0o077)
    try:
        folder = build(KEY)
    finally:
        os.umask(before)
    assert entries.mark(folder).stat().st_mode & 0o777 == 0o666
    with entries.mark(folder).open("r+") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_entry_that_another_process_has_alone_is_waited_for_within_bounds(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "REMOVING_SECONDS", 0.1)
    folder = make(cache / KEY, 0)
    with entries.mark(folder).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match=r"another process has held the lock .*\.used\)"):
            entries.use(folder)
    assert entries.use(folder)


def test_threads_that_use_an_entry_at_once_hold_it_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, opened = make(cache / KEY, 0), []

    def slowly(descriptor: int, how: int) -> None:
        opened.append(descriptor)
        time.sleep(0.05)

    monkeypatch.setattr(fcntl, "flock", slowly)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(entries.use, [folder] * 4))
    assert len(opened) == 1


def test_what_was_built_is_built_however_odd_the_disk(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "use", lambda folder: False)
    built: list[Path] = []

    def once(folder: Path) -> None:
        built.append(folder)
        assert len(built) == 1

    assert build_once(KEY, once, "a thing").is_dir()
    assert len(built) == 1
