"""Entries of the cache: a use is noted and held, and what goes is what nobody has used or holds."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from trainables.errors import UserError
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
    os.utime(folder, (0, time.time() - days * DAY))
    return folder


def build(key: str) -> Path:
    return build_once(key, lambda folder: (folder / "file").write_bytes(bytes(10)) and None, "a thing")


def test_every_use_is_noted(cache: Path) -> None:
    for use in (found, build):
        folder = make(cache / f"{use.__name__}-{'a' * 12}", 40)
        use(folder.name)
        assert folder.stat().st_mtime == pytest.approx(time.time(), abs=60)
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
    os.utime(folder, (0, 0))  # its use lies long ago, as that of a trial that has run for long
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
        os.utime(cache / f"thing-{letter * 12}", (0, 0))
    assert {entry.folder.name[6] for entry in entries.unused(cache, 1)} == {"a", "b"}


def test_what_a_killed_remover_left_goes_with_the_next(cache: Path) -> None:
    make(cache / f".{KEY}.removed-0123abcd", 0)
    make(cache / f".{KEY}.aside-1-0123abcd", 0)
    entries.remove(cache, 30)
    assert [path.name for path in cache.iterdir()] == [f".{KEY}.aside-1-0123abcd"]
