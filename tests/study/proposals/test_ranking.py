"""The standard controls, and who is rank 1."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from study.proposals import ranking
from study.question import rules
from study.question.config import StudyConfig
from study.record.record import Report, StudyRecord
from tests.study.question.test_rules import LANGUAGES, PIVOTS, evaluation, study
from trainables.config import Budget
from trainables.errors import UserError
from trainables.loading import apply_point, validate


class Ledgered:
    """A record built trial by trial."""

    def __init__(self) -> None:
        self.record = StudyRecord()
        self.number = 0

    def add(
        self, point: dict[str, Any], scores: dict[str, float] | None, kind: str = "sampled", control: str | None = None
    ) -> int:
        number, self.number = self.number, self.number + 1
        fields = {"time": 1.0, "epoch": 1, "trial": number, "attempt": 1}
        self.record.apply(
            {"event": "asked", "phase": "run", "kind": kind, "control": control, "point": point, **fields}
        )
        self.record.apply({"event": "started", **fields})
        if scores is not None:
            data = evaluation(scores, relative_norm=0.25).to_json()
            self.record.apply({"event": "report", "step": 10, "evaluation": data, **fields})
        outcome = "COMPLETE" if scores is not None else "FAIL"
        self.record.apply({"event": "finished", "outcome": outcome, "error": None, **fields})
        return number


def flat(score: float, **other: float) -> dict[str, float]:
    return {**dict.fromkeys(LANGUAGES, score), **other}


def test_rank_one_is_the_best_allowed_score_other_than_the_baseline() -> None:
    studied = Ledgered()
    studied.add(rules.BASELINE, flat(0.9), kind="baseline")
    studied.add({"perturbation.epsilon": 0.1}, flat(0.5, sw=1.0, yo=1.0))
    best = studied.add({"perturbation.epsilon": 0.2}, flat(0.7, sw=0.0))
    studied.add({"perturbation.epsilon": 0.3}, None)
    studied.add({"training.learning_rate": 1e-3, **rules.BASELINE}, flat(0.99), kind="control", control="b")
    choice = ranking.choose(study(PIVOTS), studied.record)
    assert choice.winner.numbers == (best,) and choice.winner.value == pytest.approx(0.7)
    assert [r.point for r in choice.runners_up] == [{"perturbation.epsilon": 0.1}]
    assert choice.baseline == pytest.approx(0.9) and choice.baseline_ranks_higher


def test_replicates_are_averaged_and_a_failed_one_disqualifies() -> None:
    studied = Ledgered()
    for epsilon, values in ((0.1, (0.9, 0.3)), (0.2, (0.7, 0.7)), (0.3, (0.95, None))):
        for seed, score in enumerate(values):
            point = {"perturbation.epsilon": epsilon, "training.seed": seed}
            studied.add(point, flat(score) if score is not None else None, kind="design")
    config = study(PIVOTS, search={"mode": "design", "sampler": "sobol", "space": "adversarial", "replicates": 2})
    ranked = ranking.ranking(config, studied.record)
    assert [(r.point, round(r.value, 6)) for r in ranked] == [
        ({"perturbation.epsilon": 0.2}, 0.7),
        ({"perturbation.epsilon": 0.1}, 0.6),
    ]


def test_constraints_and_direction_decide_before_the_value() -> None:
    studied = Ledgered()
    studied.add({"perturbation.epsilon": 0.1}, flat(0.9, en=0.4))
    feasible = studied.add({"perturbation.epsilon": 0.2}, flat(0.6, en=0.8))
    floor = {"objectives": [{"reduce": "source", "threshold": 0.5}, {"reduce": "selection_mean"}]}
    assert ranking.choose(study(PIVOTS, search=floor), studied.record).winner.numbers == (feasible,)
    least = {"objectives": [{"reduce": "selection_mean", "direction": "minimize"}]}
    assert ranking.choose(study(PIVOTS, search=least), studied.record).winner.numbers == (feasible,)
    with pytest.raises(UserError, match="no trial beside the baseline"):
        ranking.choose(study(PIVOTS), StudyRecord())


def test_control_c_costs_what_the_winner_took_to_its_end() -> None:
    """Not what its best checkpoint had cost by then: the search for that one is part of the method."""
    config = study(PIVOTS, trial={"perturbation": {"method": "adversarial"},
                                  "evaluation": {"every": 30, "checkpoint": "best_source_validation"}})  # fmt: skip
    studied = Ledgered()
    number = studied.add({"perturbation.epsilon": 0.2}, None)
    trial = studied.record.trials[number]
    reports = []
    for step, score in ((30, 0.9), (60, 0.7), (90, 0.9)):
        found = replace(evaluation(flat(score), step, step == 90), cost={"forward_equivalents": 3.0 * step})
        reports.append(Report(1, step, "validation", 1.0, json.dumps(found.to_json()).encode()))
    trial.reports, trial.state = reports, "COMPLETE"
    winner = ranking.choose(config, studied.record).winner
    control = ranking.controls(config, studied.record, winner)["c"]
    assert control.training.budget == Budget(forward_equivalents=270.0)


@pytest.mark.parametrize("searched", [True, False])
def test_alignment_is_a_treatment_where_it_is_searched_and_else_a_setting(searched: bool) -> None:
    aligned = {"alignment.objective": "word_l2", "alignment.pairs": "pairs"}
    space = {"perturbation.epsilon": [0.1, 0.2], **({"alignment.objective": ["none", "word_l2"]} if searched else {})}
    base = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
    trial = {**base, "alignment": {"pairs": "pairs", "objective": "none" if searched else "word_l2"}}
    config = validate(StudyConfig, {"name": "x", "trial": trial, "protocol": PIVOTS, "search": {"space": space}})
    studied, objective = Ledgered(), "none" if searched else "word_l2"
    baseline = rules.baselines(config)[0]
    assert apply_point(config.trial, baseline).alignment.objective == objective
    studied.add(baseline, flat(0.5), kind="baseline")
    studied.add({"perturbation.epsilon": 0.2, **aligned}, flat(0.7))
    winner = ranking.choose(config, studied.record).winner
    found = ranking.controls(config, studied.record, winner)
    assert {letter: found[letter].alignment.objective for letter in "acd"} == {
        "a": objective, "c": objective, "d": "word_l2",
    }  # fmt: skip


@pytest.mark.parametrize("searched", [True, False])
def test_syntax_is_a_treatment_where_it_is_searched_and_else_a_setting(searched: bool) -> None:
    space = {"perturbation.epsilon": [0.1, 0.2], **({"syntax.kind": ["none", "augmented"]} if searched else {})}
    trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
    trial["syntax"] = {"delta": 2, "kind": "none" if searched else "augmented"}
    config = validate(StudyConfig, {"name": "x", "trial": trial, "protocol": PIVOTS, "search": {"space": space}})
    studied, kind = Ledgered(), "none" if searched else "augmented"
    baseline = rules.baselines(config)[0]
    assert apply_point(config.trial, baseline).syntax.kind == kind
    studied.add(baseline, flat(0.5), kind="baseline")
    studied.add({"perturbation.epsilon": 0.2, "syntax.kind": "augmented"}, flat(0.7))
    winner = ranking.choose(config, studied.record).winner
    found = ranking.controls(config, studied.record, winner)
    assert (found["a"].syntax.kind, found["d"].syntax.kind) == (kind, "augmented")


def test_standard_controls() -> None:
    studied = Ledgered()
    studied.add(rules.BASELINE, flat(0.5), kind="baseline")
    studied.add({"perturbation.epsilon": 0.2, "training.learning_rate": 1e-4}, flat(0.7))
    config = study(PIVOTS)
    winner = ranking.choose(config, studied.record).winner
    found = ranking.controls(config, studied.record, winner)
    assert set(found) == {"a", "c", "d"}, "control (b) needs a search of its own"
    assert found["a"] == apply_point(config.trial, rules.BASELINE)
    assert found["c"].perturbation.method == "none" and found["c"].training.learning_rate == 1e-4
    assert found["c"].training.budget == Budget(forward_equivalents=100.0)
    noise = found["d"].perturbation
    assert (noise.method, noise.distribution, noise.relative, noise.sigma) == (
        "random_perturbation",
        "gaussian",
        True,
        0.25,
    )
    assert found["d"].training.learning_rate == 1e-4
    noisy = ranking.Ranked({"perturbation.method": "random_perturbation"}, winner.numbers, winner.value)
    assert set(ranking.controls(config, studied.record, noisy)) == {"a", "c"}, "noise is no control of noise"

    moved = ranking.Ranked({"perturbation.method": "adversarial+sam"}, winner.numbers, winner.value)
    assert ranking.controls(config, studied.record, moved)["d"].perturbation.method == "random_perturbation+sam"

    for rate, score in ((1e-5, 0.5), (3e-5, 0.6)):
        studied.add({**rules.BASELINE, "training.learning_rate": rate}, flat(score), kind="control", control="b")
    tuned = ranking.controls(config, studied.record, winner)["b"]
    assert tuned.training.learning_rate == 3e-5 and tuned.perturbation.method == "none"


def test_a_winner_is_compared_with_its_own_encoder() -> None:
    """By its baseline, and by every control: a gain over another encoder is no gain of robustness."""
    name = "encoder.name_or_path"
    space = {name: ["a/weak", "b/strong"], "training.learning_rate": [1e-5, 2e-5], "perturbation.epsilon": [0.1, 0.2]}
    config = study(PIVOTS, search={"space": space}, trial={"encoder": {"name_or_path": "a/weak"}})
    studied, off = Ledgered(), dict(rules.BASELINE)
    studied.add({name: "a/weak", **off}, flat(0.3), kind="baseline")
    strong = studied.add({name: "b/strong", **off}, flat(0.8), kind="baseline")
    studied.add({name: "a/weak", "perturbation.epsilon": 0.1, "training.learning_rate": 1e-5}, flat(0.5))
    best = studied.add({name: "b/strong", "perturbation.epsilon": 0.1, "training.learning_rate": 1e-5}, flat(0.7))
    studied.add({name: "a/weak", "training.learning_rate": 2e-5, **off}, flat(0.95), kind="control", control="b")
    studied.add({name: "b/strong", "training.learning_rate": 2e-5, **off}, flat(0.6), kind="control", control="b")
    choice = ranking.choose(config, studied.record)
    assert choice.winner.numbers == (best,)
    assert choice.baseline == pytest.approx(0.8) and choice.baseline_ranks_higher
    assert [t.number for t in ranking.baselines(config, studied.record, choice.winner.point)] == [strong]
    found = ranking.controls(config, studied.record, choice.winner)
    assert set(found) == set("abcd")
    assert {each.encoder.name_or_path for each in found.values()} == {"b/strong"}
    assert found["b"].training.learning_rate == 2e-5
