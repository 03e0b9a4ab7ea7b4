"""The report of a suite: the members' own reports, and a page over them that hides nobody who is missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli import USER_ERROR, commands, execute
from study.reporting import publishing
from tests.study.conftest import Event


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Study -> the folder that MLflow is given of it."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(publishing, "log_artifacts", lambda place, paths: found.append((place.name, paths[0].name)))
    return found


def test_the_page_links_the_members_reports_and_says_who_is_missing(
    write_suite: Callable[..., Path],
    events: list[Event],
    stored: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write_suite(a=len(events))
    assert execute(commands, "study", ["report", "many", "--root", str(root)]) == 0
    captured = capsys.readouterr()
    target = root / "many" / "report" / "report.html"
    assert captured.out.splitlines() == [str(target)]
    assert re.search(r"^b: no report, many\.b: has not begun", captured.err)
    text = target.read_text(encoding="utf-8")
    links = re.findall(r'<a href="([^"]+)">', text)
    assert links == ["a/report.html"]
    assert (target.parent / links[0]).exists()
    assert "1 of 3 members" in text
    assert "not confirmed" in text
    assert len(re.findall(r"Missing: it has no report\.", text)) == 2
    assert "low_resource_mean, declared for all members" in text
    assert stored == [("many.a", "a")]


def test_a_suite_is_reported_alone_or_by_member(
    write_suite: Callable[..., Path],
    events: list[Event],
    stored: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = ["--root", str(write_suite(a=len(events)))]
    assert execute(commands, "study", ["report", "many", "many.a", *root]) == USER_ERROR
    assert "many is a suite, which has a report of its own" in capsys.readouterr().err
    assert execute(commands, "study", ["report", "many", "--member", "a", *root]) == 0
    assert capsys.readouterr().out.strip().endswith("many.a/report/report.html")
    assert stored == [("many.a", "report")]
