"""Selection rules: what each lets through and forbids, reserved seeds, and the protocol's hash."""

from __future__ import annotations

from typing import Any

import pytest

from study.question import objectives, rules, selection_problems
from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.loading import apply_point, validate
from trainables.scores import Evaluation, LanguageScores

LANGUAGES = ("en", "de", "fr", "it", "sw", "yo", "te")


def study(protocol: dict[str, Any] | None = None, **other: Any) -> StudyConfig:
    trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
    return validate(StudyConfig, {"name": "x", "trial": trial, "protocol": protocol or {}, **other})


def problems(protocol_block: dict[str, Any], *objectives: dict[str, Any], known: bool = True) -> str:
    config = study(protocol_block, search={"objectives": list(objectives)} if objectives else {})
    return "\n".join(selection_problems.problems(config, *((LANGUAGES, LANGUAGES) if known else ())))


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
    limited = rules.visible(full, study(rule))
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
        (
            {"selection": "target_validation"},
            {"reduce": "transfer_gap", "metric": "brier", "direction": "minimize"},
            "transfer_gap of brier is to be maximized",
        ),
        ({"selection": "target_validation"}, {"reduce": "transfer_gap", "metric": "brier"}, "needs a floor"),
        ({}, {"reduce": "source", "metric": "brier"}, "source of brier is to be minimized"),
        ({}, {"reduce": "source", "metric": "noise_calibration_error_character_0.1"}, "is to be minimized"),
        ({}, {"reduce": "source", "metric": "brier", "direction": "minimize"}, ""),
        ({}, {"reduce": "source", "metric": "attacked_success_words"}, "is to be minimized"),
    ],
)
def test_objectives_that_a_rule_allows_or_not(rule: dict[str, Any], objective: dict[str, Any], complaint: str) -> None:
    found = problems(rule, objective)
    assert (complaint in found) if complaint else found == ""


def test_a_gap_beside_a_floor_is_an_objective() -> None:
    gap = {"reduce": "transfer_gap", "direction": "minimize"}
    rule = {"selection": "target_validation"}
    assert problems(rule, gap, {"reduce": "source", "threshold": 0.6}) == ""
    wrong = {"reduce": "source", "metric": "brier", "direction": "minimize", "threshold": 0.3}
    assert problems(rule, {"reduce": "transfer_gap", "metric": "brier"}, wrong) == ""
    assert "needs a floor" in problems(rule, gap, {"reduce": "cost:train_seconds", "direction": "minimize"})


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"selection": "pivot_validation"}, "protocol.pivots: pivot_validation needs"),
        ({"selection": "pivot_validation", "pivots": ["en"]}, "protocol.pivots: pivot_validation needs"),
        ({"selection": "pivot_validation", "pivots": ["xx"]}, "must be languages with a validation split (got 'xx')"),
        (
            {"selection": "pivot_validation", "pivots": ["german", "xx", "French"]},
            "with a validation split, did you mean 'de', 'fr'? (got 'german', 'xx', 'French')",
        ),
        (
            {"groups": {"g": ["de", "german"]}},
            "must be languages the task evaluates, did you mean 'de'? (got 'german')",
        ),
        ({"primary_endpoint": "language:yoruba"}, "none of its languages is evaluated, did you mean 'yo'?"),
        ({"pivots": ["de"]}, "only pivot_validation has pivots, protocol.pivots=[] leaves"),
        ({"groups": {"g": ["de", "xx"]}}, "protocol.groups.g"),
        ({"primary_endpoint": "low_resource"}, "did you mean 'low_resource_mean'"),
        ({"primary_endpoint": "cost:train_seconds"}, "must be a reduction of scores"),
        ({"primary_endpoint": "group:g", "groups": {"g": ["de", "fr"]}}, "needs 3 languages"),
    ],
)
def test_protocols_that_make_no_sense(rule: dict[str, Any], complaint: str) -> None:
    assert complaint in problems(rule)


def test_a_rule_without_validation_in_the_source_is_named() -> None:
    config = study({"selection": "source_validation"}, search={"objectives": [{"reduce": "selection_mean"}]})
    (line,) = selection_problems.problems(config, ("de", "fr", "sw"), LANGUAGES)
    assert line.startswith(
        "protocol.selection: source_validation selects by the source language, in which the task has"
    )


def test_what_is_claimed_is_about_the_languages_of_the_test_split() -> None:
    """Tasks such as XQuAD validate on the source alone, and test all languages."""
    config = study({"primary_endpoint": "target_mean"})
    assert selection_problems.problems(config, ["en"], LANGUAGES) == []
    assert selection_problems.problems(config, LANGUAGES, ["en"]) == [
        "protocol.primary_endpoint: none of its languages is evaluated (got 'target_mean')"
    ]
    pivots = study({**PIVOTS, "primary_endpoint": "target_mean"})
    (line,) = selection_problems.problems(pivots, ["en"], LANGUAGES)  # of the pivots, and not of what selects by them
    assert line == "protocol.pivots: must be languages with a validation split (got 'de', 'fr', 'it')"
    beside = study({**PIVOTS, "primary_endpoint": "selection_mean"})
    assert selection_problems.problems(beside, LANGUAGES, ["en", "sw"]) == [
        "protocol.primary_endpoint: none of its languages is evaluated (got 'selection_mean')"
    ]


def test_pivots_that_are_no_targets_are_said_to_be_that_in_one_line() -> None:
    config = apply_point(study({**PIVOTS, "primary_endpoint": "source"}), {"trial.task.target_languages": ["de", "sw"]})
    assert selection_problems.problems(config, ["en", "de", "sw"], LANGUAGES) == [
        "protocol.pivots: must be among trial.task.target_languages, with a validation split (got 'fr', 'it')"
    ]


def test_a_rule_that_has_nothing_to_select_by_is_named_and_not_the_default_objective() -> None:
    config = study({"selection": "target_validation", "primary_endpoint": "source"})
    (line,) = selection_problems.problems(config, ["en"], LANGUAGES)
    assert line.startswith("protocol.selection: target_validation selects by target languages, of which none has")


def test_codes_may_be_spelt_as_data_sets_spell_them() -> None:
    task = {"task": {"source_language": "eng", "target_languages": "all"}}
    rule = {"selection": "pivot_validation", "pivots": ["swh", "deu"], "groups": {"g": ["swh", "deu", "fra"]}}
    config = study(rule, trial=task, search={"objectives": [{"reduce": "selection_mean"}]})
    assert selection_problems.problems(config, LANGUAGES, LANGUAGES) == []
    scores = {"en": 0.9, "de": 0.6, "fr": 0.3, "sw": 0.4}
    seen = rules.visible(evaluation(scores), config)
    assert set(seen.primary.languages) == {"en", "de", "sw"}
    found = objectives.summary(evaluation(scores), config)
    assert (found["source"], found["selection_mean"]) == (0.9, 0.5)
    assert found["group:g"] == found["target_mean"] == pytest.approx((0.6 + 0.3 + 0.4) / 3)
    assert objectives.reduce("language:swh", evaluation(scores), config) == 0.4


def test_the_kept_checkpoint_needs_comparable_evaluations() -> None:
    trial = {"evaluation": {"checkpoint": "best_source_validation", "intermediate_examples_per_language": 5}}
    found = selection_problems.problems(study(trial=trial))
    assert len(found) == 2 and all("best_source_validation" in line for line in found)
    (found,) = selection_problems.problems(study(trial={"evaluation": {"checkpoint": "average"}}))
    assert found == "trial.evaluation.checkpoint: average needs trial.evaluation.every (got none)"
    (found,) = selection_problems.problems(study(trial={"evaluation": {"average_last": 3}}))
    assert found.startswith("trial.evaluation.average_last: is of trial.evaluation.checkpoint average")


def test_reserved_seeds_are_never_those_of_run() -> None:
    config = study({"confirm_seeds": 50}, search={"mode": "design", "replicates": 50})
    run, confirm = rules.run_seeds(config), rules.confirm_seeds(config)
    assert len(set(run)) == len(set(confirm)) == 50
    assert run[0] == config.trial.training.seed
    assert max(run) < rules.RESERVED_SEEDS <= min(confirm) and max(confirm) < 2**31
    seeds = {"trial": {"training": {"seed": rules.RESERVED_SEEDS}}}
    assert "trial.training.seed" in selection_problems.problems(study(**seeds))[0]


def test_the_hash_knows_the_protocol_and_nothing_else() -> None:
    base = rules.protocol_hash(study())
    assert base == rules.protocol_hash(study(question="other", search={"trials": 99}))
    for other in (
        study({"selection": "target_validation"}),
        study({"primary_endpoint": "worst_language"}),
        study(search={"objectives": [{"reduce": "source"}]}),
        study(search={"pruner": "median"}),
        study(trial={"evaluation": {"checkpoint": "best_source_validation"}}),
    ):
        assert rules.protocol_hash(other) != base


def test_difference_is_the_inverse_of_laying_a_point_over() -> None:
    base = TrialConfig()
    point = {
        "perturbation.epsilon": 0.3,
        "training.budget": {"steps": None, "epochs": None, "forward_equivalents": 50.0},
        "evaluation.attack.epsilon": [0.1, 0.2],
        "task.target_languages": ["de", "sw"],
    }
    other = apply_point(base, point)
    assert apply_point(base, rules.difference(base, other)) == other
    assert rules.difference(base, base) == {}
    facts = {"sw": {"name": "Own"}}
    told = validate(TrialConfig, {"task": {"facts": facts}})
    assert list(rules.difference(TrialConfig(), told)) == ["task.facts.sw"]
