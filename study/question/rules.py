"""Who may see which scores: selection rules and reserved seeds.

Four choices read scores: the search objective, pruning, the checkpoint kept within a trial, and what goes to `confirm`.
All four obey the study's selection rule; what is not allowed is an error of the configuration (`selection_problems`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search_spaces import load
from study.question import encoders, objectives
from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.scores import Evaluation, LanguageScores
from trainables.seeds import derive

RESERVED_SEEDS = 2**30
"""Training seeds from here on belong to `confirm`; `run` never trains with one."""

BASELINE = {"perturbation.method": "none", "augmentation.method": "none"}
"""What makes a point an unperturbed baseline; trial 0 is one."""

TREATMENTS = ("alignment.objective", "syntax.kind")
"""Paths of treatments that are settings, as an encoder is, unless the space chooses them; off: ``none``."""


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


def protocol_hash(config: StudyConfig) -> str:
    """Fingerprint (16 hex digits) of everything that says who selects by what, and what is claimed."""
    data = config.model_dump(mode="json")
    if config.protocol.confirm is None:
        del data["protocol"]["confirm"]  # as before there were looks
    if config.protocol.primary_metric is None:
        del data["protocol"]["primary_metric"]  # as before it could be another than the task's
    if config.trial.task.candidates is None:
        del data["trial"]["task"]["candidates"]  # as before they could be cut
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
    while len(seeds) < config.protocol.most_seeds:
        seeds.setdefault(next(more))
    return tuple(seeds)


def confirm_looks(config: StudyConfig) -> tuple[tuple[int, ...], ...]:
    """The seeds of `confirm` in the parts after each of which its endpoint is looked at: all of them without looks."""
    seeds, looks = confirm_seeds(config), config.protocol.confirm
    if looks is None:
        return (seeds,)
    every = looks.seeds.look_every
    return tuple(seeds[start : start + every] for start in range(0, len(seeds), every))


# Points


def difference(base: TrialConfig, trial: TrialConfig) -> dict[str, Any]:
    """The point that turns `base` into `trial`: dotted path -> value, as JSON types; inverse of `apply_point`."""

    def walk(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in new.items():
            if name in old and old[name] == value:
                continue
            if isinstance(value, dict) and isinstance(old.get(name), dict):
                yield from walk(old[name], value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(base.model_dump(mode="json"), trial.model_dump(mode="json"), ""))


def off(config: StudyConfig) -> dict[str, Any]:
    """What makes a point of this study an unperturbed baseline.

    Alignment and syntax are treatments as others are where the space chooses them, and none of the baseline's; a study
    on an aligned encoder, or with syntax, and no choice of that, has it in all of its trials.
    """
    space = load(config.search.space) if config.search.space is not None else None
    chosen = [path for path in TREATMENTS if space is not None and path in space]
    return {**BASELINE, **dict.fromkeys(chosen, "none")}


def baselines(config: StudyConfig) -> list[dict[str, Any]]:
    """The points of the unperturbed baselines, one for each encoder: a gain over another is none of a method.

    Base settings, and what the space fixes for the encoder.
    """
    return [{**point, **off(config)} for point in encoders.settings(config)]


def baseline_of(config: StudyConfig, trial: TrialConfig) -> TrialConfig:
    """The unperturbed baseline of a trial's own encoder."""
    return apply_point(config.trial, {**encoders.setting_of(config, trial), **off(config)})


def unperturbed(config: StudyConfig, trial: TrialConfig) -> TrialConfig:
    """The same without perturbation and augmentation, and what else the study searches (`off`)."""
    return apply_point(trial, off(config))
