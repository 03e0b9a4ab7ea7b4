"""What Tune asks of the seam, and what it tells it, without Ray: how many at a time, and what each end means."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from study.execution.adapters import TrialSearcher, TrialVerdicts
from study.execution.checkpoints import Checkpoints
from study.execution.members import Member, Members
from study.execution.simulation import Simulated
from study.execution.trials import Trials
from study.proposals.arms import Planned
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.record.record import TrialRecord
from tests.study.conftest import place_of
from trainables.loading import validate
from trainables.scores import Evaluation

SIMULATED = Simulated(lambda trial: 0.5)


class Bench:
    """A study of three trials, two at a time."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.path = ledger.path
        trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
        search = {"space": "adversarial", "trials": 3, "sampler": "random"}
        config = validate(StudyConfig, {"name": "x", "trial": trial, "search": search})
        record = read_study(self.path)
        self.trials = Trials(config, ledger, record)
        self.heard: list[dict[str, Any]] = []
        self.checkpoints = Checkpoints(config, record, place_of(folder))
        members = Members([Member(self.trials, self.checkpoints, lambda event: self.heard.append(dict(event)))])
        self.searcher = TrialSearcher(members, 2)
        self.verdicts = TrialVerdicts(members, self.searcher.lost)

    def result(self, number: int, attempt: int, kind: str, **more: Any) -> str:
        """Tune's answer to a result of a trial driver."""
        trial = SimpleNamespace(config={"number": number, "payload": {"member": ""}})
        return self.verdicts.on_trial_result(None, trial, {"kind": kind, "attempt": attempt, **more})

    def report(self, number: int, step: int, attempt: int = 1) -> str:
        evaluation = SIMULATED.evaluate(self.trials.config.trial, step)
        return self.result(number, attempt, "report", evaluation=evaluation)

    def record(self, number: int) -> TrialRecord:
        return read_study(self.path).trials[number]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Ledger.open(tmp_path / "ledger.jsonl") as ledger:
        yield Bench(tmp_path, ledger)


def test_no_more_trials_are_asked_for_than_fit(bench: Bench) -> None:
    numbers = [bench.searcher.suggest(name)["number"] for name in ("a", "b")]
    assert numbers == [0, 1]
    assert bench.searcher.suggest("c") is None
    bench.searcher.on_trial_complete("a", {"kind": "failed", "error": "it broke"})
    assert bench.searcher.suggest("c")["number"] == 2
    bench.searcher.on_trial_complete("b", {"kind": "failed", "error": "it broke"})
    assert bench.searcher.suggest("d") == Searcher.FINISHED


def test_a_completed_trial_is_recorded_with_its_reports(bench: Bench) -> None:
    bench.searcher.suggest("a")
    assert bench.result(0, 1, "started") == TrialScheduler.CONTINUE
    assert [bench.report(0, step) for step in (10, 20, 30, 40, 50)] == [TrialScheduler.CONTINUE] * 5
    bench.searcher.on_trial_complete("a", {"kind": "done"})
    assert bench.record(0).state == "COMPLETE"
    assert [report.step for report in bench.record(0).reports] == [10, 20, 30, 40, 50]


def test_an_evaluation_is_encoded_once_for_the_ledger(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    encode, decode = Evaluation.to_json, Evaluation.from_json
    monkeypatch.setattr(Evaluation, "to_json", lambda one: did.append("encoded") or encode(one))
    monkeypatch.setattr(Evaluation, "from_json", lambda data: did.append("decoded") or decode(data))
    bench.searcher.suggest("a")
    bench.result(0, 1, "started")
    bench.report(0, 10)
    assert did == ["encoded"]


def test_an_older_attempt_is_told_to_stop(bench: Bench) -> None:
    bench.searcher.suggest("a")
    bench.result(0, 2, "started")
    assert bench.report(0, 10, attempt=1) == TrialScheduler.STOP
    assert bench.record(0).reports == []


@pytest.mark.parametrize("kind", ["interrupted", "halted"])
def test_a_trial_that_was_left_is_no_ended_one(bench: Bench, kind: str) -> None:
    left = []
    bench.searcher.leave = lambda: left.append("all")
    bench.searcher.suggest("a")
    bench.result(0, 1, "started")
    bench.searcher.on_trial_complete("a", {"kind": kind, "error": "the disk is full"})
    assert bench.record(0).state == "running"
    assert (bench.searcher.halted, left) == (("the disk is full", ["all"]) if kind == "halted" else (None, []))


def test_what_a_halted_study_asks_for_is_the_end(bench: Bench) -> None:
    bench.searcher.suggest("a")
    bench.searcher.on_trial_complete("a", {"kind": "halted", "error": "the disk is full"})
    assert bench.searcher.suggest("b") == Searcher.FINISHED


def test_the_cause_of_a_failure_is_recorded(bench: Bench, tmp_path: Path) -> None:
    bench.searcher.suggest("a")
    bench.searcher.on_trial_complete("a", {"kind": "failed", "error": "its loss is not finite"})
    bench.searcher.suggest("b")
    trace = tmp_path / "error.txt"
    # Ray writes it in the encoding of the shell, whatever that is.
    trace.write_text("Failure # 1 (…)\nold\nFailure # 2 (…)\n\x1b[31mit died\x1b[0m at Orléans\n", encoding="cp1252")
    bench.verdicts.on_trial_error(None, SimpleNamespace(trial_id="b", error_file=str(trace)))
    bench.searcher.on_trial_complete("b", None, error=True)
    assert [bench.record(n).error for n in (0, 1)] == [
        "its loss is not finite",
        "its trial driver failed: attempt 2 (\ufffd)\nit died at Orl\ufffdans",
    ]


def test_words_for_the_user_are_passed_on_and_end_nothing(bench: Bench) -> None:
    bench.searcher.suggest("a")
    assert bench.result(0, 1, "note", words="trial 0: so be it") == TrialScheduler.CONTINUE
    assert bench.result(0, 1, "waiting", minutes=4.2) == TrialScheduler.CONTINUE
    assert bench.heard == [
        {"event": "note", "words": "trial 0: so be it"},
        {"event": "waiting", "for": "the workers of trial 0, no sign of life for 4 min"},
    ]


def test_the_checkpoints_hear_whether_a_trial_may_be_chosen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        bench.checkpoints,
        "finished",
        lambda number, _, competes, error, phase: heard.append((number, competes)),
    )
    for name in ("a", "b"):
        bench.searcher.suggest(name)
        bench.searcher.on_trial_complete(name, {"kind": "failed", "error": "it broke"})
    assert heard == [(0, False), (1, True)]  # the baseline may not


def test_workers_are_told_which_trials_a_mean_is_of(bench: Bench) -> None:
    path = bench.path
    planned = [Planned({}, "control", "e", {"configuration": "control e", "mean": "k", "trials": [0, 1]})]
    bench.searcher.members[""].trials = Trials(bench.trials.config, bench.trials.ledger, read_study(path), planned)
    payload = bench.searcher.suggest("a")["payload"]
    assert payload["weights"].endswith("means/k") and payload["averaged"] == (0, 1)
