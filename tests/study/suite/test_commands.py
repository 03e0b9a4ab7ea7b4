"""Commands that are about a study, with a suite's name: of one member, of all, or a line that says which there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from study import launch
from study.cli import USER_ERROR, commands, execute
from study.question import suites
from study.record import roots
from study.record.ledger import Ledger
from study.suite import watching
from study.suite.found import FoundSuite, find
from study.views import following
from tests.study.conftest import Event

Write = Callable[..., Path]


def append(ledger: Path, rows: Iterable[Event]) -> None:
    """Go on with a ledger as a driver does."""
    with Ledger.open(ledger) as mine:
        for row in rows:
            mine.append(row["event"], **{k: v for k, v in row.items() if k != "event"})


@pytest.mark.parametrize(
    "command",
    [
        ["rank", "many", "--by", "target_mean"],
        ["plot", "many", "--x", "step", "--y", "target_mean"],
        ["model", "many", "--to", "x"],
        ["soup", "many"],
        ["retry", "many", "3"],
    ],
    ids=lambda words: words[0],
)
def test_what_is_about_one_study_names_the_members(
    command: list[str], write_suite: Write, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_suite(a=len(events))
    assert execute(commands, "study", [*command, "--root", str(root)]) == USER_ERROR
    assert re.search(r"many is a suite: name one of its members, a, b, c \(got none\)", capsys.readouterr().err)


def test_with_a_member_it_is_about_that_one(
    write_suite: Write, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(write_suite(a=len(events)))]
    assert execute(commands, "study", ["rank", "many", "--member", "a", "--by", "target_mean", *root]) == 0
    assert "trial" in capsys.readouterr().out
    assert execute(commands, "study", ["rank", "many", "--member", "d", "--by", "target_mean", *root]) == USER_ERROR
    assert "the suite many has no such member, known: a, b, c" in capsys.readouterr().err


def test_export_has_a_folder_for_each_member_that_has_begun(
    write_suite: Write, events: list[Event], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(write_suite(a=len(events), b=6))]
    assert execute(commands, "study", ["export", "many", "--to", str(tmp_path / "out"), *root]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert (tmp_path / "out" / "a" / "README.md").exists()
    assert execute(commands, "study", ["export", "many", "--member", "c", "--to", str(tmp_path / "c"), *root]) != 0
    assert "many.c" in capsys.readouterr().err


def test_retry_takes_the_members_that_have_something_to_retry(
    write_suite: Write, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(write_suite(a=len(events), b=6))]
    retried: list[str] = []

    def retry(name: str, *_: Any) -> int:
        retried.append(name)
        return 0

    monkeypatch.setattr(launch, "retry", retry)
    assert execute(commands, "study", ["retry", "many", "--force", *root]) == 0
    assert retried == ["many.a"]
    assert execute(commands, "study", ["retry", "many", *root]) == USER_ERROR
    assert re.search(r"many\.a: .*--force", capsys.readouterr().err)


def test_watching_shows_what_members_write_and_ends_with_them(
    write_suite: Write, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_suite(a=len(events), b=6)
    assert execute(commands, "study", ["watch", "many", "--root", str(root), "--plain"]) == 1
    assert "not running: interrupted; go on with study resume many" in capsys.readouterr().out

    states = iter(["running"])
    condition = FoundSuite.condition
    monkeypatch.setattr(FoundSuite, "condition", property(lambda self: next(states, None) or condition.__get__(self)))
    place, rest = roots.place(root, "many.b"), iter([events[6:]])

    def owner(news: following.News) -> object:
        for rows in rest:
            append(place.ledger, rows)
            return object()
        return None

    monkeypatch.setattr(following.News, "owner", owner)
    assert watching.follow(root, "many", "plain", 0.01) == 1
    shown = capsys.readouterr().out
    assert re.search(r"b: trial \d+ complete", shown)
    assert "suite many: " in shown


def test_watching_goes_on_beside_members_that_are_damaged_or_just_beginning(
    write_suite: Write, events: list[Event], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_suite(a=6, b=6)
    (root / "many.b" / "ledger.jsonl").write_text("nonsense\nmore of it\n")
    begin = {**events[0], "config": suites.expand(find(root, "many").config)["c"].model_dump(mode="json")}
    # Between two looks: c's driver opens its ledger, writes what it is, and a trial; then a's ledger is damaged, and c
    # goes on.
    steps = iter([("c", []), ("c", [begin, *events[1:4]]), ("a", None), ("c", events[4:6])])
    states = iter(["running"])
    condition = FoundSuite.condition
    monkeypatch.setattr(FoundSuite, "condition", property(lambda self: next(states, None) or condition.__get__(self)))

    def owner(news: following.News) -> object:
        for name, rows in steps:
            path = roots.place(root, f"many.{name}").ledger
            if rows is None:
                path.write_bytes(path.read_bytes() + b"nonsense\nmore of it\n")
                return object()
            append(path, rows)
            return object()
        return None

    monkeypatch.setattr(following.News, "owner", owner)
    assert watching.follow(root, "many", "plain", 0.01) == 1
    shown = capsys.readouterr().out
    assert re.search(r"c: trial 0 complete", shown)
    assert len(re.findall(r"a: .*many\.a/ledger\.jsonl: line 8 is no event", shown)) == 2, "once, and in the table"
