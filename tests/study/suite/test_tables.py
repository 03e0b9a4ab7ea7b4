"""A suite as it is found on disk, in tables and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from study.cli import USER_ERROR, commands, execute
from study.suite import document, tables
from study.suite.found import find, study_of
from tests.study.conftest import Event
from trainables.errors import UserError

Write = Callable[..., Path]


def test_each_member_is_as_far_as_its_ledger_says(write_suite: Write, events: list[Event]) -> None:
    suite = find(write_suite(a=len(events), b=6), "many")
    assert {name: member.state for name, member in suite.members.items()} == {
        "a": "finished", "b": "unfinished", "c": "not begun",
    }  # fmt: skip
    assert suite.condition == "unfinished"
    assert suite.members["c"].config is not None
    assert suite.members["c"].config.search.trials == 3
    text = tables.result(suite)
    assert "unfinished, 3 members: 1 finished, 1 unfinished, 1 not begun" in text
    assert re.search(r"a +intents +en +pivot_validation +finished +4 of 4 +1 +trial 2 +0\.8250 +0\.7750", text)
    assert re.search(r"b +intents +en +pivot_validation +unfinished +1 of 4", text)
    assert re.search(r"c +intents +en +pivot_validation +not begun +0 of 3", text)
    assert "a: 1 trial failed; study show many --member a" in text
    assert "Endpoint over all members: low_resource_mean; members are selected by the same rules." in text
    assert text.endswith("Not finished: study resume many")


def test_a_damaged_ledger_does_not_hide_the_other_members(write_suite: Write, events: list[Event]) -> None:
    root = write_suite(a=len(events), b=6)
    (root / "many.b" / "ledger.jsonl").write_text("nonsense\nmore of it\n")
    suite = find(root, "many")
    assert suite.members["b"].state == "damaged"
    assert "is damaged" in tables.result(suite)
    assert re.search(r"many\.b +damaged", tables.listing(root))


def test_the_list_has_a_suites_members_below_it_and_each_study_once(
    write_suite: Write, events: list[Event], write_study: Callable[[list[Event], str], Path]
) -> None:
    root = write_suite(a=len(events), b=6)
    write_study(events, "alone")
    lines = tables.listing(root).splitlines()
    assert [line.split()[0] for line in lines] == ["study", "many", "many.a", "many.b", "many.c", "alone"]
    assert re.search(r"many +unfinished +5 of 11 +suite of 3", lines[1])


def test_what_is_confirmed_stands_by_member_and_what_is_missing_is_said(
    write_suite: Write, events: list[Event]
) -> None:
    final = next(e["evaluation"] for e in reversed(events) if e["event"] == "report")
    rows: list[Event] = [{"event": "test_opened", "time": 2000.0, "reason": "", "protocol_hash": ""}]
    for number, (kind, name) in enumerate([("winner", "trial 2"), ("control", "control a")], 4):
        common = {"trial": number, "attempt": 1, "time": 2000.0 + number}
        attributes = {"configuration": name}
        rows += [
            {**common, "event": "asked", "phase": "confirm", "kind": kind, "point": {}, "attributes": attributes},
            {**common, "event": "started"},
            {**common, "event": "report", "step": 20, "evaluation": {**final, "split": "test"}},
            {**common, "event": "finished", "outcome": "COMPLETE", "error": None},
        ]
    text = tables.result(find(write_suite(a=[*events, *rows], b=6), "many"))
    table = text[text.index("Confirmed on the test split") :]
    assert re.search(r"member +endpoint +winner +control a\n", table)
    assert re.search(r"a +low_resource_mean +0\.\d{4} +0\.\d{4}\n", table)
    assert re.search(r"b +low_resource_mean +– +–\n", table)
    assert "Not confirmed, and part of no mean: b, c." in table


def test_the_document_has_the_members_own(write_suite: Write, events: list[Event]) -> None:
    root = write_suite(a=len(events))
    found = json.loads(document.document(root, "many"))
    assert (found["suite"], found["state"], found["endpoint"]) == ("many", "unfinished", "low_resource_mean")
    assert found["members"]["a"]["document"]["name"] == "many.a"
    assert found["members"]["c"] == {
        "study": "many.c", "state": "not begun", "priority": 0, "problem": None, "document": None,
    }  # fmt: skip


def test_a_member_is_named_by_suite_and_member(write_suite: Write, events: list[Event]) -> None:
    root = write_suite(a=len(events))
    assert study_of(root, "many", "a") == "many.a"
    assert study_of(root, "many", None) == "many"
    with pytest.raises(UserError, match=r"the suite many has no such member, known: a, b, c \(got 'x'\)"):
        study_of(root, "many", "x")
    with pytest.raises(UserError, match=r"many\.a is no suite"):
        study_of(root, "many.a", "a")


def test_commands_show_a_suite_or_one_member_and_refuse_it_where_one_study_is_meant(
    write_suite: Write, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(write_suite(a=len(events)))]
    assert execute(commands, "study", ["show", "many", *root]) == 0
    assert capsys.readouterr().out.startswith("suite many: Does it help?")
    assert execute(commands, "study", ["show", "many", "--member", "a", *root]) == 0
    assert capsys.readouterr().out.startswith("study many.a: Does it help?")
    assert execute(commands, "study", ["rank", "many", "--by", "source", *root]) == USER_ERROR
    assert "many is a suite: name one of its members, a, b, c (got none)" in capsys.readouterr().err
    assert execute(commands, "study", ["resume", "many", "--member", "c", *root]) == USER_ERROR
    assert capsys.readouterr().err == "many.c: has not begun; study resume many begins it\n"


def test_a_suite_is_removed_with_its_members_or_their_checkpoints_alone(
    write_suite: Write, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_suite(a=len(events), b=6)
    checkpoint = root / "many.a" / "checkpoints" / "2" / "20" / "weights"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    place = ["--root", str(root), "--yes"]
    assert execute(commands, "study", ["rm", "many", "--checkpoints-only", *place]) == 0
    assert not checkpoint.exists()
    assert find(root, "many").condition == "unfinished"
    (root / "other").mkdir()
    assert execute(commands, "study", ["rm", "many", *place]) == 0
    assert capsys.readouterr().out.endswith("removed the suite many\n")
    assert [path.name for path in root.iterdir() if not path.name.startswith(".")] == ["other"]
