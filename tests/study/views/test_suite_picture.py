"""The picture of a running suite: lines with their member's name, one summary, one table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from study.question.config import StudyConfig
from study.record.record import StudyRecord
from study.views.picture import View
from study.views.progress import shown
from study.views.suite_picture import SuiteView
from tests.study.conftest import Event


def suite_of(config: StudyConfig, **begun: list[Event]) -> SuiteView:
    views = {name: View(config, 4, lambda evaluation: 0.5) for name in ("a", "b")}
    view = SuiteView("many", views, begun=1000.0)
    for name, events in begun.items():
        for event in events:
            view.hear({**event, "member": name})
    return view


def test_lines_name_their_member_and_the_summary_is_of_all(config: StudyConfig, events: list[Event]) -> None:
    view = suite_of(config, a=events[:6])
    finished = {**events[5], "member": "a"}
    assert list(view.lines(finished)) == [
        "a: trial 0 complete at 0.5000",
        "1 of 8 trials · 0 of 2 members done · elapsed 1:31 · about 10:30 left",
    ]
    waiting: Event = {"event": "waiting", "for": "Ray", "time": 1000.0}
    view.hear(waiting)
    assert list(view.lines(waiting)) == ["waiting for Ray"]
    assert list(view.lines({**waiting, "member": "b", "for": "data"})) == ["b: waiting for data"]


def test_what_is_left_counts_trials_side_by_side_over_all_members(config: StudyConfig, events: list[Event]) -> None:
    view = suite_of(config, a=events[:3], b=events[:3])
    assert (view.running, view.most_at_once) == (2, 2)
    # Each has taken 49 s for half of its steps, and three more of 98 s are left of each.
    for name in ("a", "b"):
        view.hear({**events[3], "member": name})
    assert view.remaining(1050.0) == pytest.approx((49 + 3 * 98) * 2 / 2)


def test_the_table_has_a_line_for_each_member_within_its_room(config: StudyConfig, events: list[Event]) -> None:
    view = suite_of(config, a=events)
    view.take_up({"b": StudyRecord.of(events[:3])})
    console = Console(file=io.StringIO(), width=80, height=12, force_terminal=False)
    console.print(view.table(1400.0, 80, 12))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["a"] == ["a", "4", "of", "4", "1", "0.5000", "(trial", "0)"]
    assert rows["b"][:5] == ["b", "0", "of", "4", "0"]
    assert max(map(len, text.splitlines())) <= 80


def test_it_is_shown_as_a_studys_picture_is(
    config: StudyConfig, events: list[Event], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with shown(suite_of(config), tmp_path / "log.txt", "plain") as listen:
        for event in events[:2]:
            listen({**event, "member": "a"})
    assert "] a: trial 0 baseline: " in capfd.readouterr().out
