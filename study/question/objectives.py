"""Per-language scores -> objective values and constraints. Pure functions.

A reduction is named in configurations, tables and metric keys alike:

============================ ========================================================================================
``source``                   the source language
``selection_mean``           mean over the languages that the selection rule selects by
``selection_worst``          the worst of them
``target_mean``              mean over all target languages
``mean_with_source``         mean over all of them and the source language, which XGLUE's scores of a task are
``low_resource_mean``        mean over target languages of resource class 2 and below (Joshi et al. 2020)
``high_resource_mean``       mean over target languages of resource class 4 and 5
``worst_language``           the worst target language
``worst_k_mean[:K]``         mean over the K worst target languages (5)
``cvar[:FRACTION]``          conditional value at risk: mean over the worst fraction of target languages (0.2), the
                             language at its edge counted in part (Rockafellar and Uryasev 2000, discrete case)
``transfer_gap``             source minus target mean
``language:CODE``            one language
``group:NAME``               mean over a declared group, or a built-in one (``group:script:Arab``,
                             ``group:distance_syntactic>0.5``, ``group:fertility>2``; ``group:unseen``: by all of the
                             study's encoders' lists, ``group:unseen:mBERT`` by one)
``cost:KEY``                 a cost of the trial (``forward_equivalents``, ``train_seconds`` …)
============================ ========================================================================================

Regional variants of a language are averaged first and count once in every mean; they stand for themselves in
``worst_language``, ``selection_worst`` and ``language:``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from study.question import encoders
from study.question.config import Objective, StudyConfig
from trainables import languages, pretraining
from trainables.conditions import is_measured
from trainables.errors import UserError, suggestion
from trainables.scores import COST_KEYS, Evaluation, LanguageScores

ERRORS = ("brier", "calibration_error", "attacked_success")
"""What the names of metrics begin with of which less is better."""

SMALLEST_GROUP = 3
"""Languages below which a mean is not that of a group: refused as objective and primary endpoint (docs/methods.md)."""

PLAIN = (
    "source",
    "selection_mean",
    "selection_worst",
    "target_mean",
    "mean_with_source",
    "low_resource_mean",
    "high_resource_mean",
    "worst_language",
    "worst_k_mean",
    "cvar",
    "transfer_gap",
)
"""Reductions that need no argument."""

KNOWN = (*PLAIN, "language:CODE", "group:NAME", "cost:forward_equivalents")
"""All of them, as they are listed to users."""

STANDARD = tuple(name for name in PLAIN if name not in ("selection_worst", "mean_with_source"))
"""Reductions that every table and the tracking server show, with `group:` of each declared group."""

WORST_K = 5
CVAR_FRACTION = 0.2


class UnscoredError(Exception):
    """An evaluation lacks what a reduction reads."""


def value(objective: Objective, evaluation: Evaluation, config: StudyConfig) -> float:
    """The value of an objective, in its own direction; may be NaN where a score is. Raises `UnscoredError`."""
    return reduce(objective.reduce, evaluation, config, objective.metric)


def violation(objective: Objective, reached: float) -> float:
    """How far a value is from an objective's threshold: zero or less where it is met (Optuna's convention)."""
    assert objective.threshold is not None, "only an objective with a threshold can be violated"
    short = objective.threshold - reached
    return short if objective.direction == "maximize" else -short


def is_error(metric: str | None) -> bool:
    """Whether a metric says how wrong a model is; under noise it has the noise's name around it."""
    return metric is not None and metric.removeprefix("noise_").startswith(ERRORS)


def is_lower_better(name: str, metric: str | None) -> bool:
    """Whether less of a reduction of a metric is better: of a cost, an error, or a gap (of an error it is negative)."""
    return name.startswith("cost:") or (name == "transfer_gap") != is_error(metric)


def words(objective: Objective) -> str:
    """An objective or a constraint, such as ``maximize source`` or ``source at least 0.5``."""
    if objective.threshold is None:
        return f"{objective.direction} {objective.name}"
    return f"{objective.name} {'at least' if objective.direction == 'maximize' else 'at most'} {objective.threshold:g}"


def reduce(name: str, evaluation: Evaluation, config: StudyConfig, metric: str | None = None) -> float:
    """One reduction (table above) of a metric, the primary one by default. Raises `UnscoredError`."""
    kind, _, argument = name.partition(":")
    if kind == "cost":
        if argument not in evaluation.cost:
            raise UnscoredError(f"cost {argument!r} was not reported")
        return float(evaluation.cost[argument])
    if metric is not None and metric not in evaluation.scores:
        raise UnscoredError(f"metric {metric!r} was not evaluated, there are {', '.join(evaluation.scores)}")
    scores = evaluation.scores[metric or evaluation.metric]
    sign = -1.0 if is_error(metric or evaluation.metric) else 1.0  # the worst of errors is the largest
    if kind in ("source", "language"):
        return _one(scores, config.trial.task.source_language if kind == "source" else argument)
    if kind == "transfer_gap":
        targets = {k: scores[k] for k in scores.languages if k not in sources(config)}
        return _one(scores, config.trial.task.source_language) - _mean(targets, "target languages", config)
    members = members_of(name, scores.languages, config)
    if kind == "mean_with_source":  # of the source alone, or the targets alone, it would go by another's name
        _one(scores, config.trial.task.source_language)
        members = members if set(members) - sources(config) else ()
    if not members:
        raise UnscoredError(f"{name}: none of its languages was evaluated")
    values = {k: scores[k] for k in members}
    if kind in ("worst_language", "selection_worst"):
        return sign * _worst([sign * value for value in values.values()])
    collapsed = list(languages.collapse_variants(values, config.trial.task.own).values())
    if kind == "worst_k_mean":
        worst = _sorted([sign * value for value in collapsed])[: int(argument or WORST_K)]
        return sign * math.fsum(worst) / len(worst)
    if kind == "cvar":
        return sign * _cvar([sign * value for value in collapsed], float(argument or CVAR_FRACTION))
    return math.fsum(collapsed) / len(collapsed)


def endpoint(evaluation: Evaluation, config: StudyConfig) -> float:
    """The value of the primary endpoint. Raises `UnscoredError`."""
    return reduce(config.protocol.primary_endpoint, evaluation, config, config.protocol.primary_metric)


def members_of(name: str, available: Sequence[str], config: StudyConfig) -> tuple[str, ...]:
    """Languages among `available` that a reduction reads, sorted; the source is in none of the target groups."""
    kind, _, argument = name.partition(":")
    source = sources(config)
    targets = [k for k in available if k not in source]
    if kind == "source":
        chosen: Iterable[str] = source
    elif kind == "language":
        chosen = spellings([argument])
    elif kind in ("selection_mean", "selection_worst"):
        pivots = spellings(config.protocol.pivots) - source
        chosen = {"source_validation": source, "pivot_validation": pivots}.get(config.protocol.selection, targets)
    elif kind in ("low_resource_mean", "high_resource_mean"):
        chosen = languages.group(kind.removesuffix("_mean"), targets, own=config.trial.task.own)
    elif kind == "group":
        chosen = group_members(argument, available, config)
    elif kind in ("transfer_gap", "mean_with_source"):
        chosen = available
    elif kind == "cost":
        chosen = ()
    else:
        chosen = targets
    return tuple(sorted(set(chosen) & set(available)))


def needs_source(name: str) -> bool:
    """Whether a reduction has no value where the source language was not evaluated, whatever else was."""
    return name in ("source", "transfer_gap", "mean_with_source")


def membership(name: str, available: Sequence[str], config: StudyConfig) -> str | None:
    """Who is in the group of a reduction, in words, and of how many languages nobody knows; None for other reductions.

    Languages that the table does not know are in no group: a mean over one leaves them out without a word otherwise.
    """
    kind, _, argument = name.partition(":")
    built_in = {"low_resource_mean": "low_resource", "high_resource_mean": "high_resource"}.get(name)
    if kind == "group" and argument not in config.protocol.groups:
        built_in = argument
    if built_in is None and kind != "group":
        return None
    targets = [k for k in available if k not in sources(config)]
    if built_in and is_measured(built_in) and config.measured is None:
        return f"{name}: by what is measured when a study begins, study data shows it"
    members = members_of(name, available, config)
    text = f"{name}: {len(members)} of {len(targets)} target languages ({_some(members)})"
    unknown = _undecided(built_in, targets, config) if built_in else ()
    if built_in and languages.is_relative(built_in):
        text += f"; by the pretraining list of {pretraining.words(_lists(built_in, config))}"
    if unknown:
        text += (
            f"; {len(unknown)} {'are' if len(unknown) > 1 else 'is'} in no such group, being unknown ({_some(unknown)})"
        )
    return text


def _some(codes: Sequence[str]) -> str:
    """The first dozen of some languages."""
    return ", ".join([*codes[:12], *(["…"] if len(codes) > 12 else [])]) or "none"


def spellings(codes: Iterable[str]) -> frozenset[str]:
    """Codes as they were written and as the tasks write them (``swh`` and ``sw``)."""
    return frozenset(code for name in codes for code in (name, languages.normalize(name)))


def sources(config: StudyConfig) -> frozenset[str]:
    """The source language, in either spelling."""
    return spellings([config.trial.task.source_language])


def group_members(name: str, available: Sequence[str], config: StudyConfig) -> tuple[str, ...]:
    """Target languages of a declared group, else of a built-in one. Raises `UserError` for a name that is neither."""
    targets = tuple(k for k in available if k not in sources(config))
    if name in config.protocol.groups:
        declared = spellings(config.protocol.groups[name])
        return tuple(k for k in targets if k in declared)
    task = config.trial.task
    return languages.group(name, targets, _lists(name, config), task.own, task.source_language, config.measured or {})


def _undecided(group: str, targets: Sequence[str], config: StudyConfig) -> tuple[str, ...]:
    task = config.trial.task
    lists, measured = _lists(group, config), config.measured or {}
    return languages.undecided(group, targets, lists, task.own, task.source_language, measured)


def _lists(group: str, config: StudyConfig) -> pretraining.Lists:
    """The lists that a built-in group is about: `seen` by all of the study's encoders, `unseen` by all of them."""
    return encoders.pretraining_lists(config) if languages.is_relative(group) else ()


def name_problem(name: str, config: StudyConfig) -> str | None:
    """Why `name` names no reduction, or None."""
    kind, colon, argument = name.partition(":")
    if kind == "language":
        return None if argument else "language: needs a code, as in language:sw"
    if kind == "cost":
        return None if argument in COST_KEYS else f"must be one of {', '.join(f'cost:{k}' for k in COST_KEYS)}"
    if kind == "group":
        try:
            group_members(argument, (), config)
        except UserError as error:
            return error.lines[0].partition(": ")[2] or error.lines[0]
        return None
    if colon and kind in ("worst_k_mean", "cvar"):
        return _argument_problem(kind, argument)
    if name in PLAIN:
        return None
    as_given = [f"{known.partition(':')[0]}:{argument}" if argument and ":" in known else known for known in KNOWN]
    return f"unknown reduction{suggestion(name, as_given) or ', known: ' + ', '.join(KNOWN)}"


def summary(evaluation: Evaluation, config: StudyConfig, metric: str | None = None) -> dict[str, float]:
    """All standard reductions that this evaluation allows: name -> value (tables, tracking)."""
    found = {}
    for name in (*STANDARD, *(f"group:{group}" for group in config.protocol.groups)):
        try:
            found[name] = reduce(name, evaluation, config, metric)
        except UnscoredError:
            continue
    return found


def _argument_problem(kind: str, argument: str) -> str | None:
    try:
        number = float(argument)
    except ValueError:
        number = math.nan
    if kind == "cvar":
        return None if 0 < number <= 1 else "cvar takes a fraction above 0 and up to 1, as in cvar:0.2"
    return None if number >= 1 and number == int(number) else "worst_k_mean takes a number of languages, from 1"


def _mean(values: Mapping[str, float], what: str, config: StudyConfig) -> float:
    if not values:
        raise UnscoredError(f"no {what} were evaluated")
    collapsed = languages.collapse_variants(values, config.trial.task.own)
    return math.fsum(collapsed.values()) / len(collapsed)


def _one(scores: LanguageScores, language: str) -> float:
    there = [k for k in (language, languages.normalize(language)) if k in scores.values]
    if not there:
        raise UnscoredError(f"language {language!r} was not evaluated")
    return float(scores[there[0]])


def _sorted(values: Sequence[float]) -> list[float]:
    """Ascending; NaN first, so that it is never hidden by being left out of the worst."""
    return sorted(values, key=lambda v: (not math.isnan(v), v))


def _worst(values: Sequence[float]) -> float:
    return _sorted(values)[0]


def _cvar(values: Sequence[float], fraction: float) -> float:
    """Mean over the worst `fraction` of the values, the last of them weighted by the part of it that falls inside."""
    mass = fraction * len(values)
    ordered = _sorted(values)
    whole = min(int(mass), len(values))
    total = math.fsum(ordered[:whole])
    if whole < len(values) and mass > whole:
        total += (mass - whole) * ordered[whole]
    return total / mass
