"""Several studies in one pool of slots, without Ray: what each is asked for, hears and writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from study.execution.adapters import TrialSearcher, TrialVerdicts
from study.execution.checkpoints import Checkpoints
from study.execution.members import Member, Members
from study.execution.simulation import Simulated
from study.execution.trials import ALIKE, Trials
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.record.place import Place
from trainables.loading import validate

SIMULATED = Simulated(lambda trial: 0.5)


class Bench:
    """Two studies of four and five trials, three at a time."""

    def __init__(self, root: Path, ledgers: ExitStack, **second: Any) -> None:
        self.root, self.heard = root, list[tuple[str, Any]]()
        self.members = Members([self.member("a", 4, ledgers), self.member("b", 5, ledgers, **second)])
        self.searcher = TrialSearcher(self.members, 3)
        self.verdicts = TrialVerdicts(self.members, self.searcher.lost)
        self.payloads: dict[str, dict[str, Any]] = {}

    def member(self, name: str, trials: int, ledgers: ExitStack, **more: Any) -> Member:
        trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
        search = {"space": "adversarial", "trials": trials, "sampler": "random"}
        config = validate(StudyConfig, {"name": f"many.{name}", "trial": trial, "search": search})
        place = Place(self.root, config.name)
        ledger = ledgers.enter_context(Ledger.open(place.ledger))
        record = read_study(place.ledger)
        hear = lambda event: self.heard.append((name, event))  # noqa: E731
        return Member(Trials(config, ledger, record), Checkpoints(config, record, place), hear, name, **more)

    def start(self, slot: str) -> str:
        """What a slot that is free is given: the member and the number, or nothing now."""
        asked = self.searcher.suggest(slot)
        if asked is None or asked == Searcher.FINISHED:
            return "finished" if asked == Searcher.FINISHED else ""
        self.payloads[slot] = asked
        return f"{asked['payload']['member']}{asked['number']}"

    def tell(self, slot: str, kind: str, **more: Any) -> str:
        trial = SimpleNamespace(config=self.payloads[slot])
        return self.verdicts.on_trial_result(None, trial, {"kind": kind, "attempt": 1, **more})

    def complete(self, slot: str) -> None:
        self.tell(slot, "started")
        self.tell(slot, "report", evaluation=SIMULATED.evaluate(self.members["a"].trials.config.trial, 50))
        self.searcher.on_trial_complete(slot, {"kind": "done"})

    def fail(self, slot: str, words: str) -> None:
        self.searcher.on_trial_complete(slot, {"kind": "failed", "error": words})

    def states(self, name: str) -> list[str]:
        return [t.state for t in read_study(Place(self.root, f"many.{name}").ledger).trials.values()]


@pytest.fixture
def ledgers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_when_one_has_no_more_to_hand_out_the_next_ones_trials_start(tmp_path: Path, ledgers: ExitStack) -> None:
    bench = Bench(tmp_path, ledgers)
    assert [bench.start(slot) for slot in "xyz"] == ["a0", "a1", "a2"]
    assert bench.start("more") == ""
    started = []
    for slot in "xyzxyz":
        bench.complete(slot)
        started.append(bench.start(slot))
    assert started == ["a3", "b0", "b1", "b2", "b3", "b4"]
    for slot in "xyz":
        bench.complete(slot)
        assert bench.start(slot) == "finished"
    assert bench.states("a") == ["COMPLETE"] * 4
    assert bench.states("b") == ["COMPLETE"] * 5


def test_trials_of_one_number_are_told_apart_by_their_member(tmp_path: Path, ledgers: ExitStack) -> None:
    bench = Bench(tmp_path, ledgers, priority=1)
    assert [bench.start(slot) for slot in "xyz"] == ["b0", "b1", "b2"]
    for slot in "xyzxyz":
        bench.complete(slot)
        bench.start(slot)
    assert {slot: f"{p['payload']['member']}{p['number']}" for slot, p in bench.payloads.items()} == {
        "x": "a1", "y": "a2", "z": "a3",
    }  # fmt: skip
    places = [p["payload"]["directory"] for p in bench.payloads.values()]
    assert places == [str(tmp_path / "many.a" / "checkpoints" / n) for n in "123"]
    bench.tell("x", "note", words="trial 1: so be it")
    assert bench.heard == [("a", {"event": "note", "words": "trial 1: so be it"})]


def test_no_more_of_a_member_run_than_it_allows_and_it_goes_on_later(tmp_path: Path, ledgers: ExitStack) -> None:
    bench = Bench(tmp_path, ledgers, at_once=1)
    assert [bench.start(slot) for slot in "xyz"] == ["b0", "a0", "a1"]
    bench.complete("y")
    assert bench.start("y") == "a2"
    bench.complete("z")
    assert bench.start("z") == "a3"
    bench.complete("y")
    assert bench.start("y") == ""  # now none, but b has four left
    bench.complete("x")
    assert bench.start("x") == "b1"


def test_a_member_that_fails_by_its_own_fault_does_not_stop_the_others(tmp_path: Path, ledgers: ExitStack) -> None:
    bench = Bench(tmp_path, ledgers)
    for slot in "xyz":
        assert bench.start(slot).startswith("a")
    for slot in "xyz"[:ALIKE]:
        bench.fail(slot, "its data are gone")
    assert bench.members["a"].trials.stopped == "the first 3 trials failed alike: its data are gone"
    assert read_study(Place(tmp_path, "many.a").ledger).stopped == bench.members["a"].trials.stopped  # said at once
    assert [bench.start(slot) for slot in "xyz"] == ["b0", "b1", "b2"]
    assert bench.states("a") == ["FAIL"] * 3


def test_a_budget_that_is_spent_is_said_to_be_one(tmp_path: Path, ledgers: ExitStack) -> None:
    member = Bench(tmp_path, ledgers).members["a"]
    member.trials.stopped, member.trials.spent = "it has no patience", True
    member.conclude()
    record = read_study(Place(tmp_path, "many.a").ledger)
    assert (record.stopped, record.spent) == ("it has no patience", True)


def test_what_would_keep_every_trial_ends_them_all(tmp_path: Path, ledgers: ExitStack) -> None:
    bench = Bench(tmp_path, ledgers)
    left = []
    bench.searcher.leave = lambda: left.append("all")
    for slot in "xyz":
        bench.start(slot)
    bench.searcher.on_trial_complete("x", {"kind": "halted", "error": "the disk is full"})
    assert (bench.searcher.halted, left) == ("the disk is full", ["all"])
    assert bench.start("x") == "finished"
    assert bench.states("a")[0] == "asked"
