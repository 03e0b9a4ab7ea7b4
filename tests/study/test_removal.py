"""`study rm`: what it says, asks and refuses, and what is left wherever it is interrupted."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.cli import commands, execute
from study.record import removal, roots
from study.record.ledger import Ledger
from study.record.lines import LEDGER
from tests.study.conftest import Event, place_of
from trainables.errors import UserError


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


@pytest.fixture
def root(write_study: Callable[..., Path], events: list[Event]) -> Path:
    root = write_study(events)
    write_study(events, "other")
    for name, size in (("checkpoints/2/20/weights", 3 << 20), ("report/report.html", 5000), ("notes.txt", 10)):
        path = root / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    return root


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A user at a terminal."""
    terminal = io.StringIO(text)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "is_removed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_it_says_what_there_is_and_asks(
    root: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_removed: bool, capsys: Any
) -> None:
    answer(monkeypatch, text)
    before = files(root)
    assert study("rm", "small", "--root", root) == (0 if is_removed else 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{root / 'small'}: 3 MiB"
    assert [line.split()[:1] for line in lines[1:5]] == [["checkpoints"], ["ledger"], ["report"], ["other"]]
    assert lines[1].split() == ["checkpoints", "3", "MiB"]
    assert lines[-1].endswith("removed the study small" if is_removed else "nothing was removed")
    assert files(root) == ({name for name in before if name.startswith("other/")} if is_removed else before)


def test_without_a_terminal_it_needs_a_yes(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = files(root)
    assert study("rm", "small", "--root", root) == 2
    assert capsys.readouterr().err == "rm: there is no terminal to ask at; --yes removes it without a question\n"
    assert files(root) == before
    assert study("rm", "small", "--root", root, "--yes") == 0
    assert study("ls", "--root", root) == 0
    assert "small" not in capsys.readouterr().out.partition("removed the study small")[2]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smal", "smal: no such study under {root}, did you mean 'small'?"),
        ("mlflow-artifacts", "mlflow-artifacts: no such study under"),
        ("../studies/small", "../studies/small: no such study"),
        (".", ".: no such study under"),
    ],
)
def test_what_is_no_study_is_not_removed(root: Path, name: str, words: str, capsys: Any) -> None:
    (root / "mlflow-artifacts").mkdir()
    before = files(root)
    assert study("rm", name, "--root", root, "--yes") == 2
    assert capsys.readouterr().err.startswith(words.format(root=root))
    assert files(root) == before


@pytest.mark.parametrize("option", [[], ["--checkpoints-only"]])
def test_a_running_study_is_not_removed(root: Path, option: list[str], capsys: Any) -> None:
    with Ledger.open(root / "small" / LEDGER) as ledger:
        before = files(root)
        assert study("rm", "small", "--root", root, "--yes", *option) == 2
        assert "small is being run by another process; stop it first" in capsys.readouterr().err
        with pytest.raises(UserError, match="owned by process"):  # it began after the question was asked
            removal.remove(place_of(root / "small"), first=lambda: pytest.fail("something was removed"))
        ledger.append("note")
    assert files(root) == before


def test_checkpoints_alone(root: Path, write_study: Callable[..., Path], events: list[Event], capsys: Any) -> None:
    before = files(root)
    assert study("rm", "small", "--root", root, "--checkpoints-only", "--yes") == 0
    out = capsys.readouterr().out
    assert "no trial goes on from where it was, neither resumed nor retried, and no trained model is left" in out
    assert files(root) == {name for name in before if "/checkpoints/" not in name}
    assert study("show", "small", "--root", root) == 0
    assert "Best trial 2" in capsys.readouterr().out
    with Ledger.open(root / "small" / LEDGER):
        pass


def test_a_damaged_study_can_be_removed(root: Path, capsys: Any) -> None:
    (root / "small" / LEDGER).write_text("{}\n{}\n")
    assert study("show", "small", "--root", root) == 2
    assert study("rm", "small", "--root", root, "--yes") == 0
    assert not (root / "small").exists()


def test_an_interrupted_removal_leaves_no_study_and_is_completed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(path: Path) -> None:
        (path / "notes.txt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        assert study("rm", "small", "--root", root, "--yes") == 130
    assert capsys.readouterr().err.startswith("interrupted; study rm small completes the removal\n")
    assert roots.names(root) == ["other"] and removal.is_pending(place_of(root / "small"))
    assert study("show", "small", "--root", root) == 2
    assert study("rm", "small", "--root", root, "--yes") == 0
    assert "checkpoints  3 MiB" in capsys.readouterr().out
    assert files(root) == {name for name in files(root) if name.startswith("other/")}
    assert study("rm", "small", "--root", root, "--yes") == 2, "there is nothing any more"
