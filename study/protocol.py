"""Who may see which scores: selection rules, reserved seeds, the standard controls, and the choice of rank 1.

Four choices read scores: the search objective, pruning, the checkpoint kept within a trial, and what goes to `confirm`.
All four obey the study's selection rule; what is not allowed is an error of the configuration, found by `problems`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from study import objectives
from study.config import Objective, StudyConfig
from study.record import StudyRecord, TrialRecord
from trainables import languages as languages_
from trainables.config import Budget, PerturbationConfig, TrialConfig
from trainables.loading import UserError, apply_point
from trainables.scores import Evaluation, LanguageScores
from trainables.seeds import derive

RESERVED_SEEDS = 2**30
"""Training seeds from here on belong to `confirm`; `run` never trains with one."""

BASELINE = {"perturbation.method": "none", "augmentation.method": "none"}
"""The point of the unperturbed baseline, trial 0."""


# What a rule may read


def selectors(config: StudyConfig) -> frozenset[str] | None:
    """Languages whose validation labels the rule may read, or None for all; the source's train anyway."""
    source = objectives.sources(config)
    match config.protocol.selection:
        case "source_validation":
            return source
        case "pivot_validation":
            return source | objectives.spellings(config.protocol.pivots)
        case "target_validation":
            return None


def visible(evaluation: Evaluation, config: StudyConfig) -> Evaluation:
    """An evaluation limited to the languages that the rule may read; metrics left without any are dropped.

    Raises `objectives.UnscoredError` if nothing is left.
    """
    allowed = selectors(config)
    if allowed is None:
        return evaluation
    scores = {
        metric: LanguageScores(
            {k: s.values[k] for k in s.languages if k in allowed}, {k: s.counts[k] for k in s.languages if k in allowed}
        )
        for metric, s in evaluation.scores.items()
        if allowed & s.values.keys()
    }
    if not scores:
        raise objectives.UnscoredError("none of the languages that select was evaluated")
    return replace(evaluation, scores=scores)


def result(evaluations: Sequence[Evaluation], config: TrialConfig) -> Evaluation | None:
    """The evaluation that is a trial's score, of those on one split in the order of their steps: one checkpoint's.

    The last, or the one best on the source language (the earliest of equals). None without a final evaluation.
    """
    if not evaluations or not evaluations[-1].final:
        return None
    if config.evaluation.checkpoint == "last":
        return evaluations[-1]
    source = languages_.normalize(config.task.source_language)
    known = [e for e in evaluations if not math.isnan(e.primary.values.get(source, math.nan))]
    return max(known, key=lambda e: e.primary[source], default=evaluations[-1])


def problems(
    config: StudyConfig, languages: Sequence[str] | None = None, tested: Sequence[str] | None = None
) -> list[str]:
    """What the configuration asks for that its rule forbids: lines ``path: rule (got value)``.

    `languages` are those the task evaluates on validation, the source included, and `tested` those on test, where they
    are known already.
    """
    return [
        *_pivot_problems(config, languages),
        *_group_problems(config, languages, tested),
        *_seed_problems(config),
        *_checkpoint_problems(config),
        *_objective_problems(config, languages),
        *_endpoint_problems(config, tested),
    ]


def _pivot_problems(config: StudyConfig, languages: Sequence[str] | None) -> Iterator[str]:
    rule, pivots = config.protocol.selection, config.protocol.pivots
    if rule == "pivot_validation" and not set(pivots) - objectives.sources(config):
        yield "protocol.pivots: pivot_validation needs at least one language beside the source (got none)"
    if rule != "pivot_validation" and pivots:
        yield f"protocol.pivots: only pivot_validation has pivots (got {', '.join(pivots)} under {rule})"
    if languages is not None:
        for k in pivots:
            if not objectives.spellings([k]) & set(languages):
                yield f"protocol.pivots: must be languages with a validation split (got {k!r})"


def _group_problems(
    config: StudyConfig, languages: Sequence[str] | None, tested: Sequence[str] | None
) -> Iterator[str]:
    if languages is None or tested is None:
        return
    for name, members in config.protocol.groups.items():
        for k in members:
            if not objectives.spellings([k]) & {*languages, *tested}:
                yield f"protocol.groups.{name}: must be languages the task evaluates (got {k!r})"


def _seed_problems(config: StudyConfig) -> Iterator[str]:
    seed = config.trial.training.seed
    if seed >= RESERVED_SEEDS:
        yield f"trial.training.seed: must be below {RESERVED_SEEDS}, the rest is for confirm (got {seed})"


def _checkpoint_problems(config: StudyConfig) -> Iterator[str]:
    evaluation = config.trial.evaluation
    if evaluation.checkpoint != "best_source_validation":
        return
    if evaluation.every is None:
        yield "trial.evaluation.checkpoint: best_source_validation needs trial.evaluation.every (got none)"
    few = evaluation.intermediate_examples_per_language
    if few is not None and few != evaluation.examples_per_language:
        yield (
            "trial.evaluation.checkpoint: best_source_validation compares evaluations of equal size"
            f" (got intermediate_examples_per_language {few}, examples_per_language {evaluation.examples_per_language})"
        )


def _objective_problems(config: StudyConfig, languages: Sequence[str] | None) -> Iterator[str]:
    for i, objective in enumerate(config.search.objectives):
        path = f"search.objectives[{i}].reduce"
        problem = _reduction_problem(objective.reduce, config, languages) or _label_problem(objective.reduce, config)
        if problem:
            yield f"{path}: {problem} (got {objective.reduce!r})"
        is_lower_better = objective.reduce.startswith("cost:") or objective.reduce == "transfer_gap"
        if is_lower_better and objective.direction == "maximize":
            yield f"search.objectives[{i}].direction: {objective.reduce} is to be minimized (got 'maximize')"
    optimised = [o for o in config.search.objectives if o.threshold is None]
    if not optimised:
        yield "search.objectives: at least one must have no threshold, to be optimised (got constraints alone)"
    scored = [o for o in config.search.objectives if o.direction == "maximize"]
    if optimised and not scored and any(o.reduce == "transfer_gap" for o in optimised):
        yield (
            "search.objectives: transfer_gap needs a floor on the scores beside it, such as"
            " {reduce: source, threshold: 0.5}: a broken model has no gap (got it alone)"
        )


def _endpoint_problems(config: StudyConfig, tested: Sequence[str] | None) -> Iterator[str]:
    name = config.protocol.primary_endpoint
    problem = _reduction_problem(name, config, tested)
    if name.startswith("cost:"):
        problem = "must be a reduction of scores"
    if problem:
        yield f"protocol.primary_endpoint: {problem} (got {name!r})"


def _reduction_problem(name: str, config: StudyConfig, languages: Sequence[str] | None) -> str | None:
    if problem := objectives.name_problem(name, config):
        return problem
    kind, _, argument = name.partition(":")
    single = kind in ("source", "language", "cost", "worst_language", "selection_worst", "selection_mean")
    declared = config.protocol.groups.get(argument) if kind == "group" else None
    if single and (kind in ("source", "cost") or languages is None):
        return None
    if languages is None:
        if declared is None:
            return None
        members: Sequence[str] = objectives.members_of(name, sorted(objectives.spellings(declared)), config)
    else:
        members = objectives.members_of(name, languages, config)
    if not members:
        return "none of its languages is evaluated"
    units = languages_.collapse_variants(dict.fromkeys(members, 0.0))
    if not single and len(units) < objectives.SMALLEST_GROUP:
        return f"the mean of a group needs {objectives.SMALLEST_GROUP} languages, it has {', '.join(sorted(units))}"
    return None


def _label_problem(name: str, config: StudyConfig) -> str | None:
    """Why the rule forbids to select by a reduction, or None."""
    allowed = selectors(config)
    kind, _, argument = name.partition(":")
    if allowed is None or kind in ("source", "cost", "selection_mean", "selection_worst"):
        return None
    rule = config.protocol.selection
    if kind == "language":
        outside: Iterable[str] = {argument} - allowed
    elif kind == "group" and argument in config.protocol.groups:
        outside = set(config.protocol.groups[argument]) - allowed
    else:
        return f"{rule} does not allow to select by labels of all target languages; selection_mean is allowed"
    return f"{rule} does not allow to select by labels of {', '.join(sorted(outside))}" if outside else None


def protocol_hash(config: StudyConfig) -> str:
    """Fingerprint (16 hex digits) of everything that says who selects by what, and what is claimed."""
    data = config.model_dump(mode="json")
    agreed = {
        "protocol": data["protocol"],
        "objectives": data["search"]["objectives"],
        "pruner": data["search"]["pruner"],
        "checkpoint": data["trial"]["evaluation"]["checkpoint"],
        "task": data["trial"]["task"],
    }
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()[:16]


# Seeds


def run_seeds(config: StudyConfig) -> tuple[int, ...]:
    """Training seeds of phase `run`: the base's, and one more for each further replicate."""
    base = config.trial.training.seed
    more = (derive(base, "replicate", i) % RESERVED_SEEDS for i in range(1, 1 << 20))
    seeds = dict.fromkeys([base])
    while len(seeds) < config.search.replicates:
        seeds.setdefault(next(more))
    return tuple(seeds)


def confirm_seeds(config: StudyConfig) -> tuple[int, ...]:
    """The reserved training seeds of `confirm`, distinct, none of which `run` can have used."""
    base = config.trial.training.seed
    more = (RESERVED_SEEDS + derive(base, "confirm", i) % RESERVED_SEEDS for i in range(1 << 20))
    seeds: dict[int, None] = {}
    while len(seeds) < config.protocol.confirm_seeds:
        seeds.setdefault(next(more))
    return tuple(seeds)


# Points


def difference(base: TrialConfig, trial: TrialConfig) -> dict[str, Any]:
    """The point that turns `base` into `trial`: dotted path -> value, as JSON types; inverse of `apply_point`."""

    def walk(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in new.items():
            if old[name] == value:
                continue
            if isinstance(value, dict) and isinstance(old[name], dict):
                yield from walk(old[name], value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(base.model_dump(mode="json"), trial.model_dump(mode="json"), ""))


def trial_config(config: StudyConfig, trial: TrialRecord) -> TrialConfig:
    """What a recorded trial trained: its point over the study's base."""
    return apply_point(config.trial, trial.point)


def unperturbed(trial: TrialConfig) -> TrialConfig:
    """The same without perturbation and augmentation."""
    return apply_point(trial, BASELINE)


# Controls


def control_a(config: StudyConfig) -> TrialConfig:
    """(a) No perturbation, base settings."""
    return unperturbed(config.trial)


def control_b(config: StudyConfig, record: StudyRecord) -> TrialConfig | None:
    """(b) No perturbation, other knobs tuned by their own search: its best, or None where there was none."""
    best = ranking(config, record, control="b")
    return apply_point(config.trial, best[0].point) if best else None


def control_c(winner: TrialConfig, outcome: Evaluation) -> TrialConfig:
    """(c) No perturbation, the winner's other settings, trained for as many forward-equivalents as the winner was."""
    training = winner.training.model_copy(
        update={"budget": Budget(forward_equivalents=outcome.cost["forward_equivalents"])}
    )
    return unperturbed(winner.model_copy(update={"training": training}))


def control_d(winner: TrialConfig, outcome: Evaluation) -> TrialConfig | None:
    """(d) Gaussian noise of the winner's achieved norm (RMS per perturbed token, in units of m), its other settings.

    None where the winner perturbs nothing, or is such noise itself: it would be compared with itself. Relative sigma
    is the expected norm of a token's noise (METHODS.md).
    """
    norm = outcome.training.get("perturbation_norm_relative", 0.0)
    if not norm or winner.perturbation.method == "random_perturbation":
        return None
    noise = winner.perturbation.model_copy(
        update={"method": "random_perturbation", "distribution": "gaussian", "relative": True, "sigma": norm}
    )
    return winner.model_copy(update={"perturbation": PerturbationConfig(**noise.model_dump())})


def controls(config: StudyConfig, record: StudyRecord, winner: Ranked) -> dict[str, TrialConfig]:
    """The standard controls that exist for this study, by letter; `winner` is what they control for."""
    chosen = apply_point(config.trial, winner.point)
    outcome = outcome_of(config, record.trials[winner.numbers[0]])
    assert outcome is not None, "a ranked trial has a result"
    candidates = {
        "a": control_a(config),
        "b": control_b(config, record),
        "c": control_c(chosen, outcome),
        "d": control_d(chosen, outcome),
    }
    return {letter: control for letter, control in candidates.items() if control is not None}


# Choice


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
    """The first objective of the unperturbed baseline."""
    baseline_ranks_higher: bool


def outcome_of(config: StudyConfig, trial: TrialRecord) -> Evaluation | None:
    """The validation evaluation that is a completed trial's score, unlimited by the rule."""
    evaluations = [r.evaluation for r in trial.reports if r.split == "validation"]
    return result(evaluations, config.trial)  # which checkpoint counts is no dimension


def ranking(config: StudyConfig, record: StudyRecord, control: str | None = None) -> list[Ranked]:
    """Completed configurations of phase `run`, best first; the baseline apart. `control` ranks that control's search.

    By the first objective, among configurations that meet every constraint and whose every replicate completed; of
    equals the earliest asked.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in record.trials.values():
        if trial.phase == "run" and trial.kind != "baseline" and trial.control == control:
            groups.setdefault(json.dumps(_unseeded(config, trial), sort_keys=True), []).append(trial)
    ranked = []
    for key, members in groups.items():
        values = [_value(config, t) for t in members]
        if all(v is not None for v in values):
            mean = math.fsum(v for v in values if v is not None) / len(values)
            ranked.append(Ranked(json.loads(key), tuple(t.number for t in members), mean))
    sign = -1 if _first(config).direction == "maximize" else 1
    return sorted(ranked, key=lambda r: sign * r.value)


def choose(config: StudyConfig, record: StudyRecord) -> Choice:
    """Rank 1 among the configurations other than the unperturbed baseline. Raises `UserError` if there is none."""
    ranked = ranking(config, record)
    if not ranked:
        raise UserError(f"{config.name}: no trial beside the baseline completed and met every constraint")
    values = [_value(config, t, constrained=False) for t in record.trials.values() if t.kind == "baseline"]
    known = [v for v in values if v is not None]
    baseline = math.fsum(known) / len(known) if known else None
    best = ranked[0].value
    is_higher = baseline is not None and (
        baseline > best if _first(config).direction == "maximize" else baseline < best
    )
    return Choice(ranked[0], tuple(ranked[1:]), baseline, is_higher)


def tradeoffs(config: StudyConfig, record: StudyRecord) -> list[int]:
    """Numbers of the trials on the Pareto front of several objectives, the baseline among the candidates.

    Completed trials of phase `run` that meet every constraint and that no other such trial equals or betters in every
    objective while bettering one. Empty where there is one objective only.
    """
    optimised = [o for o in config.search.objectives if o.threshold is None]
    if len(optimised) < 2:
        return []
    from study.analysis.importance import pareto_front  # its module is heavy, and few studies ask

    points: dict[int, list[float]] = {}
    for trial in record.trials.values():
        if trial.phase != "run" or trial.control is not None or _value(config, trial) is None:
            continue
        outcome = outcome_of(config, trial)
        assert outcome is not None, "a trial with a value has a result"
        seen = visible(outcome, config)
        points[trial.number] = [objectives.value(o, seen, config) for o in optimised]
    if not points:
        return []
    front = pareto_front(list(points.values()), [o.direction == "maximize" for o in optimised])
    return [number for number, is_on_it in zip(points, front, strict=True) if is_on_it]


def _first(config: StudyConfig) -> Objective:
    return next(o for o in config.search.objectives if o.threshold is None)


def _unseeded(config: StudyConfig, trial: TrialRecord) -> dict[str, Any]:
    """A trial's point without the training seed, if that only tells replicates apart."""
    return {k: v for k, v in trial.point.items() if k != "training.seed" or config.search.replicates == 1}


def _value(config: StudyConfig, trial: TrialRecord, constrained: bool = True) -> float | None:
    """The first objective of a completed trial, by what the rule may read; None without one, or a constraint broken."""
    outcome = outcome_of(config, trial) if trial.state == "COMPLETE" else None
    if outcome is None:
        return None
    seen = visible(outcome, config)
    bounds = [o for o in config.search.objectives if o.threshold is not None]
    if constrained and any(not objectives.violation(o, objectives.value(o, seen, config)) <= 0 for o in bounds):
        return None
    return objectives.value(_first(config), seen, config)
