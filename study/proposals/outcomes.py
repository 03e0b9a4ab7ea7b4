"""What a trial's evaluations mean to whoever proposes: values of objectives, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.proposals.proposer import Feedback, Outcome
from study.question import objectives, rules
from study.question.config import StudyConfig
from study.record.record import TrialRecord, result_of
from trainables.scores import Evaluation


@dataclass(frozen=True)
class Measured:
    """The objectives of a study at one evaluation, by what the selection rule may read."""

    values: tuple[float | None, ...]
    """In the order of the configuration; None where it is not scored."""
    missing: str | None = None
    """Why the first of those is not."""
    broken: str | None = None
    """Why this is the evaluation of a broken model."""


def measure(config: StudyConfig, evaluation: Evaluation) -> Measured:
    """All objectives at one evaluation."""
    values: list[float | None] = []
    missing = broken = None
    loss = evaluation.training.get("loss", 0.0)
    if not math.isfinite(loss):
        broken = f"the training loss is not finite at step {evaluation.step} (got {loss})"
    try:
        seen = rules.visible(evaluation, config)
    except objectives.UnscoredError as error:
        return Measured((None,) * len(config.search.objectives), str(error), broken)
    for objective in config.search.objectives:
        try:
            value = objectives.value(objective, seen, config)
        except objectives.UnscoredError as error:
            values.append(None)
            missing = missing or str(error)
            continue
        values.append(value)
        if not math.isfinite(value):
            broken = broken or f"{objective.name} is not finite at step {evaluation.step} (got {value})"
    return Measured(tuple(values), missing, broken)


def intermediate(config: StudyConfig, measured: Measured) -> float | None:
    """The value of the only objective; None where there are several, it is not scored, or the model is broken."""
    optimised = [v for o, v in zip(config.search.objectives, measured.values, strict=True) if o.threshold is None]
    return optimised[0] if len(optimised) == 1 and not measured.broken else None


def feedback_of(config: StudyConfig, record: TrialRecord) -> Feedback:
    """What an optimiser hears of a recorded trial of phase `run`."""
    evaluations = [r.evaluation for r in record.reports if r.split == "validation"]
    measured = {e.step: measure(config, e) for e in evaluations}
    values = {step: intermediate(config, m) for step, m in measured.items()}
    known = {step: value for step, value in values.items() if value is not None}
    outcome: Outcome
    match record.state:
        case "asked" | "running":
            return Feedback(None, None, known)
        case "COMPLETE" | "PRUNED" | "FAIL" as ended:
            outcome = ended
    result = record.result(config.trial) if outcome == "COMPLETE" else None
    if result is None or record.phase == "confirm":
        return Feedback(outcome, None, known)
    final = _final(config, measure(config, result), known)
    return final if final is not None else Feedback("FAIL", None, known)  # completed under objectives that were others


def ending(
    config: StudyConfig, evaluations: Sequence[Evaluation], stopped: bool, problem: str | None
) -> tuple[Feedback, str | None]:
    """How a trial ended, as the optimiser and as the ledger hear it; the latter is why it failed, or None.

    `evaluations` are those on the split that decides, in the order of their steps; `problem` is why it failed, if that
    is known already.
    """
    if problem is not None:
        return Feedback("FAIL"), problem
    if stopped:
        return Feedback("PRUNED"), None
    result = result_of(evaluations, config.trial)
    if result is None:
        return Feedback("FAIL"), "it ended without a final evaluation"
    if result.split == "test":
        return Feedback("COMPLETE"), None
    measured = measure(config, result)
    final = _final(config, measured, {})
    if final is None:
        return Feedback("FAIL"), f"no objective: {measured.missing or measured.broken}"
    return final, None


def _final(config: StudyConfig, measured: Measured, known: dict[int, float]) -> Feedback | None:
    """A completed trial with values and violations of constraints, or None where one of them is no number."""
    values, constraints = [], {}
    for objective, value in zip(config.search.objectives, measured.values, strict=True):
        if value is None or not math.isfinite(value):
            return None
        if objective.threshold is None:
            values.append(value)
        else:
            constraints[objectives.words(objective)] = objectives.violation(objective, value)
    return Feedback("COMPLETE", tuple(values), known, constraints)
