"""The values of objectives, and the selection rule in words, as all views show them."""

from __future__ import annotations

import math
from collections.abc import Callable

from study.question import objectives, rules
from study.question.config import StudyConfig
from trainables.scores import Evaluation


def objective_values(config: StudyConfig, evaluation: Evaluation) -> dict[str, float]:
    """Every objective of an evaluation, by name and by what the rule may read; those without a value are left out."""
    found = {}
    for objective in config.search.objectives:
        try:
            found[objective.name] = objectives.value(objective, rules.visible(evaluation, config), config)
        except objectives.UnscoredError:
            continue
    return found


def first_value(config: StudyConfig) -> Callable[[Evaluation], float | None]:
    """The value of the objective that ranks trials, as a function of an evaluation; None where it has none."""
    name = config.search.optimised[0].name

    def value(evaluation: Evaluation) -> float | None:
        found = objective_values(config, evaluation).get(name, math.nan)
        return found if math.isfinite(found) else None

    return value


def selection_words(config: StudyConfig) -> str:
    """What is selected on, and what that means for the other languages."""
    source = config.trial.task.source_language
    match config.protocol.selection:
        case "source_validation":
            return f"Selected on: validation in the source language ({source}); no target label is read by any choice."
        case "pivot_validation":
            pivots = [k for k in config.protocol.pivots if k != source]
            return (
                f"Selected on: validation in the {len(pivots)} pivot languages ({', '.join(pivots)}); "
                "the scores of the other languages are read by no choice."
            )
        case "target_validation":
            return "Selected on: validation in all target languages (oracle selection, uses target labels)."
