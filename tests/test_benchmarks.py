"""What `make bench` calls without arguments: scripts that know each other by the names of their own folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import alignment
from trainables.errors import UserError

SCRIPTS = sorted((Path(__file__).resolve().parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_need_no_folder_above_their_own(script: Path) -> None:
    """``python benchmarks/NAME.py`` has the script's folder on its path, and the repository not."""
    found = ast.parse(script.read_text(encoding="utf-8")).body  # not what is under a condition
    assert not [node for node in found if isinstance(node, ast.ImportFrom) and "benchmarks" in (node.module or "")]


def test_alignment_without_arguments_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(package: str) -> None:
        raise UserError(f"alignment.pairs: the package is not installed, try pip install {package}")

    monkeypatch.setattr("sys.argv", ["alignment.py"])
    monkeypatch.setattr(alignment.pairs, "check", absent)
    alignment.main()
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage == "usage: alignment.py [-h] links | margin ..."
    assert lines == [
        "links is left out: needs a folder of gold links",
        "margin is left out: alignment.pairs: the package is not installed, try pip install home-assistant-frontend",
    ]


def test_alignment_without_arguments_does_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[object, ...]] = []
    monkeypatch.setattr("sys.argv", ["alignment.py"])
    monkeypatch.setattr(alignment.pairs, "check", lambda package: None)
    monkeypatch.setattr(alignment, "margin", lambda *given: done.append(given))
    alignment.main()
    assert done == [("sentence_contrastive", 30, alignment.LANGUAGES)]
