"""Suites started, interrupted, resumed and confirmed with simulated trials: what is written, said and returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from study import launch, launch_suite
from study.execution import suite as executed
from study.execution.members import Listener, Member, Members
from study.execution.simulation import Simulated
from study.execution.trials import Proposal
from study.launch import Options
from study.planning import preflight
from study.question.config import StudyConfig, SuiteConfig
from study.record import manifest
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.suite.found import find
from trainables.errors import UserError
from trainables.loading import validate

SIMULATED = Simulated(lambda trial: 0.5, steps=50)


@dataclass
class Bench:
    """A root, and what goes wrong in it."""

    root: Path
    gone: Sequence[str] = ()
    """Studies whose data are gone."""
    broken: Sequence[str] = ()
    """Members whose trials all fail."""
    problems: Mapping[str, list[str]] = field(default_factory=dict)
    """Study -> what forbids it to start."""
    killed_after: int | None = None
    """Trials after which the driver is killed."""
    predict: Callable[[Member, Proposal], None] = lambda member, proposal: None
    """What workers leave of a confirmed trial beside its scores."""

    @property
    def options(self) -> Options:
        return Options(self.root, mode="quiet")

    def execute(self, running: Sequence[Member], name: str, hear: Listener, address: str | None = None) -> None:
        members = Members(running)
        done = 0
        while (asked := members.ask()) is not None:
            member, proposal = asked
            member.trials.started(proposal.number, proposal.attempt)
            if done == self.killed_after:
                raise KeyboardInterrupt
            done += 1
            if member.name in self.broken:
                member.finish(proposal.number, "it broke")
                continue
            for evaluation in SIMULATED.evaluations(proposal.trial):
                scored = replace(evaluation, split=member.trials.final_split)
                member.trials.report(proposal.number, proposal.attempt, scored)
            if proposal.phase == "confirm":
                self.predict(member, proposal)
            member.finish(proposal.number, None)

    def made_from(self, config: StudyConfig, splits: Sequence[str] = ()) -> dict[str, str]:
        if config.name in self.gone:
            raise UserError("task.data_dir: no such folder")
        return {}

    def ledger(self, member: str) -> bytes:
        return (self.root / f"many.{member}" / "ledger.jsonl").read_bytes()


def simulated(root: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A root under which suites run, from now on, as the bench says."""
    bench = Bench(root)
    monkeypatch.setattr(executed, "execute", bench.execute)
    monkeypatch.setattr(executed, "made_from", bench.made_from)
    monkeypatch.setattr("study.execution.confirm.made_from", bench.made_from)
    monkeypatch.setattr(executed, "keep_results", lambda *_: None)
    monkeypatch.setattr(preflight, "check_together", lambda *_: None)
    monkeypatch.setattr(preflight, "own_problems", lambda config, root: bench.problems.get(config.name, []))
    monkeypatch.setattr(preflight, "shared_problems", lambda *_: [])
    monkeypatch.setattr(preflight, "disk", lambda *_: None)
    return bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return simulated(tmp_path / "studies", monkeypatch)


def suite(trials: int = 4, **more: Any) -> SuiteConfig:
    members = [{"name": "a"}, {"name": "b", "overrides": {"search.trials": trials}}, {"name": "c"}]
    data: dict[str, Any] = {
        "suite": {"name": "many", "endpoint": "target_mean", "members": members, **more},
        "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}},
        "search": {"space": "adversarial", "sampler": "random", "trials": 3},
        "protocol": {"confirm_seeds": 3},
    }
    return validate(SuiteConfig, data)


def test_every_member_has_a_ledger_as_a_study_has_and_a_finished_suite_is_left_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch_suite.run(suite(), bench.options) == 0
    found = find(bench.root, "many")
    assert found.condition == "finished"
    assert [len(m.study.trials) for m in found.members.values() if m.study] == [3, 4, 3]
    assert manifest.names(bench.root) == ["many"]
    before = [bench.ledger(name) for name in "abc"]
    assert launch_suite.run(suite(), bench.options) == launch_suite.resume("many", bench.options) == 0
    assert [bench.ledger(name) for name in "abc"] == before
    assert "finished, 3 members: 3 finished" in capsys.readouterr().out


def test_one_that_was_interrupted_goes_on_where_it_was(bench: Bench) -> None:
    bench.killed_after = 4
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(suite(), bench.options)
    assert [m.state for m in find(bench.root, "many").members.values()] == ["finished", "unfinished", "unfinished"]
    finished = bench.ledger("a")
    with pytest.raises(UserError, match="has begun and is not finished; go on with study resume many"):
        launch_suite.run(suite(), bench.options)
    bench.killed_after = None
    assert launch_suite.resume("many", bench.options) == 0
    assert bench.ledger("a") == finished
    record = read_study(bench.root / "many.b" / "ledger.jsonl")
    assert [t.attempts for t in record.trials.values()] == [1, 2, 1, 1]


def test_members_whose_driver_was_killed_as_they_began_begin(bench: Bench) -> None:
    """It had opened their ledgers, and written no more; nor has the manifest to be there by then."""
    for name in "ab":
        with Ledger.open(bench.root / f"many.{name}" / "ledger.jsonl"):
            pass
    bench.killed_after = 0
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(suite(), bench.options)
    late = bench.root / "many.c" / "ledger.jsonl"
    late.write_bytes(late.read_bytes().splitlines(keepends=True)[0])
    assert [m.state for m in find(bench.root, "many").members.values()] == ["unfinished", "unfinished", "not begun"]
    with pytest.raises(UserError, match=r"many\.c: has not begun; study resume many begins it"):
        launch.resume("many.c", bench.options)
    bench.killed_after = None
    assert launch_suite.resume("many", bench.options) == 0
    assert find(bench.root, "many").condition == "finished"


def test_what_forbids_one_to_go_on_is_said_and_of_a_finished_one_it_is_not_asked(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.killed_after = 4
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(suite(), bench.options)
    bench.killed_after = None
    bench.problems = {"many.a": ["its data are gone"], "many.c": ["its data are gone", "and its encoder"]}
    capsys.readouterr()
    assert launch_suite.resume("many", bench.options) == 1
    assert capsys.readouterr().err.splitlines() == ["c: its data are gone; and its encoder"]
    assert [m.state for m in find(bench.root, "many").members.values()] == ["finished", "finished", "unfinished"]


def test_what_asks_for_something_else_is_refused_in_words(bench: Bench) -> None:
    launch_suite.run(suite(), bench.options)
    with pytest.raises(UserError) as error:
        launch_suite.run(suite(trials=5), bench.options)
    assert error.value.lines == [
        "b: search.trials: the existing study has 4 (got 5)",
        "suite.name: many is the name of a suite that asks for something else; choose another with suite.name=…",
    ]


def test_another_endpoint_order_or_priority_is_not_silently_left_as_it_was(bench: Bench) -> None:
    launch_suite.run(suite(), bench.options)
    members = [{"name": "a", "priority": 2}, {"name": "c"}, {"name": "b", "overrides": {"search.trials": 4}}]
    with pytest.raises(UserError) as error:
        launch_suite.run(suite(members=members, endpoint="worst_language"), bench.options)
    lines = [line.partition(" (got")[0] for line in error.value.lines]
    assert lines[:3] == [
        'suite.members: the existing suite has ["a", "b", "c"]',
        'suite.endpoint: the existing suite has "target_mean"',
        "a: priority: the existing suite has 0",
    ]


def test_a_member_whose_data_are_gone_is_left_out_said_and_taken_up_later(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.gone = ["many.b"]
    assert launch_suite.run(suite(), bench.options) == 1
    assert capsys.readouterr().err.splitlines() == ["b: task.data_dir: no such folder"]
    assert [m.state for m in find(bench.root, "many").members.values()] == ["finished", "not begun", "finished"]
    bench.gone = []
    assert launch_suite.resume("many", bench.options) == 0


def test_a_member_that_stops_by_its_own_fault_stops_no_other(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.broken = ["b"]
    assert launch_suite.run(suite(), bench.options) == 1
    assert capsys.readouterr().err.splitlines() == ["b: none of its trials is complete"]
    assert [m.state for m in find(bench.root, "many").members.values()] == ["finished", "unfinished", "finished"]


def test_a_study_of_a_members_name_is_taken_on_where_it_is_the_same(bench: Bench) -> None:
    bench.killed_after = 1
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(suite(), bench.options)
    (bench.root / "many" / "suite.json").unlink()  # as if the members had been run by themselves
    with pytest.raises(UserError, match=r"a: search\.trials: the existing study has 3 \(got 4\)"):
        launch_suite.run(
            validate(SuiteConfig, {**suite().model_dump(mode="json"), "search": {"trials": 4}}), bench.options
        )
    bench.killed_after = None
    assert launch_suite.run(suite(), bench.options) == 0


def test_mistakes_are_said_of_all_members_and_nothing_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    members = [{"name": n, "overrides": {"trial.task.name": t}} for n, t in (("a", "intent"), ("b", "xnil"))]
    with pytest.raises(UserError) as error:
        launch_suite.run(suite(members=members), bench.options)
    found = dict(reversed(line.split(": ", 1)) for line in error.value.lines)
    assert found["trial.task.name: unknown task, did you mean 'intents'? (got 'intent')"] == "a"
    assert found["trial.task.name: unknown task, did you mean 'xnli'? (got 'xnil')"] == "b"
    assert not bench.root.exists()


def test_confirm_takes_the_members_that_are_finished_and_says_the_others(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.killed_after = 4
    with pytest.raises(KeyboardInterrupt):
        launch_suite.run(suite(), bench.options)
    bench.killed_after = 5
    with pytest.raises(KeyboardInterrupt):
        launch_suite.confirm("many", bench.options)
    bench.killed_after = None
    assert launch_suite.confirm("many", bench.options) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-2:] == [f"{n}: it is unfinished; study resume many" for n in "bc"]
    assert "Confirmed on the test split, means over fresh seeds:" in captured.out
    assert "Not confirmed, and part of no mean: b, c." in captured.out
    confirmed = [t for t in read_study(bench.root / "many.a" / "ledger.jsonl").trials.values() if t.phase == "confirm"]
    assert {t.state for t in confirmed} == {"COMPLETE"}
    assert len({t.attributes["configuration"] for t in confirmed}) * 3 == len(confirmed)


def test_confirm_says_of_a_member_without_a_complete_trial_that_it_has_none(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.broken = ["b"]
    launch_suite.run(suite(trials=3), bench.options)
    assert launch_suite.confirm("many", bench.options) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "b: none of its trials is complete"
