"""Objectives are measured by what the rule may read, even where the checks were not asked."""

from __future__ import annotations

from study.proposals.outcomes import measure
from study.question.config import StudyConfig
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores


def test_labels_that_the_rule_hides_measure_nothing() -> None:
    objectives = [{"reduce": "source"}, {"reduce": "target_mean"}, {"reduce": "language:de"}]
    evaluation = Evaluation(10, "validation", {"accuracy": LanguageScores({"en": 0.9, "de": 0.5}, {"en": 9, "de": 9})})
    hidden = {"name": "x", "search": {"objectives": objectives}, "protocol": {"selection": "source_validation"}}
    measured = measure(validate(StudyConfig, hidden), evaluation)
    assert measured.values == (0.9, None, None) and measured.missing is not None and measured.broken is None
    seen = {**hidden, "protocol": {"selection": "target_validation"}}
    assert measure(validate(StudyConfig, seen), evaluation).values == (0.9, 0.5, 0.5)
