"""The seam: numbers, attempts, verdicts, endings, designs and resuming, on a simulated trainable."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.proposals.arms import Planned
from study.proposals.outcomes import feedback_of
from study.proposals.ranking import best_of_arms
from study.proposals.search import Search
from study.proposals.spending import unfinished
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_events, read_study
from study.views.found import is_finished
from tests.study.sampled import sampler_trials
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

SIMULATED = Simulated(lambda trial: 0.9 - 0.1 * abs(math.log(trial.perturbation.epsilon / 0.2)))


def study(protocol: dict[str, Any] | None = None, trial: dict[str, Any] | None = None, **search: Any) -> StudyConfig:
    data = {
        "name": "x",
        "trial": {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}, **(trial or {})},
        "search": {"space": "adversarial", "trials": 6, "sampler": "random", **search},
        "protocol": protocol or {},
    }
    return validate(StudyConfig, data)


class Bench:
    """A study in a folder, whose driver can be started anew."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"
        self.ledger: Ledger | None = None

    def open(self, config: StudyConfig, plan: list[Planned] | None = None) -> Trials:
        self.close()
        self.ledger = Ledger.open(self.path)
        return Trials(config, self.ledger, read_study(self.path), plan)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in read_events(self.path) if e["event"] == name]


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def evaluation(step: int, score: float = 0.5, final: bool = False, **training: float) -> Evaluation:
    scores = LanguageScores({"en": score, "de": score}, {"en": 9, "de": 9})
    return Evaluation(step, "validation", {"accuracy": scores}, training, {}, final)


def test_a_study_asks_exactly_its_budget_and_the_baseline_first(bench: Bench) -> None:
    trials = bench.open(study())
    assert trials.remaining == 6
    run(trials, SIMULATED, concurrent=3)
    assert trials.remaining == 0 and trials.live == () and trials.ask() is None
    record = read_study(bench.path)
    assert list(record.trials) == list(range(6))
    assert Counter(t.state for t in record.trials.values()) == {"COMPLETE": 6}
    baseline = record.trials[0]
    assert baseline.kind == "baseline"
    assert baseline.point == {"perturbation.method": "none", "augmentation.method": "none"}
    assert {t.kind for n, t in record.trials.items() if n} == {"sampled"}
    assert all(set(t.distributions) == {"perturbation.epsilon", "perturbation.ascent_steps"}
               for n, t in record.trials.items() if n)  # fmt: skip


def test_the_baseline_is_hidden_from_the_sampler(bench: Bench) -> None:
    trials = bench.open(study(sampler="tpe"))
    run(trials, SIMULATED)
    assert [set(t.params) for t in sampler_trials(searches(trials)[0])] == [
        {"perturbation.epsilon", "perturbation.ascent_steps"}
    ] * 5


def searches(trials: Trials) -> list[Search]:
    return [arm.proposer for arm in trials._arms if isinstance(arm.proposer, Search)]


def test_arms_go_on_abreast_and_are_taken_up_where_they_were(bench: Bench) -> None:
    """A driver that dies after any trial is followed by one that asks what was left of each arm."""
    arms = {"radius": {"perturbation.method": "adversarial"}, "noise": {"perturbation.method": "random_perturbation"}}
    space = {
        "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
        "perturbation.method": ["none", "adversarial", "random_perturbation"],
    }
    config = study({"tune_controls": "all"}, {"perturbation": {"method": "none"}}, space=space, arms=arms, trials=4)
    whose = []
    for number in range(10):
        trials = bench.open(config)
        assert trials.remaining == 10 - number and not is_finished(config, read_study(bench.path))
        proposal = trials.ask()
        assert proposal is not None
        trials.report(number, proposal.attempt, evaluation(10, final=True))
        trials.finish(number, proposal.attempt)
        record = read_study(bench.path).trials[number]
        whose.append(record.attributes.get("arm") or record.control or record.kind)
    assert whose == ["baseline", *["radius", "noise", "b"] * 3]
    assert bench.open(config).ask() is None and is_finished(config, read_study(bench.path))
    best = best_of_arms(config, read_study(bench.path))
    assert {name: ranked.numbers for name, ranked in best.items()} == {"radius": (1,), "noise": (2,)}


def test_a_study_without_a_space_is_a_baseline_and_a_single_run(bench: Bench) -> None:
    run(bench.open(study(space=None)), SIMULATED)
    assert [(t.kind, t.point) for t in read_study(bench.path).trials.values()][1:] == [("single", {})]


def test_interrupted_trials_are_handed_out_first_under_their_number(bench: Bench) -> None:
    trials = bench.open(study())
    for _ in range(3):
        proposal = trials.ask()
        assert proposal is not None
        if proposal.number != 1:  # 1 was asked, and its workers never started
            trials.started(proposal.number, proposal.attempt)
    trials.report(0, 1, evaluation(10))
    trials = bench.open(study())
    assert trials.remaining == 6
    again = [trials.ask() for _ in range(4)]
    assert [(p.number, p.attempt) for p in again if p] == [(0, 2), (2, 2), (1, 1), (3, 1)]
    points = {e["trial"]: e["point"] for e in bench.events("asked")}
    assert all(p.point == points[p.number] for p in again if p)


def test_reports_of_an_older_attempt_are_fenced_off(bench: Bench) -> None:
    trials = bench.open(study())
    trials.ask()
    trials.started(0, 1)
    trials.started(0, 2)
    assert trials.report(0, 1, evaluation(10)) == "stop"
    assert trials.finish(0, 1) is None
    assert trials.report(0, 2, evaluation(10)) == "continue"
    assert [(e["attempt"], e["step"]) for e in bench.events("report")] == [(2, 10)]
    assert trials.report(99, 1, evaluation(10)) == "stop", "a trial that was never handed out"


def test_a_repeated_report_is_recorded_once(bench: Bench) -> None:
    trials = bench.open(study())
    trials.ask()
    for step in (10, 20, 10, 20, 20):
        assert trials.report(0, 1, evaluation(step)) == "continue"
    trials = bench.open(study())
    trials.ask()
    assert trials.report(0, 2, evaluation(20, score=0.1)) == "continue"
    assert [e["step"] for e in bench.events("report")] == [10, 20]


@pytest.mark.parametrize(
    ("last", "error", "outcome", "words"),
    [
        (evaluation(20, final=True), None, "COMPLETE", None),
        (evaluation(20, final=True), "Traceback …\nValueError: boom", "FAIL", "boom"),
        (evaluation(20), None, "FAIL", "without a final evaluation"),
        (evaluation(20, score=math.nan, final=True), None, "FAIL", "selection_mean is not finite at step 20"),
        (evaluation(20, final=True, loss=math.nan), None, "FAIL", "training loss is not finite at step 20"),
    ],
)
def test_endings(bench: Bench, last: Evaluation, error: str | None, outcome: str, words: str | None) -> None:
    trials = bench.open(study())
    trials.ask()
    trials.report(0, 1, evaluation(10))
    verdict = trials.report(0, 1, last)
    assert verdict == ("stop" if words and "finite" in words else "continue")
    assert trials.finish(0, 1, error=error) == outcome
    trial = read_study(bench.path).trials[0]
    assert trial.state == outcome
    assert (words or "") in (trial.error or "") and (trial.error is None) == (words is None)


def test_a_missing_objective_fails_a_trial(bench: Bench) -> None:
    trials = bench.open(study(objectives=[{"reduce": "source", "metric": "f1"}]))
    trials.ask()
    trials.report(0, 1, evaluation(10, final=True))
    assert trials.finish(0) == "FAIL"
    assert "metric 'f1' was not evaluated" in (read_study(bench.path).trials[0].error or "")


def test_the_test_split_is_closed_in_run(bench: Bench) -> None:
    trials = bench.open(study())
    trials.ask()
    scores = {"accuracy": LanguageScores({"en": 1.0}, {"en": 9})}
    with pytest.raises(AssertionError, match="closed in run"):
        trials.report(0, 1, Evaluation(10, "test", scores))


def test_failed_trials_count_towards_the_budget(bench: Bench) -> None:
    trials = bench.open(study())
    while (proposal := trials.ask()) is not None:
        trials.finish(proposal.number, error=f"error {proposal.number}")
    assert len(bench.events("asked")) == len(bench.events("finished")) == 6


def test_max_failures_stop_the_study_for_good(bench: Bench) -> None:
    config = study(max_failures=2)
    trials = bench.open(config)
    for number in range(2):
        assert trials.ask() is not None
        trials.finish(number, error=f"error {number}")
    assert trials.ask() is None and trials.remaining == 0
    assert trials.stopped == "2 trials failed, search.max_failures is 2"
    assert bench.open(config).ask() is None
    assert bench.open(study(max_failures=3)).ask() is not None


def test_identical_failures_of_the_first_trials_stop_the_study_with_the_cause(bench: Bench) -> None:
    trials = bench.open(study())
    for number in range(3):
        assert trials.ask() is not None
        trials.finish(number, error=f"line {number}\nModuleNotFoundError: No module named 'x'\n")
    assert trials.ask() is None
    assert trials.stopped == "the first 3 trials failed alike: ModuleNotFoundError: No module named 'x'"
    conclude(trials)
    assert (record := read_study(bench.path)).stopped == trials.stopped and not record.spent
    assert bench.open(study()).ask() is not None, "the cause may have been removed"
    assert read_study(bench.path).stopped is None


def test_later_failures_do_not(bench: Bench) -> None:
    trials = bench.open(study())
    for number in range(5):
        trials.ask()
        if number:
            trials.finish(number, error="same")
        else:
            trials.report(0, 1, evaluation(10, final=True))
            trials.finish(0)
    assert trials.ask() is not None and trials.stopped is None


@pytest.mark.parametrize(
    ("limit", "cause"),
    [
        # Baseline and two trials at 150 each.
        ({"max_forward_equivalents": 450}, "450 forward-equivalents were spent, the limit is 450"),
        ({"patience": 3}, "no improvement over 3 trials, search.patience is 3"),
    ],
)
def test_budgets_end_a_study_and_still_do_after_a_resume(bench: Bench, limit: dict[str, Any], cause: str) -> None:
    flat = Simulated(lambda trial: 0.5)
    config = study(trials=50, **limit)
    trials = bench.open(config)
    run(trials, flat)
    assert trials.stopped == cause and trials.remaining == 0
    # Equal scores are no improvement on the first of the search's.
    assert len(read_study(bench.path).trials) == (5 if "patience" in limit else 3)
    resumed = bench.open(config)
    assert resumed.ask() is None and resumed.stopped == cause
    assert bench.open(study(trials=50)).ask() is not None


def test_the_time_of_all_sessions_counts_and_the_time_between_them_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1e6]
    for clock in ("time", "monotonic"):
        monkeypatch.setattr(f"study.record.ledger.time.{clock}", lambda: now[0])
    config = study(trials=50, max_hours=2.0)
    for hours in (1.0, 0.9, 0.2):  # of work, and a day of rest after each
        trials = bench.open(config)
        proposal = trials.ask()
        assert proposal is not None
        now[0] += hours * 3600
        trials.finish(proposal.number, error=f"error {proposal.number}")
        now[0] += 24 * 3600
    trials = bench.open(config)
    assert trials.ask() is None
    assert trials.stopped == "2.10 h were spent, search.max_hours is 2"


def test_interrupted_trials_are_finished_after_the_budget_is_spent(bench: Bench) -> None:
    config = study(trials=50, max_forward_equivalents=450)
    trials = bench.open(config)
    for proposal in [trials.ask() for _ in range(4)]:
        assert proposal is not None
        trials.started(proposal.number, 1)
        if proposal.number < 3:
            for each in SIMULATED.evaluations(proposal.trial):
                trials.report(proposal.number, 1, each)
            trials.finish(proposal.number)
    trials = bench.open(config)
    proposal = trials.ask()
    assert proposal is not None and (proposal.number, proposal.attempt) == (3, 2)
    assert trials.ask() is None


def test_points_of_a_design_that_the_budget_does_not_reach_are_left(bench: Bench) -> None:
    config = study(mode="design", sampler="sobol", trials=9, max_forward_equivalents=450)
    trials = bench.open(config)
    run(trials, SIMULATED)
    record = read_study(bench.path)
    assert Counter(t.state for t in record.trials.values()) == {"COMPLETE": 3, "asked": 6}
    assert is_finished(config, record), "also where its driver could not say so"
    conclude(trials)
    record = read_study(bench.path)
    assert is_finished(config, record) and record.left == []
    trials.ledger.append("started", trial=3, attempt=1)
    record = read_study(bench.path)
    assert not is_finished(config, record), "what has begun is brought to its end"
    assert [t.number for t in unfinished(config, record)] == [3]


def test_patience_that_was_lost_is_lost_for_good(bench: Bench) -> None:
    config = study(trials=30, patience=2)
    trials = bench.open(config)
    asked = [trials.ask() for _ in range(5)]
    for proposal, score in zip(asked, (0.5, 0.5, 0.5, 0.5, 0.9), strict=True):
        assert proposal is not None
        trials.report(proposal.number, 1, evaluation(10, score, final=True))
        if proposal.number == 4:  # the last to run betters them all, once no other is handed out
            assert trials.ask() is None
        trials.finish(proposal.number)
    conclude(trials)
    for _ in range(2):
        record = read_study(bench.path)
        assert record.stopped == "no improvement over 2 trials, search.patience is 2" and is_finished(config, record)
        assert bench.open(config).ask() is None
    record.apply({"event": "asked", "time": 0.0, "trial": 9, "phase": "confirm", "kind": "winner", "point": {}})
    assert record.spent, "a confirmation is another phase"
    record.trials[4].state = "FAIL"
    record.apply({"event": "retried", "time": 0.0, "trial": 4, "attempt": 2, "fresh": True})
    assert record.stopped is None and not record.spent


def conclude(trials: Trials) -> None:
    """As its driver does at the end."""
    trials.ledger.append("stopped", cause=trials.stopped, spent=trials.spent)


def test_a_point_that_makes_no_trial_fails_without_a_worker(bench: Bench) -> None:
    # No single value is wrong, but a budget of steps and one of epochs together are.
    space = {"training.budget.epochs": {"type": "float", "low": 1.0, "high": 2.0}}
    trial = {"training": {"budget": {"steps": 5}}}
    trials = bench.open(study(space=space, trials=3, trial=trial))
    proposal = trials.ask()
    assert proposal is not None and proposal.number == 0
    assert trials.ask() is None
    ends = bench.events("finished")
    assert [e["trial"] for e in ends] == [1, 2] and all("exactly one of" in e["error"] for e in ends)


def test_pruned_trials_are_told_to_stop_and_marked_so(bench: Bench) -> None:
    trials = bench.open(study(sampler="random", pruner="median", trials=20))
    trained = run(trials, SIMULATED)
    states = Counter(t.state for t in read_study(bench.path).trials.values())
    assert states["PRUNED"] > 3 and sum(states.values()) == 20
    assert trained < 20 * 50
    assert read_study(bench.path).trials[0].state == "COMPLETE", "the baseline is never stopped"


@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_a_verdict_lost_in_a_crash_is_given_again_on_replay(bench: Bench, pruner: str) -> None:
    config = study(pruner=pruner, trials=20)
    trials = bench.open(config)
    for score in (0.9, 0.8, 0.9, 0.8, 0.9, 0.8):
        proposal = trials.ask()
        assert proposal is not None
        trials.report(proposal.number, 1, evaluation(10, score))
        trials.report(proposal.number, 1, evaluation(20, score, final=True))
        trials.finish(proposal.number)
    bad = trials.ask()
    assert bad is not None
    trials.started(bad.number, 1)
    assert trials.report(bad.number, 1, evaluation(10, 0.1)) == "stop"
    trials = bench.open(config)  # the driver died before anybody heard the verdict
    again = trials.ask()
    assert again is not None and (again.number, again.attempt) == (bad.number, 2)
    assert trials.report(again.number, 2, evaluation(10, 0.1)) == "stop"
    assert trials.finish(again.number, 2) == "PRUNED"
    assert len(bench.events("report")) == 6 * 2 + 1


def test_a_final_evaluation_is_never_pruned_away(bench: Bench) -> None:
    trials = bench.open(study(pruner="median", trials=20))
    for number in range(8):
        trials.ask()
        assert trials.report(number, 1, evaluation(20, 0.9 if number < 7 else 0.1, final=True)) == "continue"
        assert trials.finish(number) == "COMPLETE"


@pytest.mark.parametrize("sampler", ["grid", "latin_hypercube", "sobol"])
def test_designs_are_in_the_ledger_before_the_first_trial(bench: Bench, sampler: str) -> None:
    levels = {"perturbation.epsilon": [0.1, 0.2, 0.4]} if sampler == "grid" else {}
    config = study(mode="design", sampler=sampler, trials=14, replicates=2, levels=levels)
    bench.open(config)
    asked = bench.events("asked")
    assert len(asked) == (20 if sampler == "grid" else 14) and bench.events("started") == []
    assert [e["kind"] for e in asked[:3]] == ["baseline", "baseline", "design"]
    seeds = [e["point"]["training.seed"] for e in asked]
    assert seeds[0::2] == [0] * (len(asked) // 2) and len(set(seeds)) == 2
    points = [{k: v for k, v in e["point"].items() if k != "training.seed"} for e in asked]
    assert points[0::2] == points[1::2], "each point under each seed"
    if sampler == "grid":
        grid = {(p["perturbation.epsilon"], p["perturbation.ascent_steps"]) for p in points[2:]}
        assert grid == {(e, k) for e in (0.1, 0.2, 0.4) for k in (1, 2, 3)}


def test_a_design_cut_off_while_it_was_written_is_completed(bench: Bench, tmp_path: Path) -> None:
    config = study(mode="design", sampler="sobol", trials=9)
    bench.open(config)
    promised = [e["point"] for e in bench.events("asked")]
    bench.close()
    lines = bench.path.read_bytes().splitlines(keepends=True)
    bench.path.write_bytes(b"".join(lines[:5]))
    run(bench.open(config), SIMULATED)
    assert [e["point"] for e in bench.events("asked")] == promised


def test_a_design_that_is_not_the_ledgers_is_refused(bench: Bench) -> None:
    bench.open(study(mode="design", sampler="sobol", trials=9))
    with pytest.raises(UserError, match="trial 1"):
        bench.open(study(mode="design", sampler="latin_hypercube", trials=9))
    with pytest.raises(UserError, match="trial 5"):
        bench.open(study(mode="design", sampler="sobol", trials=5))
    with pytest.raises(UserError, match="trial 1"):
        bench.open(study(space=None))


def test_a_control_that_is_no_longer_tuned_is_refused(bench: Bench) -> None:
    run(bench.open(study({"tune_controls": True}, space="optimiser")), SIMULATED)
    with pytest.raises(UserError, match="the ledger has control trials, this configuration has none"):
        bench.open(study(space="optimiser"))


def test_a_sobol_design_can_be_extended(bench: Bench) -> None:
    bench.open(study(mode="design", sampler="sobol", trials=5))
    first = [e["point"] for e in bench.events("asked")]
    bench.open(study(mode="design", sampler="sobol", trials=9))
    assert [e["point"] for e in bench.events("asked")][:5] == first and len(bench.events("asked")) == 9


def test_enqueued_points_come_first_and_are_completed_by_the_sampler(bench: Bench) -> None:
    enqueue = [{"perturbation.epsilon": 0.5}, {"perturbation.epsilon": 0.4, "training.learning_rate": 1e-4}]
    trials = bench.open(study(enqueue=enqueue))
    proposals = [trials.ask() for _ in range(4)]
    assert [p.kind for p in proposals if p] == ["baseline", "enqueued", "enqueued", "sampled"]
    assert proposals[1] and proposals[1].trial.perturbation.epsilon == 0.5
    assert proposals[1].trial.perturbation.ascent_steps in (1, 2, 3)
    assert proposals[2] and proposals[2].trial.training.learning_rate == 1e-4


def test_control_b_gets_a_search_of_equal_size_without_the_perturbation(bench: Bench) -> None:
    trials = bench.open(study({"tune_controls": True}, space="optimiser", sampler="tpe"))
    assert trials.remaining == 6 + 5
    run(trials, SIMULATED, concurrent=2)
    control = [t for t in read_study(bench.path).trials.values() if t.control == "b"]
    assert len(control) == 5 and {t.kind for t in control} == {"control"}
    for trial in control:
        assert trial.point["perturbation.method"] == trial.point["augmentation.method"] == "none"
        assert set(trial.distributions) == {"training.learning_rate", "training.weight_decay"}


def test_where_nothing_else_is_searched_there_is_no_control_b(bench: Bench) -> None:
    assert bench.open(study({"tune_controls": True})).remaining == 6


def test_confirm_is_a_fixed_design_in_the_same_ledger(bench: Bench) -> None:
    run(bench.open(study()), SIMULATED)
    plan = [
        Planned({"training.seed": 2**30 + seed, **point}, kind, control, {"configuration": kind})
        for seed in range(3)
        for kind, control, point in (("winner", None, {"perturbation.epsilon": 0.3}), ("control", "a", {}))
    ]
    trials = bench.open(study(), plan)
    assert trials.final_split == "test"
    while (proposal := trials.ask()) is not None:
        for split in ("validation", "test"):
            scores = {"accuracy": LanguageScores({"en": 0.5}, {"en": 9})}
            final = Evaluation(50, split, scores, final=True)  # type: ignore[arg-type]
            assert trials.report(proposal.number, proposal.attempt, final) == "continue"
        assert trials.finish(proposal.number) == "COMPLETE"
        trials = bench.open(study(), plan)
    record = read_study(bench.path)
    confirmed = [t for t in record.trials.values() if t.phase == "confirm"]
    assert [t.number for t in confirmed] == list(range(6, 12))
    assert [t.control for t in confirmed] == [None, "a"] * 3
    assert [t.point for t in confirmed] == [p.point for p in plan]
    assert all(len(t.reports) == 2 for t in confirmed)
    assert bench.open(study()).remaining == 0, "the phases do not mix"


FEW = {
    "perturbation.ascent_steps": [1, 2],
    "perturbation.norm": ["l2", "linf"],
    "perturbation.epsilon": [0.1, 0.2, 0.3, 0.4],
}


@pytest.mark.parametrize(
    ("search", "history"),
    [
        ({"sampler": "tpe", "trials": 16}, 1000),
        ({"sampler": "tpe", "trials": 24}, 8),
        ({"sampler": "tpe", "trials": 16, "space": FEW}, 8),
        ({"pruner": "successive_halving", "trials": 24}, 1000),
        ({"pruner": "hyperband", "trials": 24}, 1000),
    ],
    ids=["short", "bounded", "points drawn twice", "halving", "hyperband"],
)
def test_given_the_same_history_drivers_propose_and_stop_alike(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any], history: int
) -> None:
    monkeypatch.setattr("study.proposals.search.HISTORY", {"tpe": history})
    config = study(trial={"training": {"budget": {"steps": 50}}}, **search)
    run(bench.open(config), SIMULATED)
    other = Bench(tmp_path / "other")
    for _ in range(config.search.trials):  # a new driver for every trial
        trials = other.open(config)
        proposal = trials.ask()
        assert proposal is not None
        for each in SIMULATED.evaluations(proposal.trial):
            if trials.report(proposal.number, proposal.attempt, each) == "stop":
                break
        trials.finish(proposal.number)
    other.close()
    here, there = ([(t.state, t.point) for t in read_study(b.path).trials.values()] for b in (bench, other))
    assert there == here
    assert ("PRUNED" in {state for state, _ in here}) == ("pruner" in search)


@pytest.mark.parametrize(
    "search",
    [
        {"sampler": "tpe", "pruner": "median"},
        {"sampler": "tpe", "space": "methods", "pruner": "hyperband"},
        {"sampler": "random", "pruner": "successive_halving"},
        {"sampler": "nsga2", "objectives": [
            {"reduce": "source"}, {"reduce": "cost:forward_equivalents", "direction": "minimize"}]},
        {"sampler": "tpe", "objectives": [{"reduce": "source"}, {"reduce": "source", "threshold": 0.7}]},
    ],
    ids=["median", "conditional", "halving", "two objectives", "constraint"],
)  # fmt: skip
def test_optuna_rebuilt_from_the_ledger_equals_the_living_one(bench: Bench, search: dict[str, Any]) -> None:
    config = study(trials=18, **search)
    trials = bench.open(config)
    run(trials, SIMULATED, concurrent=3)
    # A failed one in the living study is a point that was drawn a second time, and never proposed.
    living = [t for t in sampler_trials(searches(trials)[0]) if t.state.name != "FAIL"]
    rebuilt = sampler_trials(searches(bench.open(config))[0])
    assert len(living) == len(rebuilt) == 17
    for mine, other in zip(living, rebuilt, strict=True):
        assert (mine.state, mine.values, mine.params, mine.distributions) == (
            other.state,
            other.values,
            other.params,
            other.distributions,
        )
        assert mine.intermediate_values == other.intermediate_values
        assert mine.constraints == other.constraints


def test_running_trials_are_running_in_the_rebuilt_optuna_study(bench: Bench) -> None:
    trials = bench.open(study(sampler="tpe"))
    for _ in range(3):
        trials.ask()
    rebuilt = sampler_trials(searches(bench.open(study(sampler="tpe")))[0])
    assert [t.state.name for t in rebuilt] == ["RUNNING", "RUNNING"]


def test_parallel_asks_do_not_repeat_points(bench: Bench) -> None:
    space = {"perturbation.ascent_steps": [1, 2, 3], "perturbation.norm": ["l2", "linf"]}
    trials = bench.open(study(space=space, trials=7, sampler="tpe"))
    points = [tuple(sorted(p.point.items())) for p in iter(trials.ask, None)]
    assert len(points) == len(set(points)) == 7


def test_a_long_history_is_bounded_for_the_sampler(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.proposals.search.HISTORY", {"tpe": 20})
    trials = bench.open(study(sampler="tpe", trials=80, pruner="median"))
    run(trials, SIMULATED, concurrent=3)
    known = sampler_trials(searches(trials)[0])
    assert len(known) <= 25 and all(t.state.is_finished() for t in known)
    values = {
        n: feedback_of(trials.config, t).values for n, t in read_study(bench.path).trials.items() if t.kind == "sampled"
    }
    best = max(v[0] for v in values.values() if v)
    assert max(t.values[0] for t in known if t.state.name == "COMPLETE") == best
    rebuilt = bench.open(trials.config)
    assert rebuilt.remaining == 0


def test_the_pruner_reads_only_what_the_rule_allows(bench: Bench) -> None:
    """Targets that collapse stop nothing under source_validation."""
    trials = bench.open(study(pruner="median", trials=20))
    for number in range(12):
        trials.ask()
        good = number < 8
        scores = {"accuracy": LanguageScores({"en": 0.8, "de": 0.8 if good else 0.0}, {"en": 9, "de": 9})}
        assert trials.report(number, 1, Evaluation(10, "validation", scores)) == "continue"
        trials.report(number, 1, Evaluation(20, "validation", scores, final=True))
        assert trials.finish(number) == "COMPLETE"


def test_the_checkpoint_that_is_kept_gives_the_objective(bench: Bench) -> None:
    trial = {"evaluation": {"every": 10, "checkpoint": "best_source_validation"}}
    config = study(trial=trial)
    trials = bench.open(config)
    trials.ask()
    for step, score in ((10, 0.4), (20, 0.9), (30, 0.9)):  # the best one is scored again at the end
        trials.report(0, 1, evaluation(step, score, final=step == 30))
    trials.finish(0)
    assert feedback_of(config, read_study(bench.path).trials[0]).values == (0.9,)
