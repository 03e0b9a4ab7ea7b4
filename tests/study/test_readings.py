"""How often a command reads a ledger: once, and after that what was added. MLflow follows it by itself, and is away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import launch
from study.cli import commands, execute
from study.execution import confirm, runner
from study.execution.members import Member
from study.record.lines import LEDGER, Tail, read_events
from tests.study.conftest import Event, evaluation
from trainables.scores import Evaluation

BEGINNING = ("opened", "study")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """Events of each ledger that were read, but for how it begins: whether it has begun is a look at two lines."""
    counts: Counter[Path] = Counter()
    poll = Tail.poll

    def counted(tail: Tail) -> Iterator[Event]:
        for event in poll(tail):
            counts[tail.path.resolve()] += event["event"] not in BEGINNING
            yield event

    monkeypatch.setattr(Tail, "poll", counted)
    return counts


def trained(running: Sequence[Member], *_: Any) -> None:
    """In place of Ray."""
    (member,) = running
    trials = member.trials
    while (proposal := trials.ask()) is not None:
        trials.started(proposal.number, proposal.attempt)
        done = evaluation(20, 0.01 * proposal.number, True)
        trials.report(proposal.number, proposal.attempt, done)
        if proposal.phase == "confirm":
            trials.report(proposal.number, proposal.attempt, Evaluation(20, "test", done.scores, final=True))
        trials.finish(proposal.number, proposal.attempt)


@pytest.fixture(autouse=True)
def without_machinery(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runner, confirm):
        monkeypatch.setattr(module, "execute", trained)
    monkeypatch.setattr(runner, "prepare", lambda *_: Path())
    monkeypatch.setattr(runner, "fingerprints", lambda *_: {})
    monkeypatch.setattr(confirm, "results", lambda *_: pd.DataFrame())
    monkeypatch.setattr(launch.preflight, "check", lambda *_: None)
    monkeypatch.setattr(launch, "_announce", lambda *_: None)
    monkeypatch.setattr("study.reporting.publishing.log_artifacts", lambda *_, **__: None)


@pytest.mark.parametrize(
    ("command", "events_there"),
    [
        ("show small", 99),
        ("show small --json", 99),
        ("ls", 99),
        ("rank small --by worst_language", 99),
        ("report small --out {out}", 99),
        ("export small --to {out}", 99),
        ("plot small --list", 99),
        ("watch small", 99),
        ("rebuild small --optuna", 99),
        ("resume small", 99),
        ("resume small", 8),
        ("retry small --force", 99),
        ("confirm small", 99),
    ],
)
def test_a_command_reads_a_ledger_once(
    command: str,
    events_there: int,
    write_study: Callable[..., Path],
    events: list[Event],
    tmp_path: Path,
    read: Counter[Path],
) -> None:
    ledger = write_study(events[:events_there]) / "small" / LEDGER
    words = command.format(out=tmp_path / "out").split()
    assert execute(commands, "study", [*words, "--root", str(ledger.parent.parent)]) in (0, 1)
    found = read[ledger.resolve()]
    assert set(read) == {ledger.resolve()}
    lines = sum(event["event"] not in BEGINNING for event in read_events(ledger))
    assert found == lines, f"read {found / lines:.1f} times"
