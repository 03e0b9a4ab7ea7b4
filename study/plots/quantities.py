"""What a study has recorded of each trial, by name: the axes and colours of a figure, with their labels and units.

A quantity is a parameter by its dotted path (``perturbation.epsilon``), a score by its reduction (``language:sw``,
``target_mean``, ``group:low_resource``; ``target_mean of attacked_accuracy`` for another metric than the primary one),
a cost (``train_seconds``), a training signal (``loss_rise``), or a fact of the trial (``step``, ``configuration``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import search_spaces
from search_spaces.dimensions import Space
from study.proposals import ranking
from study.question import objectives
from study.record.record import Phase, TrialRecord
from study.reporting import words
from study.views import history
from study.views.found import Study
from trainables import languages
from trainables.config import TrialConfig
from trainables.errors import UserError, suggestion
from trainables.scores import COST_KEYS, TRAINING_KEYS, Evaluation, Split

Kind = Literal["parameter", "score", "cost", "training", "trial"]

SECTIONS: Mapping[Kind, str] = {
    "parameter": "parameters",
    "score": "scores",
    "cost": "costs, from the start of the trial",
    "training": "training signals, since the evaluation before",
    "trial": "facts of the trial",
}
"""Kinds of quantities in words, in the order in which they are listed."""

SIGNALS = {
    "loss": "training loss (nats per item)",
    "perturbation_norm": "norm of the perturbation (RMS per token, embedding units)",
    "perturbation_norm_max": "largest norm of a token's perturbation (embedding units)",
    "relative_norm": "norm of the perturbation (RMS per token, over the mean embedding norm)",
    "effective_epsilon": "epsilon, or sigma of Gaussian noise, after warm-up and decay",
    "weight_norm": "step of the weights to where the gradient is taken (l2 norm)",
    "relative_weight_norm": "step of the weights to where the gradient is taken (over the norm of the weights)",
    "sharpness": "rise of the loss by that step of the weights (nats per item)",
    "added_pieces": "pieces that the second segmentation adds (share of the first's)",
    "view_divergence": "divergence between the outputs of both views (nats per item)",
    "clip_rate": "clipped by the last projection (share of balls)",
    "loss_rise": "rise of the loss by the ascent (nats per item)",
    "answers_flipped": "answers flipped by the ascent (share of items)",
    "output_divergence": "divergence between outputs that are kept alike (nats per item)",
    "examples_per_second": "training speed (examples per second)",
}
"""What each of `TRAINING_KEYS` is called on an axis."""

COSTS = {
    "train_seconds": "time of training (s)",
    "evaluation_seconds": "time of evaluation (s)",
    "forward_equivalents": "training cost (forward-equivalents: passes over one batch)",
}
"""The same for `COST_KEYS`."""

UNITS = {
    "training.batch_size": "examples",
    "training.budget.steps": "optimiser steps",
    "training.budget.epochs": "passes over the training examples",
    "training.budget.forward_equivalents": "passes over one batch",
    "perturbation.ascent_steps": "steps",
}
"""Units of parameters; others have none, or depend on the study (`_parameter_label`)."""

UNSCALED = {
    **dict.fromkeys(("certified_radius", "certified_word_distance"), "lengths of a word's embedding"),
    "attacked_queries_words": "texts",
}
"""Units of the metrics that are no fractions; others are in points."""


@dataclass(frozen=True)
class Seen:
    """A trial at one evaluation, with the configuration that it trained."""

    trial: TrialRecord
    config: TrialConfig
    evaluation: Evaluation


@dataclass(frozen=True)
class Quantity:
    """One thing that can be drawn. `read` gives its value in a trial, None where it has none there."""

    name: str
    kind: Kind
    label: str
    """With its unit, that of the values times `scale`."""
    read: Callable[[Seen], object]
    scale: float = 1.0
    log: bool = False
    """Whether the search space declares it so."""
    is_category: bool = False
    """Drawn as categories even where its values are numbers."""

    def value(self, seen: Seen) -> object:
        """A finite number, a text, or None."""
        found = self.read(seen)
        if isinstance(found, bool):
            return str(found).lower()
        if isinstance(found, int | float):
            return found if math.isfinite(found) else None
        return found if found is None or isinstance(found, str) else json.dumps(found, default=str)


def observations(study: Study, phase: Phase, split: Split, every: bool = False) -> list[Seen]:
    """The result of each complete trial of a phase on a split; with `every`, all evaluations of all its trials."""
    found = []
    for trial in (t for t in study.trials if t.phase == phase):
        config = ranking.trial_config(study.config, trial)
        if every:
            evaluations = [r.evaluation for r in trial.reports if r.split == split]
        else:
            # A trial of `confirm` is scored on test once, without a checkpoint to choose.
            outcome = trial.result(config, split) or (trial.evaluation(split) if phase == "confirm" else None)
            evaluations = [outcome] if outcome is not None and trial.state == "COMPLETE" else []
        found += [Seen(trial, config, e) for e in evaluations]
    return found


def known(study: Study, seen: Sequence[Seen]) -> dict[str, Quantity]:
    """Every quantity that some of these trials have a value of, by name, in the order in which they are listed."""
    found: dict[str, Quantity] = {}
    for quantity in (*_parameters(study, seen), *_scores(study, seen), *_signals(), *_facts()):
        if any(quantity.value(s) is not None for s in seen):
            found.setdefault(quantity.name, quantity)
    return found


def find(study: Study, seen: Sequence[Seen], name: str, option: str) -> Quantity:
    """The quantity of a name, those included that are too many to list (``cvar:0.1``, ``language:swh``).

    Raises `UserError`, beginning with the `option` that gave the name, where there is none.
    """
    there = known(study, seen)
    if name in there:
        return there[name]
    quantity = _score(study, seen, name)
    if quantity is not None and any(quantity.value(s) is not None for s in seen):
        return quantity
    raise UserError(f"{option}: {_why_not(study, seen, name, there)} (got {name!r})")


def _why_not(study: Study, seen: Sequence[Seen], name: str, there: Mapping[str, Quantity]) -> str:
    """The rule that an unknown name breaks, with the near one."""
    if not seen:
        return "no trial of this phase has a score on this split yet"
    if any(name in t.point for t in study.trials):
        return "no complete trial of this phase has a value of it"
    try:
        constant = history.value_at(study.config.trial, name)
    except AttributeError:
        pass
    else:
        return f"has one value in every trial, {constant}: there is nothing to draw"
    reduction, _, metric = name.partition(" of ")
    metrics = list(seen[-1].evaluation.scores)
    if metric and reduction in there and metric not in metrics:
        return f"unknown metric{suggestion(metric, metrics) or ', known: ' + ', '.join(metrics)}"
    kind, _, code = reduction.partition(":")
    if kind == "language" and code:
        codes = [q.partition(":")[2] for q in there if q.startswith("language:") and " of " not in q]
        near = languages.suggested([code], codes, study.config.trial.task.own)
        return f"this language was not evaluated{near or ', but ' + ', '.join(codes)}"
    tails = {path.rpartition(".")[2]: path for path in there}
    near = f", did you mean {tails[name]!r}?" if name in tails else suggestion(name, list(there))
    return f"no such quantity{near or f', study plot {study.name} --list has their names'}"


def _space(study: Study) -> Space | None:
    """The search space, if it can still be read: older ledgers name a file."""
    try:
        return search_spaces.load(study.config.search.space) if study.config.search.space is not None else None
    except UserError:
        return None


def _parameters(study: Study, seen: Sequence[Seen]) -> Iterator[Quantity]:
    space = _space(study)
    searched = [d.path for d in space.searched] if space else []
    for path in dict.fromkeys((*searched, *(path for s in seen for path in s.trial.point))):
        read = _reader(path, space)
        declared = space[path] if space is not None and path in space else None
        if path in searched or len({json.dumps(read(s), default=str) for s in seen}) > 1:
            log = declared is not None and declared.log
            label = _parameter_label(path, study.config.trial)
            yield Quantity(path, "parameter", label, read, log=log, is_category=path == "training.seed")


def _reader(path: str, space: Space | None) -> Callable[[Seen], object]:
    """The value of a parameter; none where its condition does not hold, or nothing is perturbed."""

    def read(seen: Seen) -> object:
        if path not in seen.trial.point and history.is_off(seen.config, path, space):
            return None
        value: Any = history.value_at(seen.config, path)
        return "none" if value is None else value

    return read


def _parameter_label(path: str, base: TrialConfig) -> str:
    unit = UNITS.get(path, "")
    if path in ("perturbation.epsilon", "perturbation.sigma"):
        unit = "over the mean embedding norm" if base.perturbation.relative else "embedding units"
    return f"{path} ({unit})" if unit else path


def _scores(study: Study, seen: Sequence[Seen]) -> Iterator[Quantity]:
    """Reductions, groups and languages of the primary metric, then those of the other metrics."""
    if not seen:
        return
    codes = tuple(dict.fromkeys(k for s in seen for k in s.evaluation.primary.languages))
    metrics = list(dict.fromkeys(m for s in seen for m in s.evaluation.scores))
    own = study.config.trial.task.own
    facts = [languages.language(k, own) for k in codes]
    groups = [*study.config.protocol.groups, *languages.GROUPS, *languages.own_groups(own)]
    for kind, values in (
        ("class", {f.resource_class for f in facts}),
        ("script", {f.script for f in facts}),
        ("family", {f.family for f in facts}),
    ):
        groups += [f"{kind}:{v}" for v in sorted(map(str, values - {None}))]
    objective = (o.reduce for o in study.config.search.objectives if not o.reduce.startswith("cost:"))
    names = [*objectives.PLAIN, *objective, *(f"group:{g}" for g in groups), *(f"language:{k}" for k in codes)]
    for metric in metrics:
        suffix = "" if metric == seen[-1].evaluation.metric else f" of {metric}"
        for name in dict.fromkeys(names):
            if (quantity := _score(study, seen, f"{name}{suffix}")) is not None:
                yield quantity


def _score(study: Study, seen: Sequence[Seen], name: str) -> Quantity | None:
    """A reduction of a metric, or a cost by its reduction's name (``cost:train_seconds``)."""
    reduction, _, metric = name.partition(" of ")
    if objectives.name_problem(reduction, study.config) is not None or not seen:
        return None
    evaluation = seen[-1].evaluation
    if reduction.startswith("cost:"):
        return next((q for q in _signals() if q.name == reduction.partition(":")[2]), None)

    def read(seen: Seen) -> object:
        try:
            return objectives.reduce(reduction, seen.evaluation, study.config, metric or None)
        except objectives.UnscoredError:
            return None

    unit = UNSCALED.get(metric, "points")
    what = (metric or evaluation.metric).replace("_", " ")
    label = f"{_reduction_words(reduction, study.config.trial.task.own)}, {evaluation.split} {what} ({unit})"
    return Quantity(name, "score", label, read, scale=1.0 if metric in UNSCALED else 100.0)


def _reduction_words(name: str, own: languages.Own) -> str:
    kind, _, argument = name.partition(":")
    if kind == "language":
        found = languages.language(argument, own)
        return f"{found.name} ({argument})" if found.name != argument else argument
    if kind == "group":
        return f"mean over {argument.replace('_', '-').replace(':', ' ')} languages"
    return words.reduction(name)


def _signals() -> Iterator[Quantity]:
    for key in COST_KEYS:
        yield Quantity(key, "cost", COSTS[key], _cost(key))
    for key in TRAINING_KEYS:
        # The norm since the evaluation before goes by its former name: `relative_norm` is that of the whole training.
        name = "perturbation_norm_relative" if key == "relative_norm" else key
        yield Quantity(name, "training", SIGNALS[key], _signal(key))
    label = "dose (norm of the perturbation over the mean embedding's; of weights, over theirs; of words, their share)"
    yield Quantity("relative_norm", "training", label, _dose)


def _cost(key: str) -> Callable[[Seen], object]:
    return lambda seen: seen.evaluation.cost.get(key)


def _signal(key: str) -> Callable[[Seen], object]:
    return lambda seen: seen.evaluation.training.get(key)


def _dose(seen: Seen) -> float:
    return history.dose(seen.trial, seen.config, seen.evaluation.step)


def _facts() -> Iterator[Quantity]:
    yield Quantity("trial", "trial", "number of the trial", lambda s: s.trial.number)
    yield Quantity("step", "trial", "optimiser step", lambda s: s.evaluation.step)
    yield Quantity("seed", "trial", "training seed", lambda s: s.config.training.seed, is_category=True)
    yield Quantity("configuration", "trial", "configuration", lambda s: history.configuration_name(s.trial))
    yield Quantity("kind", "trial", "kind of trial", lambda s: s.trial.kind)
    yield Quantity("state", "trial", "state of the trial", lambda s: s.trial.state)
    yield Quantity("attempts", "trial", "executions of the trial", lambda s: s.trial.attempts)
    for path in history.METHODS:  # varied, they are parameters already
        yield Quantity(path, "trial", path, _reader(path, None))
    label = "time from start to end, last attempt (s)"
    yield Quantity("wall_seconds", "trial", label, lambda s: _wall_seconds(s.trial))


def _wall_seconds(trial: TrialRecord) -> float | None:
    return None if trial.started is None or trial.finished is None else trial.finished - trial.started
