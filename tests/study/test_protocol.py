"""The protocol: what a rule lets through, reserved seeds, controls, and who is rank 1."""

from __future__ import annotations

from typing import Any

import pytest

from study import objectives, protocol
from study.config import StudyConfig
from study.record import StudyRecord
from trainables.config import Budget, TrialConfig
from trainables.loading import UserError, apply_point, validate
from trainables.scores import Evaluation, LanguageScores

LANGUAGES = ("en", "de", "fr", "it", "sw", "yo", "te")


def study(protocol: dict[str, Any] | None = None, **other: Any) -> StudyConfig:
    trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
    return validate(StudyConfig, {"name": "x", "trial": trial, "protocol": protocol or {}, **other})


def problems(protocol_block: dict[str, Any], *objectives: dict[str, Any], known: bool = True) -> str:
    config = study(protocol_block, search={"objectives": list(objectives)} if objectives else {})
    return "\n".join(protocol.problems(config, *((LANGUAGES, LANGUAGES) if known else ())))


def evaluation(scores: dict[str, float], step: int = 10, final: bool = True, **training: float) -> Evaluation:
    languages = LanguageScores(scores, dict.fromkeys(scores, 20))
    cost = {"forward_equivalents": 100.0}
    return Evaluation(step, "validation", {"accuracy": languages}, training, cost, final)


PIVOTS = {"selection": "pivot_validation", "pivots": ["de", "fr", "it"]}


@pytest.mark.parametrize(
    ("rule", "seen"),
    [
        ({"selection": "source_validation"}, {"en"}),
        (PIVOTS, {"en", "de", "fr", "it"}),
        ({"selection": "target_validation"}, set(LANGUAGES)),
    ],
)
def test_a_rule_sees_its_own_languages_and_no_other(rule: dict[str, Any], seen: set[str]) -> None:
    full = Evaluation(
        10,
        "validation",
        {m: LanguageScores(dict.fromkeys(LANGUAGES, 0.5), dict.fromkeys(LANGUAGES, 9)) for m in ("accuracy", "f1")},
    )
    limited = protocol.visible(full, study(rule))
    assert {m: set(s.languages) for m, s in limited.scores.items()} == {"accuracy": seen, "f1": seen}
    assert limited.step == full.step


@pytest.mark.parametrize(
    ("rule", "objective", "complaint"),
    [
        ({}, {"reduce": "selection_mean"}, ""),
        ({}, {"reduce": "source"}, ""),
        ({}, {"reduce": "cost:forward_equivalents", "direction": "minimize"}, ""),
        ({}, {"reduce": "target_mean"}, "does not allow to select by labels of all target languages"),
        ({}, {"reduce": "low_resource_mean"}, "does not allow"),
        ({}, {"reduce": "language:sw"}, "labels of sw"),
        (PIVOTS, {"reduce": "language:de"}, ""),
        (PIVOTS, {"reduce": "language:sw"}, "labels of sw"),
        (PIVOTS, {"reduce": "worst_language"}, "does not allow"),
        (PIVOTS, {"reduce": "selection_worst"}, ""),
        ({**PIVOTS, "groups": {"g": ["de", "fr", "it"]}}, {"reduce": "group:g"}, ""),
        ({**PIVOTS, "groups": {"g": ["de", "fr", "sw"]}}, {"reduce": "group:g"}, "labels of sw"),
        ({"selection": "target_validation"}, {"reduce": "low_resource_mean"}, ""),
        ({"selection": "target_validation", "groups": {"g": ["de", "fr"]}}, {"reduce": "group:g"}, "needs 3 languages"),
        ({"selection": "target_validation"}, {"reduce": "group:script:Arab"}, "none of its languages"),
        ({"selection": "target_validation"}, {"reduce": "transfer_gap"}, "to be minimized"),
        ({"selection": "target_validation"}, {"reduce": "transfer_gap", "direction": "minimize"}, "needs a floor"),
    ],
)
def test_objectives_that_a_rule_allows_or_not(rule: dict[str, Any], objective: dict[str, Any], complaint: str) -> None:
    found = problems(rule, objective)
    assert (complaint in found) if complaint else found == ""


def test_a_gap_beside_a_floor_is_an_objective() -> None:
    gap = {"reduce": "transfer_gap", "direction": "minimize"}
    rule = {"selection": "target_validation"}
    assert problems(rule, gap, {"reduce": "source", "threshold": 0.6}) == ""
    assert "needs a floor" in problems(rule, gap, {"reduce": "cost:train_seconds", "direction": "minimize"})


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"selection": "pivot_validation"}, "protocol.pivots: pivot_validation needs"),
        ({"selection": "pivot_validation", "pivots": ["en"]}, "protocol.pivots: pivot_validation needs"),
        ({"selection": "pivot_validation", "pivots": ["xx"]}, "must be languages with a validation split (got 'xx')"),
        ({"pivots": ["de"]}, "only pivot_validation has pivots"),
        ({"groups": {"g": ["de", "xx"]}}, "protocol.groups.g"),
        ({"primary_endpoint": "low_resource"}, "did you mean 'low_resource_mean'"),
        ({"primary_endpoint": "cost:train_seconds"}, "must be a reduction of scores"),
        ({"primary_endpoint": "group:g", "groups": {"g": ["de", "fr"]}}, "needs 3 languages"),
    ],
)
def test_protocols_that_make_no_sense(rule: dict[str, Any], complaint: str) -> None:
    assert complaint in problems(rule)


def test_what_is_claimed_is_about_the_languages_of_the_test_split() -> None:
    """Tasks such as XQuAD validate on the source alone, and test all languages."""
    config = study({"primary_endpoint": "target_mean"})
    assert protocol.problems(config, ["en"], LANGUAGES) == []
    assert protocol.problems(config, LANGUAGES, ["en"]) == [
        "protocol.primary_endpoint: none of its languages is evaluated (got 'target_mean')"
    ]
    pivots = study({**PIVOTS, "primary_endpoint": "target_mean"})
    assert len(protocol.problems(pivots, ["en"], LANGUAGES)) == 4, "three pivots, and what selects by them"


def test_codes_may_be_spelt_as_data_sets_spell_them() -> None:
    task = {"task": {"source_language": "eng", "target_languages": "all"}}
    rule = {"selection": "pivot_validation", "pivots": ["swh", "deu"], "groups": {"g": ["swh", "deu", "fra"]}}
    config = study(rule, trial=task, search={"objectives": [{"reduce": "selection_mean"}]})
    assert protocol.problems(config, LANGUAGES, LANGUAGES) == []
    scores = {"en": 0.9, "de": 0.6, "fr": 0.3, "sw": 0.4}
    seen = protocol.visible(evaluation(scores), config)
    assert set(seen.primary.languages) == {"en", "de", "sw"}
    found = objectives.summary(evaluation(scores), config)
    assert (found["source"], found["selection_mean"]) == (0.9, 0.5)
    assert found["group:g"] == found["target_mean"] == pytest.approx((0.6 + 0.3 + 0.4) / 3)
    assert objectives.reduce("language:swh", evaluation(scores), config) == 0.4


def test_the_kept_checkpoint_needs_comparable_evaluations() -> None:
    trial = {"evaluation": {"checkpoint": "best_source_validation", "intermediate_examples_per_language": 5}}
    found = protocol.problems(study(trial=trial))
    assert len(found) == 2 and all("best_source_validation" in line for line in found)


def test_reserved_seeds_are_never_those_of_run() -> None:
    config = study({"confirm_seeds": 50}, search={"mode": "design", "replicates": 50})
    run, confirm = protocol.run_seeds(config), protocol.confirm_seeds(config)
    assert len(set(run)) == len(set(confirm)) == 50
    assert run[0] == config.trial.training.seed
    assert max(run) < protocol.RESERVED_SEEDS <= min(confirm) and max(confirm) < 2**31
    seeds = {"trial": {"training": {"seed": protocol.RESERVED_SEEDS}}}
    assert "trial.training.seed" in protocol.problems(study(**seeds))[0]


def test_the_hash_knows_the_protocol_and_nothing_else() -> None:
    base = protocol.protocol_hash(study())
    assert base == protocol.protocol_hash(study(question="other", search={"trials": 99}))
    for other in (
        study({"selection": "target_validation"}),
        study({"primary_endpoint": "worst_language"}),
        study(search={"objectives": [{"reduce": "source"}]}),
        study(search={"pruner": "median"}),
        study(trial={"evaluation": {"checkpoint": "best_source_validation"}}),
    ):
        assert protocol.protocol_hash(other) != base


def test_difference_is_the_inverse_of_laying_a_point_over() -> None:
    base = TrialConfig()
    point = {
        "perturbation.epsilon": 0.3,
        "training.budget": {"steps": None, "epochs": None, "forward_equivalents": 50.0},
        "evaluation.attack.epsilon": [0.1, 0.2],
        "task.target_languages": ["de", "sw"],
    }
    other = apply_point(base, point)
    assert apply_point(base, protocol.difference(base, other)) == other
    assert protocol.difference(base, base) == {}


def test_a_result_is_the_evaluation_of_one_checkpoint() -> None:
    rising = [evaluation({"en": s}, step, step == 30) for step, s in ((10, 0.5), (20, 0.8), (30, 0.7))]
    last = TrialConfig()
    best = apply_point(last, {"evaluation.checkpoint": "best_source_validation"})
    assert protocol.result(rising, last) is rising[2]
    assert protocol.result(rising, best) is rising[1]
    assert protocol.result(rising[:2], best) is None, "without a final evaluation there is no result"


# Controls and choice


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
            data = evaluation(scores, perturbation_norm_relative=0.25).to_json()
            self.record.apply({"event": "report", "step": 10, "evaluation": data, **fields})
        outcome = "COMPLETE" if scores is not None else "FAIL"
        self.record.apply({"event": "finished", "outcome": outcome, "error": None, **fields})
        return number


def flat(score: float, **other: float) -> dict[str, float]:
    return {**dict.fromkeys(LANGUAGES, score), **other}


def test_rank_one_is_the_best_allowed_score_other_than_the_baseline() -> None:
    studied = Ledgered()
    studied.add(protocol.BASELINE, flat(0.9), kind="baseline")
    studied.add({"perturbation.epsilon": 0.1}, flat(0.5, sw=1.0, yo=1.0))
    best = studied.add({"perturbation.epsilon": 0.2}, flat(0.7, sw=0.0))
    studied.add({"perturbation.epsilon": 0.3}, None)
    studied.add({"training.learning_rate": 1e-3, **protocol.BASELINE}, flat(0.99), kind="control", control="b")
    choice = protocol.choose(study(PIVOTS), studied.record)
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
    ranked = protocol.ranking(config, studied.record)
    assert [(r.point, round(r.value, 6)) for r in ranked] == [
        ({"perturbation.epsilon": 0.2}, 0.7),
        ({"perturbation.epsilon": 0.1}, 0.6),
    ]


def test_constraints_and_direction_decide_before_the_value() -> None:
    studied = Ledgered()
    studied.add({"perturbation.epsilon": 0.1}, flat(0.9, en=0.4))
    feasible = studied.add({"perturbation.epsilon": 0.2}, flat(0.6, en=0.8))
    floor = {"objectives": [{"reduce": "source", "threshold": 0.5}, {"reduce": "selection_mean"}]}
    assert protocol.choose(study(PIVOTS, search=floor), studied.record).winner.numbers == (feasible,)
    least = {"objectives": [{"reduce": "selection_mean", "direction": "minimize"}]}
    assert protocol.choose(study(PIVOTS, search=least), studied.record).winner.numbers == (feasible,)
    with pytest.raises(UserError, match="no trial beside the baseline"):
        protocol.choose(study(PIVOTS), StudyRecord())


def test_standard_controls() -> None:
    studied = Ledgered()
    studied.add(protocol.BASELINE, flat(0.5), kind="baseline")
    studied.add({"perturbation.epsilon": 0.2, "training.learning_rate": 1e-4}, flat(0.7))
    config = study(PIVOTS)
    winner = protocol.choose(config, studied.record).winner
    found = protocol.controls(config, studied.record, winner)
    assert set(found) == {"a", "c", "d"}, "control (b) needs a search of its own"
    assert found["a"] == apply_point(config.trial, protocol.BASELINE)
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
    noisy = protocol.Ranked({"perturbation.method": "random_perturbation"}, winner.numbers, winner.value)
    assert set(protocol.controls(config, studied.record, noisy)) == {"a", "c"}, "noise is no control of noise"

    for rate, score in ((1e-5, 0.5), (3e-5, 0.6)):
        studied.add({**protocol.BASELINE, "training.learning_rate": rate}, flat(score), kind="control", control="b")
    tuned = protocol.controls(config, studied.record, winner)["b"]
    assert tuned.training.learning_rate == 3e-5 and tuned.perturbation.method == "none"
