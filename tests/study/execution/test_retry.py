"""Failed trials run again: which may, and what ledger, optimiser and readers then have of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from study.cli import commands, execute
from study.execution.checkpoints import Checkpoints
from study.execution.confirm import plan
from study.execution.retry import choose, reopen
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.proposals import ranking
from study.proposals.arms import Planned
from study.proposals.search import Search
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import LEDGER, Reading, read_events, read_study
from study.record.record import StudyRecord
from tests.study.conftest import Event, place_of
from tests.study.execution.test_trials import evaluation, study
from tests.study.sampled import sampler_trials
from trainables.errors import UserError
from trainables.storage import checkpoint

LOST = "its workers were lost 3 times, the last time:\nworker 0: killed"
DIVERGED = "Traceback …\ntrainables.training.step.DivergedError: the training loss is nan at step 20"
SIMULATED = Simulated(lambda trial: 0.5 + trial.perturbation.epsilon / 10)


class Bench:
    """A study in a folder; `fail` ends the next trial, `retry` opens failed ones again under a new driver."""

    def __init__(self, folder: Path, config: StudyConfig) -> None:
        self.path, self.config = folder / LEDGER, config
        self.ledger = Ledger.open(self.path)
        self.ledger.append(
            "study", uuid="0", config=config.model_dump(mode="json"), code_version="", fingerprints={}, protocol_hash=""
        )
        self.trials = Trials(config, self.ledger, self.record)

    @property
    def record(self) -> StudyRecord:
        return read_study(self.path)

    def fail(self, error: str, step: int = 10) -> int:
        proposal = self.trials.ask()
        assert proposal is not None
        self.trials.started(proposal.number, proposal.attempt)
        self.trials.report(proposal.number, proposal.attempt, evaluation(step, 0.3))
        save(self.path.parent / "checkpoints" / str(proposal.number), step)
        self.trials.finish(proposal.number, error=error)
        return proposal.number

    def retry(self, *wanted: int, force: bool = False, planned: list[Planned] | None = None) -> Trials:
        self.ledger.close()
        chosen = choose("x", self.record, wanted, force)
        self.ledger = Ledger.open(self.path)
        reading = Reading(self.path)
        checkpoints = Checkpoints(self.config, reading.update(), place_of(self.path.parent))
        record = reopen(self.ledger, reading, checkpoints, chosen.numbers)
        self.trials = Trials(self.config, self.ledger, record, planned)
        return self.trials


def save(folder: Path, step: int) -> None:
    checkpoint.save(folder, step, nn.Linear(2, 2), None, [evaluation(step, 0.3)])


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    bench = Bench(tmp_path, study(sampler="tpe"))
    yield bench
    bench.ledger.close()


def events(bench: Bench, name: str) -> list[Event]:
    return [e for e in read_events(bench.path) if e["event"] == name]


def optimiser(trials: Trials) -> dict[str, int]:
    """States of the search's trials in Optuna."""
    (search,) = (arm.proposer for arm in trials._arms if isinstance(arm.proposer, Search))
    states = [t.state.name for t in sampler_trials(search)]
    return {state: states.count(state) for state in sorted(set(states))}


def test_a_lost_trial_goes_on_from_its_checkpoint_and_is_told_once(bench: Bench) -> None:
    run_one(bench)
    number = bench.fail(LOST)
    run(bench.trials, SIMULATED)
    assert optimiser(bench.trials) == {"COMPLETE": 4, "FAIL": 1}
    point = bench.record.trials[number].point
    trials = bench.retry()
    assert optimiser(trials) == {"COMPLETE": 4, "RUNNING": 1}
    assert bench.record.trials[number].state == "asked" and trials.remaining == 1
    proposal = trials.ask()
    assert proposal is not None
    assert (proposal.number, proposal.attempt, proposal.point) == (number, 2, point)
    assert checkpoint.steps(bench.path.parent / "checkpoints" / str(number)) == [10]
    trials.started(number, 2)
    assert trials.report(number, 1, evaluation(20, 0.9)) == "stop", "an older attempt"
    assert trials.finish(number, 1) is None
    for each in (evaluation(10, 0.8), evaluation(20, 0.7), evaluation(30, 0.6, final=True)):
        assert trials.report(number, 2, each) == "continue"
    assert trials.finish(number, 2) == "COMPLETE"
    assert optimiser(trials) == {"COMPLETE": 5}
    reports = bench.record.trials[number].reports
    assert [(r.attempt, r.step, r.evaluation.primary["en"]) for r in reports] == [
        (1, 10, 0.3), (2, 20, 0.7), (2, 30, 0.6),
    ]  # fmt: skip
    assert ranking.choose(bench.config, bench.record).winner.numbers == (number,)
    assert (bench.record.trials[number].retries, bench.record.schema) == (1, 2)


def run_one(bench: Bench) -> None:
    """The baseline."""
    proposal = bench.trials.ask()
    assert proposal is not None
    for each in SIMULATED.evaluations(proposal.trial):
        bench.trials.report(proposal.number, proposal.attempt, each)
    bench.trials.finish(proposal.number)


def test_what_failed_by_its_own_fault_begins_anew(bench: Bench) -> None:
    run_one(bench)
    number = bench.fail(DIVERGED)
    trials = bench.retry(number, force=True)
    (event,) = events(bench, "retried")
    assert (event["trial"], event["attempt"], event["fresh"]) == (number, 2, True)
    assert bench.record.trials[number].reports == []
    assert not (bench.path.parent / "checkpoints" / str(number)).exists()
    trials.ask()
    assert trials.report(number, 2, evaluation(10, 0.8)) == "continue"
    assert bench.record.trials[number].reports[0].evaluation.primary["en"] == 0.8


def test_who_has_no_checkpoint_left_begins_anew(bench: Bench) -> None:
    numbers = [bench.fail(f"{LOST} {i}") for i in range(5)]
    bench.retry()
    fresh = {e["trial"]: e["fresh"] for e in events(bench, "retried")}
    assert fresh == dict(zip(numbers, [True, True, False, False, False], strict=True))


def test_a_retry_that_is_killed_is_gone_on_with(bench: Bench) -> None:
    run_one(bench)
    number = bench.fail(LOST)
    trials = bench.retry(number)
    trials.ask()
    trials.started(number, 2)
    bench.ledger.close()
    bench.ledger = Ledger.open(bench.path)
    again = Trials(bench.config, bench.ledger, bench.record).ask()
    assert again is not None and (again.number, again.attempt) == (number, 3)


def test_retried_trials_run_though_the_budget_is_spent(tmp_path: Path) -> None:
    bench = Bench(tmp_path, study(mode="design", sampler="sobol", max_forward_equivalents=150))
    bench.fail(LOST)
    run(bench.trials, SIMULATED)
    assert bench.trials.stopped is not None
    trials = bench.retry(0)
    proposal = trials.ask()
    assert proposal is not None and proposal.number == 0
    trials.finish(0, error=LOST)
    assert trials.ask() is None, "what never began does not begin"
    bench.ledger.close()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ((9,), "x: no such trial, it has 0 to 2 (got 9)"),
        ((0,), "x: trial 0 did not fail, it is complete"),
        ((2, 1), "x: failed by their own fault, and run again with --force only: trial 1 (trainables.training.step."),
    ],
)
def test_what_is_refused(bench: Bench, wanted: tuple[int, ...], words: str) -> None:
    run_one(bench)
    bench.fail(DIVERGED)
    bench.fail(LOST)
    with pytest.raises(UserError) as refused:
        choose("x", bench.record, wanted)
    assert str(refused.value).startswith(words) and len(refused.value.lines) == 1
    assert choose("x", bench.record).numbers == (2,) and "trial 1 (" in choose("x", bench.record).left
    assert choose("x", bench.record, (1, 2), force=True).numbers == (1, 2)


def test_confirmation_is_retried_under_its_seeds_and_the_choice_stays_fixed(tmp_path: Path) -> None:
    config = study(protocol={"confirm_seeds": 3})
    bench = Bench(tmp_path, config)
    run_one(bench)
    early = bench.fail(LOST)
    run(bench.trials, SIMULATED)
    planned = plan(config, bench.record)
    bench.ledger.append("test_opened", protocol_hash="", reason="")
    bench.trials = Trials(config, bench.ledger, bench.record, planned)
    late = bench.fail(LOST)
    with pytest.raises(UserError, match=f"trial {early} of phase run can no longer be retried"):
        choose("x", bench.record, (early,))
    chosen = choose("x", bench.record)
    assert (chosen.phase, chosen.numbers) == ("confirm", (late,)) and f"trial {early} of phase run" in chosen.left
    point = bench.record.trials[late].point
    proposal = bench.retry(planned=planned).ask()
    assert proposal is not None and (proposal.number, proposal.attempt) == (late, 2)
    assert proposal.point == point and len(bench.record.openings) == 1
    bench.ledger.close()


# The command


def study_command(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be run."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr("study.launch.preflight.check", lambda *_: None)
    monkeypatch.setattr("study.execution.runner.run_study", lambda config, place, **named: heard.append(named))
    return heard


def test_the_command_passes_on_which(
    write_study: Callable[..., Path], events: list[Event], started: list[dict[str, Any]], capsys: Any
) -> None:
    root = write_study([*events[:-1], {**events[-1], "error": LOST}])
    assert study_command("show", "small", "--root", root) == 0
    assert "By no fault of its own: trial 3; study retry small" in capsys.readouterr().out
    assert study_command("retry", "small", "--root", root, "--quiet") == 0
    assert started[0]["retry"] == (3,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["3"],
            "small: failed by their own fault, and run again with --force only: trial 3 (RuntimeError: the loss is",
        ),
        ([], "small: failed by their own fault"),
        (["1"], "small: trial 1 did not fail, it is complete"),
        (["7"], "small: no such trial, it has 0 to 3 (got 7)"),
    ],
)
def test_the_command_refuses_in_one_line(
    write_study: Callable[..., Path],
    events: list[Event],
    started: list[Any],
    arguments: list[str],
    words: str,
    capsys: Any,
) -> None:
    root = write_study(events)
    before = (root / "small" / LEDGER).read_bytes()
    assert study_command("retry", "small", *arguments, "--root", root) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(words)
    assert not started and (root / "small" / LEDGER).read_bytes() == before
    assert study_command("retry", "small", "3", "--force", "--root", root, "--quiet", "--max-failures", "1") == 0
    assert started[0]["retry"] == (3,)


def test_the_command_goes_on_with_a_confirmation(
    write_study: Callable[..., Path], events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr("study.launch.preflight.check", lambda *_: None)
    monkeypatch.setattr("study.execution.confirm.confirm_study", lambda place, **named: heard.append(named))
    asked = {**events[-4], "trial": 4, "phase": "confirm", "time": 1400.0}
    failed = {**events[-1], "trial": 4, "attempt": 1, "error": LOST, "time": 1410.0}
    root = write_study([*events, {"event": "test_opened", "time": 1390.0, "reason": ""}, asked, failed])
    assert study_command("retry", "small", "--root", root, "--quiet") == 0
    assert heard[0]["retry"] == (4,)


def test_a_running_study_is_not_retried(
    write_study: Callable[..., Path], events: list[Event], started: list[Any], capsys: Any
) -> None:
    root = write_study(events)
    with Ledger.open(root / "small" / LEDGER):
        assert study_command("retry", "small", "--root", root) == 2
    assert "small is being run by another process; watch it with study watch small" in capsys.readouterr().err
    assert not started


def test_failures_that_stay_may_stop_the_study(
    write_study: Callable[..., Path], events: list[Event], started: list[Any], capsys: Any
) -> None:
    failed = {**events[-1], "error": LOST}
    more = [{**events[-4], "trial": 4, "time": 1400.0}, {**failed, "trial": 4, "attempt": 1, "time": 1410.0}]
    root = write_study([*events[:-1], failed, *more])
    assert study_command("retry", "small", "3", "--root", root, "--max-failures", "1") == 2
    assert "search.max_failures: 1 other trials failed, which stops the study at once" in capsys.readouterr().err
