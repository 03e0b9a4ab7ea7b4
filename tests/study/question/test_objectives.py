"""Reductions over languages, against sums done by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from study.question import objectives, selection_problems
from study.question.config import Objective, StudyConfig
from study.question.objectives import UnscoredError, reduce, summary, value, violation
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

# Classes: de fr 5, it 4, ka 3, sw yo 2, te 1; de-CH is a variant of de.
SCORES = {
    "en": 0.9,
    "de": 0.8,
    "de-CH": 0.6,
    "fr": 0.6,
    "it": 0.5,
    "ka": 0.4,
    "sw": 0.3,
    "yo": 0.1,
    "te": 0.2,
}


def study(**protocol: Any) -> StudyConfig:
    return validate(StudyConfig, {"name": "x", "protocol": {"selection": "target_validation", **protocol}})


def evaluation(scores: dict[str, float] = SCORES, **fields: Any) -> Evaluation:
    return Evaluation(10, "validation", {"accuracy": LanguageScores(scores, dict.fromkeys(scores, 20))}, **fields)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("source", 0.9),
        # Regional variants first: de = 0.7, and seven target languages.
        ("target_mean", (0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.1 + 0.2) / 7),
        ("mean_with_source", (0.9 + 0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.1 + 0.2) / 8),
        ("transfer_gap", 0.9 - (0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.1 + 0.2) / 7),
        ("low_resource_mean", (0.3 + 0.1 + 0.2) / 3),
        ("high_resource_mean", (0.7 + 0.6 + 0.5) / 3),
        ("worst_language", 0.1),
        ("worst_k_mean", (0.1 + 0.2 + 0.3 + 0.4 + 0.5) / 5),
        ("worst_k_mean:2", (0.1 + 0.2) / 2),
        # A fifth of seven languages is 1.4 of them.
        ("cvar", (0.1 + 0.4 * 0.2) / 1.4),
        ("cvar:1", (0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.1 + 0.2) / 7),
        ("cvar:0.01", 0.1),
        ("language:de-CH", 0.6),
        ("group:mine", (0.7 + 0.3 + 0.2) / 3),
        ("selection_mean", (0.7 + 0.6 + 0.5 + 0.4 + 0.3 + 0.1 + 0.2) / 7),
        ("selection_worst", 0.1),
    ],
)
def test_reductions(name: str, expected: float) -> None:
    config = study(groups={"mine": ["de", "de-CH", "sw", "te"]})
    assert reduce(name, evaluation(), config) == pytest.approx(expected, abs=1e-12)


def test_xglues_means_count_english(shared_data: Path) -> None:
    """Every published mean is that of the published scores of its languages."""
    published = json.loads((shared_data / "xglue" / "published.json").read_text())
    for split in ("dev", "test"):
        for task, scores in published[split].items():
            mean = scores.pop("avg")
            assert reduce("mean_with_source", evaluation(scores), study()) == pytest.approx(mean, abs=1e-9), task
            assert len(objectives.members_of("mean_with_source", sorted(scores), study())) == len(scores)


def test_the_selection_rule_says_what_selects() -> None:
    assert reduce("selection_mean", evaluation(), study(selection="source_validation")) == 0.9
    pivots = study(selection="pivot_validation", pivots=["en", "fr", "sw"])
    assert reduce("selection_mean", evaluation(), pivots) == pytest.approx(0.45)
    assert reduce("selection_worst", evaluation(), pivots) == 0.3


def test_no_score_hides_that_another_is_no_number() -> None:
    broken = evaluation({**SCORES, "ka": math.nan})
    for name in ("target_mean", "worst_language", "worst_k_mean:2", "cvar"):
        assert math.isnan(reduce(name, broken, study()))
    assert reduce("low_resource_mean", broken, study()) == pytest.approx(0.2)


def test_other_metrics_and_costs() -> None:
    both = Evaluation(
        10,
        "validation",
        {
            "accuracy": LanguageScores({"en": 0.9}, {"en": 5}),
            "attacked_accuracy": LanguageScores({"en": 0.2}, {"en": 5}),
        },
        cost={"forward_equivalents": 30.0},
    )
    assert value(Objective(reduce="source", metric="attacked_accuracy"), both, study()) == 0.2
    assert value(Objective(reduce="cost:forward_equivalents", direction="minimize"), both, study()) == 30.0
    for objective in (Objective(reduce="source", metric="f1"), Objective(reduce="cost:train_seconds")):
        with pytest.raises(UnscoredError):
            value(objective, both, study())


@pytest.mark.parametrize("name", ["language:xx", "group:none_here", "source", "target_mean", "mean_with_source"])
def test_languages_that_were_not_evaluated_have_no_score(name: str) -> None:
    config = study(groups={"none_here": ["ja"]})
    with pytest.raises(UnscoredError):
        reduce(name, evaluation({"qq": 0.5} if name == "source" else {"en": 0.5}), config)
    with pytest.raises(UnscoredError):
        reduce("mean_with_source", evaluation({"de": 0.5}), config)


@pytest.mark.parametrize(
    ("direction", "threshold", "expected"),
    [("maximize", 0.8, -0.1), ("maximize", 0.95, 0.05), ("minimize", 0.8, 0.1), ("minimize", 1.0, -0.1)],
)
def test_violation_is_positive_where_a_threshold_is_missed(direction: str, threshold: float, expected: float) -> None:
    objective = Objective.model_validate({"reduce": "source", "direction": direction, "threshold": threshold})
    assert violation(objective, value(objective, evaluation(), study())) == pytest.approx(expected)


def test_summary_has_every_standard_reduction_that_the_languages_allow() -> None:
    config = study(groups={"mine": ["de", "sw", "te"]})
    assert set(summary(evaluation(), config)) == {*objectives.STANDARD, "group:mine"}
    assert set(summary(evaluation({"en": 0.9, "it": 0.5}), config)) == {
        *objectives.STANDARD,
    } - {"low_resource_mean"}
    assert set(summary(evaluation({"en": 0.9}), study(selection="source_validation"))) == {"source", "selection_mean"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("target_mea", "did you mean 'target_mean'"),
        ("langauge:sw", "did you mean 'language:sw'"),
        ("language:", "needs a code"),
        ("cost:money", "cost:forward_equivalents"),
        ("group:nobody", "nobody"),
        ("cvar:2", "fraction"),
        ("worst_k_mean:half", "number of languages"),
    ],
)
def test_names_that_are_no_reduction(name: str, problem: str) -> None:
    assert problem in (objectives.name_problem(name, study()) or "")


@pytest.mark.parametrize("name", ["cvar:0.5", "worst_k_mean:3", "language:sw", "group:mine", *objectives.PLAIN])
def test_names_that_are(name: str) -> None:
    assert objectives.name_problem(name, study(groups={"mine": ["de"]})) is None


def test_who_is_in_a_group_is_said_and_who_nobody_knows() -> None:
    config = validate(StudyConfig, {"name": "x", "protocol": {"groups": {"mine": ["sw", "de"]}}})
    languages = ("en", "de", "sw", "yo", "te", "fat", "toba_batak")
    assert objectives.membership("low_resource_mean", languages, config) == (
        "low_resource_mean: 3 of 6 target languages (sw, te, yo); "
        "2 are in no such group, being unknown (fat, toba_batak)"
    )
    assert objectives.membership("group:mine", languages, config) == "group:mine: 2 of 6 target languages (de, sw)"
    script = objectives.membership("group:script:Latn", languages, config)
    assert (
        script is not None
        and "(de, fat, sw, yo)" in script
        and script.endswith("1 is in no such group, being unknown (toba_batak)")
    )
    assert objectives.membership("target_mean", languages, config) is None


def test_what_was_measured_makes_groups_once_it_is_known() -> None:
    name, languages = "group:fertility>2", ("en", "de", "sw", "yo", "te", "th")
    objective = [{"reduce": name}]
    protocol = {"primary_endpoint": name, "selection": "target_validation"}
    config = validate(StudyConfig, {"name": "x", "search": {"objectives": objective}, "protocol": protocol})
    assert objectives.name_problem(name, config) is None
    assert (
        objectives.membership(name, languages, config)
        == f"{name}: by what is measured when a study begins, study data shows it"
    )
    assert selection_problems.problems(config, languages, languages) == []
    numbers = {"de": 1.5, "sw": 2.5, "yo": 3.0, "te": 4.0, "th": None, "en": 1.2}
    measured = {code: {"fertility": number, "overlap": 0.5} for code, number in numbers.items()}
    config = config.model_copy(update={"measured": measured})
    assert reduce(name, evaluation(SCORES), config) == pytest.approx((SCORES["sw"] + SCORES["yo"] + SCORES["te"]) / 3)
    assert (objectives.membership(name, languages, config) or "").endswith("unknown (th)")
    few = config.model_copy(update={"measured": {**measured, "yo": {"fertility": 1.0}}})
    assert selection_problems.problems(config, languages, languages) == []
    assert [line.partition(":")[0] for line in selection_problems.problems(few, languages, languages)] == [
        "search.objectives[0].reduce",
        "protocol.primary_endpoint",
    ]
    assert selection_problems.problems(few, languages, (*languages, "ka"))[1:] == [], "ka is not measured yet"


def test_ones_own_languages_and_distances_make_groups() -> None:
    facts = {"xx": {"resource_class": 1, "groups": ["hills"]}, "yy": {"variant_of": "xx"}, "it": {"groups": ["hills"]}}
    config = validate(StudyConfig, {"name": "x", "trial": {"task": {"facts": facts}}})
    scores = evaluation({**SCORES, "xx": 0.7, "yy": 0.5})
    assert reduce("group:hills", scores, config) == pytest.approx((0.7 + 0.5) / 2)
    assert reduce("low_resource_mean", scores, config) == pytest.approx((0.3 + 0.1 + 0.2 + 0.7) / 4)
    far = reduce("group:distance_syntactic>0.4", scores, config)
    assert far == pytest.approx((0.3 + 0.2) / 2)  # sw te; yo and ka are nearer
    assert objectives.name_problem("group:distance_syntactic>far", config) is not None
    near = objectives.membership("group:distance_genetic<1", tuple(scores.primary.languages), config) or ""
    assert "2 are in no such group, being unknown (xx, yy)" in near


def test_the_worst_of_errors_is_the_largest() -> None:
    """Of a score under noise too; a gap of errors is the better the larger it is."""
    for metric in ("brier", "noise_calibration_error_character_0.1", "attacked_success_words"):
        scores = {"en": 0.1, "de": 0.2, "sw": 0.6, "fi": 0.4, "ru": 0.3, "yo": 0.5, "tr": 0.3}
        found = Evaluation(1, "test", {metric: LanguageScores(scores, dict.fromkeys(scores, 1))})
        values = {
            name: objectives.reduce(name, found, study()) for name in ("worst_language", "worst_k_mean:2", "cvar:0.5")
        }
        expected = {"worst_language": 0.6, "worst_k_mean:2": 0.55, "cvar:0.5": 0.5}
        assert values == pytest.approx(expected)
    assert [objectives.is_lower_better(*each) for each in (
        ("target_mean", "brier"), ("target_mean", None), ("transfer_gap", None), ("transfer_gap", "brier"),
    )] == [True, False, True, False]  # fmt: skip


def test_the_primary_endpoint_reduces_the_metric_that_is_named() -> None:
    scores = {m: LanguageScores(dict.fromkeys(("de", "sw", "fi"), v), dict.fromkeys(("de", "sw", "fi"), 1))
              for m, v in (("accuracy", 0.7), ("brier", 0.2))}  # fmt: skip
    found = Evaluation(1, "test", scores)
    assert objectives.endpoint(found, study()) == pytest.approx(0.7)
    named = study(primary_metric="brier")
    assert objectives.endpoint(found, named) == pytest.approx(0.2)
    assert (study().protocol.endpoint, named.protocol.endpoint) == ("target_mean", "target_mean of brier")
