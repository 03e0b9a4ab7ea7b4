"""Objectives are measured by what the rule may read, even where the checks were not asked."""

from __future__ import annotations

import pytest

from study.proposals.outcomes import ending, measure
from study.question.config import StudyConfig
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores


def test_objectives_on_scores_under_attack_complete_whichever_checkpoint_counts() -> None:
    """Only the final evaluation has them, that of the best checkpoint scored again."""
    objective = {"reduce": "source", "metric": "attacked_accuracy"}
    for checkpoint in ("last", "best_source_validation"):
        trial = {"evaluation": {"every": 10, "checkpoint": checkpoint, "attack": {"epsilon": [0.1]}}}
        config = validate(StudyConfig, {"name": "x", "trial": trial, "search": {"objectives": [objective]}})
        clean, attacked = (LanguageScores({"en": value}, {"en": 9}) for value in (0.9, 0.4))
        evaluations = [
            Evaluation(10, "validation", {"accuracy": clean}),
            Evaluation(20, "validation", {"accuracy": clean, "attacked_accuracy": attacked}, final=True),
        ]
        feedback, problem = ending(config, evaluations, stopped=False, problem=None)
        assert (feedback.outcome, feedback.values, problem) == ("COMPLETE", (0.4,), None)


def test_two_bounds_on_one_reduction_are_two() -> None:
    bounds = [{"reduce": "source", "threshold": 0.5}, {"reduce": "source", "threshold": 0.8, "direction": "minimize"}]
    config = validate(StudyConfig, {"name": "x", "search": {"objectives": [{"reduce": "source"}, *bounds]}})
    scores = LanguageScores({"en": 0.4, "de": 0.3}, {"en": 9, "de": 9})
    feedback, _ = ending(config, [Evaluation(10, "validation", {"accuracy": scores}, final=True)], False, None)
    assert sorted(feedback.constraints.values()) == [pytest.approx(-0.4), pytest.approx(0.1)]


def test_labels_that_the_rule_hides_measure_nothing() -> None:
    objectives = [{"reduce": "source"}, {"reduce": "target_mean"}, {"reduce": "language:de"}]
    evaluation = Evaluation(10, "validation", {"accuracy": LanguageScores({"en": 0.9, "de": 0.5}, {"en": 9, "de": 9})})
    hidden = {"name": "x", "search": {"objectives": objectives}, "protocol": {"selection": "source_validation"}}
    measured = measure(validate(StudyConfig, hidden), evaluation)
    assert measured.values == (0.9, None, None) and measured.missing is not None and measured.broken is None
    seen = {**hidden, "protocol": {"selection": "target_validation"}}
    assert measure(validate(StudyConfig, seen), evaluation).values == (0.9, 0.5, 0.5)
