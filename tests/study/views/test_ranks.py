"""Another order of the trials: what it is by, what it reads, what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.cli import commands, execute
from study.record.lines import LEDGER
from tests.study.conftest import Event

Write = Callable[..., Path]


def rank(root: Path, *arguments: str) -> int:
    return execute(commands, "study", ["rank", "small", "--root", str(root), *arguments])


@pytest.fixture
def root(write_study: Write, events: list[Event]) -> Path:
    """Trial 2 ranks first under the study's rule; te, the language it harms, is the worst in it."""
    for event in events:
        if event["event"] == "report" and event["trial"] == 2:
            event["evaluation"]["scores"]["accuracy"]["te"][0] = 0.1
        if event["event"] == "report" and event["evaluation"]["final"]:
            scores = event["evaluation"]["scores"]
            scores["attacked_accuracy"] = {k: [1 - v[0], v[1]] for k, v in scores["accuracy"].items()}
            scores["brier"] = scores["attacked_accuracy"]
    return write_study(events)


def ranked(root: Path, capsys: Any, *arguments: str) -> dict[str, Any]:
    assert rank(root, "--json", *arguments) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_trials_are_ranked_by_what_the_rule_may_not_read_beside_their_own_rank(root: Path, capsys: Any) -> None:
    before = (root / "small" / LEDGER).read_bytes()
    found = ranked(root, capsys, "--by", "worst_language")
    assert [(r["rank"], r["own_rank"], r["trials"]) for r in found["ranking"]] == [(1, 2, [1]), (2, 1, [2])]
    assert [r["value"] for r in found["ranking"]] == pytest.approx([0.31, 0.1])
    assert [r["own_value"] for r in found["ranking"]] == pytest.approx([0.785, 0.825])
    assert found["baseline"] == pytest.approx(0.3) and found["exploratory"] is True
    assert found["reads"] == ["de", "fr", "sw", "te", "th", "yo"] and found["beyond_rule"] == ["sw", "te", "th", "yo"]
    assert rank(root, "--by", "worst_language") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "study small, finished: 2 configurations by validation worst_language (accuracy, higher is better)"
    )
    assert lines[1].split() == [
        "rank", "own", "rank", "trial", "worst_language", "own", "selection_mean", "epsilon", "ascent_steps",
    ]  # fmt: skip
    assert lines[2].split() == ["1", "2", "1", "0.3100", "0.7850", "0.1", "1"]
    assert lines[4].split()[:4] == ["–", "–", "baseline", "0.3000"]
    assert lines[-1] == (
        "Exploratory: worst_language reads validation labels that the rule may not, of 4 languages (sw, te, th, yo); "
        "not a selection. The study's own rank stands beside it."
    )
    assert (root / "small" / LEDGER).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "order", "words"),
    [
        (["--by", "language:te"], [1, 2], "of 1 languages (te)"),
        (["--by", "language:te", "--metric", "attacked_accuracy"], [2, 1], "language:te of attacked_accuracy reads"),
        (["--by", "language:te", "--direction", "minimize"], [2, 1], "of 1 languages (te)"),
        (["--by", "group:low_resource"], [1, 2], "group:low_resource reads validation labels that the rule may not"),
        (["--by", "selection_mean"], [2, 1], "reads no labels but those that the rule may read"),
        (["--by", "cost:train_seconds"], [1, 2], "cost:train_seconds reads no labels; not a selection"),
        (["--by", "transfer_gap"], [1, 2], "transfer_gap reads validation labels"),
        (["--by", "language:te", "--metric", "brier"], [1, 2], "(brier, lower is better)"),
        (["--by", "transfer_gap", "--metric", "brier"], [1, 2], "(brier, higher is better)"),
    ],
)
def test_any_reduction(root: Path, arguments: list[str], order: list[int], words: str, capsys: Any) -> None:
    assert [n for r in ranked(root, capsys, *arguments)["ranking"] for n in r["trials"]] == order
    assert rank(root, *arguments) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--by", "worst_langage"],
            "--by: unknown reduction, did you mean 'worst_language'?; known: source, selection_m",
        ),
        (["--by", "nonsense"], "--by: unknown reduction, known: source, selection_mean"),
        (
            ["--by", "group:lowresource"],
            "--by: unknown group of languages, did you mean 'low_resource'?; known: low_res",
        ),
        (["--by", "language:xx"], "--by: language 'xx' was not evaluated; there are de, en, fr, sw, te, th, yo (got"),
        (
            ["--by", "language:swahili"],
            "--by: language 'swahili' was not evaluated, did you mean 'sw'?; there are de, ",
        ),
        (["--by", "cvar:7"], "--by: cvar takes a fraction above 0 and up to 1, as in cvar:0.2; known: source,"),
        (["--by", "source", "--metric", "acuracy"], "--metric: was not evaluated, did you mean 'accuracy'?; there are"),
    ],
)
def test_what_nothing_has_is_one_line(root: Path, arguments: list[str], words: str, capsys: Any) -> None:
    assert rank(root, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(words)


def test_a_study_without_a_complete_trial(write_study: Write, events: list[Event], capsys: Any) -> None:
    assert rank(write_study(events[:4]), "--by", "source") == 2
    assert capsys.readouterr().err == "small: no trial is complete yet\n"
