"""`study cache`: what it shows, asks and removes."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.study.test_removal import answer, study
from trainables.storage.cache import build_once
from trainables.storage.entries import DAY, mark


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two entries that were last used forty days ago, one of two, and what is no entry."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    for name, days in (("materials-" + "a" * 24, 40), ("copies-" + "b" * 24, 40), ("materials-" + "c" * 24, 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(1 << 20))
        mark(tmp_path / name).touch()
        for path in (tmp_path / name, mark(tmp_path / name)):
            os.utime(path, (0, time.time() - days * DAY - 60))
    (tmp_path / "roots" / "bucket").mkdir(parents=True)
    (tmp_path / "materials-notes").mkdir()
    return tmp_path


def test_it_shows_kinds_with_sizes_and_last_uses(cache: Path, capsys: Any) -> None:
    assert study("cache") == 0
    root, _, *rows = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert root == [str(cache)]
    assert [[cell.strip() for cell in row if cell] for row in rows] == [
        ["materials", "2", "2 MiB", "2 days ago", "40 days ago"],
        ["copies", "1", "1 MiB", "40 days ago", "40 days ago"],
        ["all", "3", "3 MiB", "2 days ago", "40 days ago"],
    ]


@pytest.mark.parametrize(("text", "is_removed"), [("y\n", True), ("\n", False)])
def test_it_asks_and_removes_what_is_unused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_removed: bool, capsys: Any
) -> None:
    answer(monkeypatch, text)
    assert study("cache", "--unused", "30") == (0 if is_removed else 1)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("removed 2 entries, 2 MiB" if is_removed else "nothing was removed")
    )
    left = {path.name for path in cache.iterdir() if path.suffix != ".used"}
    assert {"roots", "materials-notes", "materials-" + "c" * 24} <= left and (len(left) == 3) is is_removed
    assert (cache / "roots" / "bucket").is_dir()


def test_what_is_used_stays(cache: Path, capsys: Any) -> None:
    build_once("copies-" + "b" * 24, lambda folder: None, "copies")
    assert study("cache", "--unused", "0", "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "removed 2 entries, 2 MiB"
    assert (cache / ("copies-" + "b" * 24)).is_dir()
    assert study("cache", "--unused", "0", "--yes") == 0
    assert capsys.readouterr().out == f"{cache}: nothing is unused for 0 days\n"


def test_without_a_terminal_it_needs_a_yes(cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert study("cache", "--unused", "30") == 2
    assert capsys.readouterr().err.startswith("cache: there is no terminal to ask at")
