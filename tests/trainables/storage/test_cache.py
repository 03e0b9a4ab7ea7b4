"""The cache: one builder at a time, complete folders only, nothing left behind by a failure."""

from __future__ import annotations

import errno
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors import SafetensorError

from trainables.errors import MachineError, UserError
from trainables.storage.cache import build_once, cache_root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def slow_build(folder: Path) -> None:
    """Leaves a trace outside the cache too, so that builds can be counted."""
    with (folder.parent.parent / "builds").open("a") as file:
        file.write("x")
    (folder / "deep").mkdir()
    (folder / "deep" / "one").write_text("1")
    time.sleep(0.5)
    (folder / "two").write_text("2")


def ask(answers: multiprocessing.Queue[tuple[str, bool]]) -> None:
    folder = build_once("thing-1", slow_build, "a thing")
    answers.put((str(folder), (folder / "two").exists()))


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("STUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "robust-transfer-study"
    assert cache_root().is_dir()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "robust-transfer-study"


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="STUDY_CACHE"):
        cache_root()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_cache_without_room_is_the_users_to_mend(cache: Path, number: int) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(MachineError, match=r"room for a thing.*" + os.strerror(number)):
        build_once("thing-1", build, "a thing")
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize(
    "error",
    [
        OSError("1048576 requested and 8176 written"),  # numpy's
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_cache_is_full_whoever_wrote(error: Exception) -> None:
    def build(folder: Path) -> None:
        raise error

    with pytest.raises(MachineError, match=r"room for a thing.*No space left on device"):
        build_once("thing-1", build, "a thing")


def test_a_lock_that_cannot_be_made_is_the_users_to_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", refuse)  # a folder closed to root exists on read-only disks alone
    with pytest.raises(UserError, match="be writable"):
        build_once("thing-1", slow_build, "a thing")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize(("mask", "words"), [(0o022, "built"), (0o077, "another user has built")])
def test_users_share_a_cache_as_far_as_their_umask_goes(mask: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's are closed to others
        Path(folder).chmod(0o1777)
        monkeypatch.setenv("STUDY_CACHE", folder)
        assert ask_as(1001, mask, fail=True) == "RuntimeError: broke"
        assert ask_as(1002, mask) == "built"
        assert words in ask_as(1001, mask)


def ask_as(user: int, mask: int, fail: bool = False) -> str:
    """What a process of another user gets."""
    fork = multiprocessing.get_context("fork")
    answers: Any = fork.SimpleQueue()

    def build(folder: Path) -> None:
        (folder / "thing").write_text("thing")
        if fail:
            raise RuntimeError("broke")

    def other() -> None:
        os.umask(mask)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        try:
            build_once("thing-1", build, "a thing")
            answers.put("built")
        except Exception as error:
            answers.put(f"{type(error).__name__}: {error}")

    process = fork.Process(target=other)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    return str(answers.get())


def test_what_a_builder_cannot_read_is_not_the_caches_fault(cache: Path, tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "train.tsv"))

    with pytest.raises(PermissionError):
        build_once("thing-1", build, "a thing")


def test_concurrent_processes_build_once_and_all_see_the_whole(cache: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[tuple[str, bool]] = spawn.Queue()
    processes = [spawn.Process(target=ask, args=(answers,)) for _ in range(4)]
    for process in processes:
        process.start()
    got = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert got == [(str(cache / "thing-1"), True)] * 4
    assert (cache.parent / "builds").read_text() == "x"


def test_a_built_folder_is_on_the_disk_before_it_has_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses its power keeps what was flushed; a folder that is there is never looked at again."""
    flushed: set[tuple[int, int]] = set()
    before: set[tuple[int, int]] = set()
    flush, rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        found = os.fstat(descriptor)
        flushed.add((found.st_ino, found.st_size))

    def renamed(self: Path, target: Path) -> Path:
        before.update(flushed)
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = build_once("thing-1", slow_build, "a thing")
    whole = [path.stat() for path in (folder, *folder.rglob("*"))]
    assert len(whole) == 4
    assert {(found.st_ino, found.st_size) for found in whole} <= before


def test_progress_is_one_line_with_seconds(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build_once("thing-1", slow_build, "a thing")
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "cache: building a thing …"
    assert lines[1].startswith("cache: built a thing in 0.")
    assert lines[1].endswith(f" s ({cache / 'thing-1'})")
    build_once("thing-1", slow_build, "a thing")
    assert capfd.readouterr().err == ""


def test_a_failed_build_leaves_nothing_and_may_be_tried_again(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        build_once("thing-2", fail, "a thing")
    assert [p.name for p in cache.iterdir() if p.is_dir()] == []
    assert (build_once("thing-2", lambda folder: None, "a thing")).is_dir()


def test_the_wreck_of_a_killed_builder_is_removed_and_others_are_not(cache: Path) -> None:
    for name in (".thing-3.aside-dead", ".thing-30.aside-alive"):
        (cache / name).mkdir(parents=True)
        (cache / name / "half").write_text("half")
    build_once("thing-3", lambda folder: None, "a thing")
    assert sorted(p.name for p in cache.iterdir() if p.is_dir()) == [".thing-30.aside-alive", "thing-3"]


def test_waiting_is_announced_and_has_a_limit(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=hold_lock, args=(str(cache_root() / ".thing-4.lock"), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UserError, match="another process has held the lock"):
            build_once("thing-4", slow_build, "a thing", wait_limit=0.2)
        assert "waiting for another process that builds a thing" in capfd.readouterr().err
    finally:
        done.set()
        holder.join(60)


def hold_lock(path: str, ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    from filelock import FileLock

    with FileLock(path):
        ready.set()
        done.wait(60)
