"""The standard controls, and the choice of rank 1, by what the selection rule may read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from search_spaces.dimensions import Point
from study.question import arms, encoders, objectives
from study.question.config import Objective, StudyConfig
from study.question.rules import baseline_of, unperturbed, visible
from study.record.record import StudyRecord, TrialRecord
from trainables.config import Budget, PerturbationConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.perturbation import with_inputs
from trainables.scores import Evaluation


def trial_config(config: StudyConfig, trial: TrialRecord) -> TrialConfig:
    """What a recorded trial trained: its point over the study's base."""
    return apply_point(config.trial, trial.point)


def control_a(config: StudyConfig, winner: TrialConfig) -> TrialConfig:
    """(a) No perturbation, base settings: the baseline of the winner's encoder."""
    return baseline_of(config, winner)


def control_b(config: StudyConfig, record: StudyRecord, winner: TrialConfig) -> TrialConfig | None:
    """(b) No perturbation, other knobs tuned by their own search: its best with the winner's encoder, if there is one.

    It chose among the encoders as the study did, so that each had its share of the trials in both.
    """
    tuned = (apply_point(config.trial, ranked.point) for ranked in ranking(config, record, control="b"))
    return next((trial for trial in tuned if encoders.identity(trial) == encoders.identity(winner)), None)


def control_c(config: StudyConfig, winner: TrialConfig, outcome: Evaluation) -> TrialConfig:
    """(c) No perturbation, the winner's other settings, trained for as many forward-equivalents as the winner was."""
    training = winner.training.model_copy(
        update={"budget": Budget(forward_equivalents=outcome.cost["forward_equivalents"])}
    )
    return unperturbed(config, winner.model_copy(update={"training": training}))


def control_d(winner: TrialConfig, outcome: Evaluation) -> TrialConfig | None:
    """(d) Gaussian noise of the winner's achieved norm (RMS per perturbed token, in units of m), its other settings.

    None where the winner perturbs no embeddings, or is such noise itself: it would be compared with itself. What
    stands around its method (`rdrop`, `sam`) stays. Relative sigma is the expected norm of a token's noise
    (docs/methods.md).
    """
    norm = outcome.training.get("relative_norm", 0.0)
    method = with_inputs(winner.perturbation.method, "random_perturbation")
    if not norm or method == winner.perturbation.method:
        return None
    noise = winner.perturbation.model_copy(
        update={"method": method, "distribution": "gaussian", "relative": True, "sigma": norm}
    )
    return winner.model_copy(update={"perturbation": PerturbationConfig(**noise.model_dump())})


def controls(config: StudyConfig, record: StudyRecord, winner: Ranked) -> dict[str, TrialConfig]:
    """The standard controls that exist for this study, by letter; `winner` is what they control for."""
    chosen = apply_point(config.trial, winner.point)
    outcome = record.trials[winner.numbers[0]].result(config.trial)
    assert outcome is not None, "a ranked trial has a result"
    candidates = {
        "a": control_a(config, chosen),
        "b": control_b(config, record, chosen),
        "c": control_c(config, chosen, outcome),
        "d": control_d(chosen, outcome),
    }
    return {letter: control for letter, control in candidates.items() if control is not None}


@dataclass(frozen=True)
class Ranked:
    """A configuration of phase `run`, with its replicates over training seeds."""

    point: dict[str, Any]
    """Without the training seed, where replicates differ in it alone."""
    numbers: tuple[int, ...]
    """Its trials."""
    value: float
    """First objective, averaged over the replicates."""


@dataclass(frozen=True)
class Choice:
    """What goes to `confirm`, fixed before the test split is opened."""

    winner: Ranked
    runners_up: tuple[Ranked, ...]
    baseline: float | None
    """The first objective of the unperturbed baseline of the winner's encoder, averaged over its replicates."""
    baseline_ranks_higher: bool


def competes(phase: str, kind: str, control: str | None) -> bool:
    """Whether a trial may be chosen: those of phase `run` other than the baseline and the controls' own."""
    return phase == "run" and kind != "baseline" and control is None


def ranking(
    config: StudyConfig, record: StudyRecord, control: str | None = None, by: Objective | None = None
) -> list[Ranked]:
    """Completed configurations of phase `run`, best first; the baseline apart. `control` ranks that control's search.

    By the first objective, among configurations that meet every constraint and whose every replicate completed; of
    equals the earliest asked. `by` ranks by something else: exploratory, since whatever it reads is read, allowed by
    the selection rule or not, and whether a constraint is met is not asked.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in record.trials.values():
        if trial.phase == "run" and trial.kind != "baseline" and trial.control == control:
            groups.setdefault(json.dumps(_unseeded(config, trial), sort_keys=True), []).append(trial)
    ranked = []
    for key, members in groups.items():
        values = [_value(config, t) if by is None else explored(config, t, by) for t in members]
        if all(v is not None for v in values):
            mean = math.fsum(v for v in values if v is not None) / len(values)
            ranked.append(Ranked(json.loads(key), tuple(t.number for t in members), mean))
    sign = -1 if (by or config.search.optimised[0]).direction == "maximize" else 1
    return sorted(ranked, key=lambda r: sign * r.value)


def best_of_arms(config: StudyConfig, record: StudyRecord) -> dict[str, Ranked]:
    """The best configuration of each arm that has one, the arms in the order of the study's file."""
    best: dict[str, Ranked] = {}
    for ranked in ranking(config, record):
        best.setdefault(str(arm_of(record, ranked)), ranked)
    return {name: best[name] for name in arms.names(config) if name in best}


def arm_of(record: StudyRecord, ranked: Ranked) -> str | None:
    """Whose a configuration is, of a study with arms."""
    return record.trials[ranked.numbers[0]].arm


def choose(config: StudyConfig, record: StudyRecord) -> Choice:
    """Rank 1 among the configurations other than the unperturbed baseline. Raises `UserError` if there is none."""
    ranked = ranking(config, record)
    if not ranked:
        raise UserError(f"{config.name}: no trial beside the baseline completed and met every constraint")
    values = [_value(config, t, constrained=False) for t in baselines(config, record, ranked[0].point)]
    known = [v for v in values if v is not None]
    baseline = math.fsum(known) / len(known) if known else None
    best = ranked[0].value
    is_higher = baseline is not None and (
        baseline > best if config.search.optimised[0].direction == "maximize" else baseline < best
    )
    return Choice(ranked[0], tuple(ranked[1:]), baseline, is_higher)


def baselines(config: StudyConfig, record: StudyRecord, point: Point) -> list[TrialRecord]:
    """The unperturbed baseline of the encoder of a point, a trial for each replicate."""
    encoder = encoders.identity(apply_point(config.trial, point))
    return [
        trial
        for trial in record.trials.values()
        if trial.kind == "baseline" and encoders.identity(trial_config(config, trial)) == encoder
    ]


def tradeoffs(config: StudyConfig, record: StudyRecord) -> list[int]:
    """Numbers of the trials on the Pareto front of several objectives, the baseline among the candidates.

    Completed trials of phase `run` that meet every constraint and that no other such trial equals or betters in every
    objective while bettering one. Empty where there is one objective only.
    """
    optimised = config.search.optimised
    if len(optimised) < 2:
        return []
    from study.analysis.importance import pareto_front  # its module is heavy, and few studies ask

    points: dict[int, list[float]] = {}
    for trial in record.trials.values():
        if trial.phase != "run" or trial.control is not None or _value(config, trial) is None:
            continue
        outcome = trial.result(config.trial)
        assert outcome is not None, "a trial with a value has a result"
        seen = visible(outcome, config)
        points[trial.number] = [objectives.value(o, seen, config) for o in optimised]
    if not points:
        return []
    front = pareto_front(list(points.values()), [o.direction == "maximize" for o in optimised])
    return [number for number, is_on_it in zip(points, front, strict=True) if is_on_it]


def explored(config: StudyConfig, trial: TrialRecord, by: Objective) -> float | None:
    """Any objective of a completed trial, whatever the selection rule may read; None where it has no number."""
    outcome = trial.result(config.trial) if trial.state == "COMPLETE" else None
    try:
        value = objectives.value(by, outcome, config) if outcome is not None else math.nan
    except objectives.UnscoredError:
        return None
    return value if math.isfinite(value) else None


def _unseeded(config: StudyConfig, trial: TrialRecord) -> dict[str, Any]:
    """A trial's point without the training seed, if that only tells replicates apart."""
    return {k: v for k, v in trial.point.items() if k != "training.seed" or config.search.replicates == 1}


def _value(config: StudyConfig, trial: TrialRecord, constrained: bool = True) -> float | None:
    """The first objective of a completed trial, by what the rule may read; None without one, or a constraint broken."""
    outcome = trial.result(config.trial) if trial.state == "COMPLETE" else None
    if outcome is None:
        return None
    seen = visible(outcome, config)
    bounds = config.search.constraints if constrained else ()
    if any(not objectives.violation(o, objectives.value(o, seen, config)) <= 0 for o in bounds):
        return None
    return objectives.value(config.search.optimised[0], seen, config)
