"""Whoever reads finds the old one or the whole new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables.storage import files


def write(path: Path, text: str) -> None:
    with files.replaced(path) as aside:
        aside.write_text(text, encoding="utf-8")


def test_a_file_takes_the_place_of_the_old_one_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write(path, "one")
    write(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for names in (("a", "b"), ("c",)):
        with files.replaced(tmp_path / "made") as aside:
            aside.mkdir()
            for name in names:
                (aside / name).touch()
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["c"]
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_one_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write(path, "old")

    def fail() -> None:
        with files.replaced(path) as aside:
            aside.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    flush, rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        done.append(("flushed", os.fstat(descriptor).st_ino))

    def renaming(self: Path, target: Path) -> Path:
        done.append(("renamed", self.stat().st_ino))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renaming)
    path = tmp_path / "page.html"
    write(path, "text")
    file = path.stat().st_ino
    assert done == [("flushed", file), ("renamed", file), ("flushed", tmp_path.stat().st_ino)]


def test_what_killed_writers_left_is_swept_where_a_lock_is_held(tmp_path: Path) -> None:
    for name in (".page.aside-4711-ab", ".page2.aside-4711-ab"):
        (tmp_path / name).touch()
    (tmp_path / ".page.aside-12-cd").mkdir()
    with files.replaced(tmp_path / "page", sweep=True) as aside:
        aside.touch()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".page2.aside-4711-ab", "page"]


def test_a_wreck_is_of_another_process(tmp_path: Path) -> None:
    with files.replaced(tmp_path / "page") as aside:
        assert not files.is_wreck(aside)
        aside.touch()
    assert not files.is_wreck(tmp_path / "page")
    assert files.is_wreck(tmp_path / ".page.aside-0-ab")
