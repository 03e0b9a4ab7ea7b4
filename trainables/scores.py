"""Per-language scores, one evaluation of a trial, and the metric keys they are flattened to: both ways.

Every metric key of the project is declared here, once: ``<split>_<metric>/<language>`` (``validation_accuracy/sw``),
``<split>_summary/<metric>.<reduction>`` (``validation_summary/accuracy.low_resource_mean``), ``training/…`` and
``cost/…``. The part before ``/`` makes one section in the MLflow pages, so that languages stand side by side.
Reductions are named once too, in `study.question.objectives`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Split = Literal["validation", "test"]

TRAINING_KEYS = (
    "loss",
    "perturbation_norm",
    "perturbation_norm_max",
    "relative_norm",
    "effective_epsilon",
    "weight_norm",
    "relative_weight_norm",
    "sharpness",
    "added_pieces",
    "view_divergence",
    "clip_rate",
    "loss_rise",
    "answers_flipped",
    "output_divergence",
    "examples_per_second",
)
"""What a trial reports about its training since the last evaluation, under ``training/``."""

DOSES = {
    "relative_norm": "length of a token's perturbation, over the mean embedding's",
    "relative_weight_norm": "length of the weights' step, over theirs",
    "added_pieces": "pieces that the second segmentation adds, over the first's",
    "perturbation.weight": "weight of the divergence between two masks",
    "perturbation.proximal_weight": "weight of the divergence from earlier weights",
    "perturbation.example_weight": "weight of the divergence between both views",
    "augmentation.probability": "share of words",
}
"""What a method's dose may be: what is reported about training, or the path of a setting; and its unit."""

FORMER = {"perturbation_norm_relative": "relative_norm"}
"""What keys were called in ledgers and checkpoints of earlier versions."""

PARSED = {"parsed_gold": "gold", "parsed_predicted": "predicted"}
"""Scores that say of which share of a language's evaluated rows the tree was known, by who found it."""

COST_KEYS = ("train_seconds", "evaluation_seconds", "forward_equivalents")
"""What a trial reports about its cost since its start, under ``cost/``."""


@dataclass(frozen=True)
class LanguageScores:
    """One metric of one split: language code -> score (a fraction in [0, 1]) and the number of examples behind it."""

    values: Mapping[str, float]
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        assert self.values.keys() == self.counts.keys()

    def __getitem__(self, language: str) -> float:
        return self.values[language]

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages scored, sorted."""
        return tuple(sorted(self.values))


@dataclass(frozen=True)
class Evaluation:
    """The state of a trial at one optimiser step: all languages at the same step, and what it cost to get there.

    `scores` maps a metric name (``accuracy``, ``f1``, ``attacked_accuracy`` …) to its `LanguageScores`; the first
    one is the task's primary metric. `training` and `cost` hold `TRAINING_KEYS` and `COST_KEYS`.
    """

    step: int
    split: Split
    scores: Mapping[str, LanguageScores]
    training: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    final: bool = False

    def __post_init__(self) -> None:
        assert self.scores, "an evaluation has at least one metric"
        assert set(self.training) <= set(TRAINING_KEYS), set(self.training) - set(TRAINING_KEYS)
        assert set(self.cost) <= set(COST_KEYS), set(self.cost) - set(COST_KEYS)

    @property
    def metric(self) -> str:
        """Name of the primary metric."""
        return next(iter(self.scores))

    @property
    def primary(self) -> LanguageScores:
        """Scores of the primary metric."""
        return self.scores[self.metric]

    def to_json(self) -> dict[str, Any]:
        """The form the ledger and the checkpoints keep: plain JSON types, score and count side by side."""
        scores = {m: {k: [s.values[k], s.counts[k]] for k in s.languages} for m, s in self.scores.items()}
        return {
            "step": self.step,
            "split": self.split,
            "final": self.final,
            "scores": scores,
            "training": dict(self.training),
            "cost": dict(self.cost),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Inverse of `to_json`."""
        scores = {
            m: LanguageScores({k: v[0] for k, v in s.items()}, {k: v[1] for k, v in s.items()})
            for m, s in data["scores"].items()
        }
        training = {FORMER.get(k, k): v for k, v in data["training"].items()}
        return cls(data["step"], data["split"], scores, training, data["cost"], data["final"])

    def to_metrics(self) -> dict[str, float]:
        """Flat metric keys -> values, as tracking shows them (counts and reductions are not part of it)."""
        flat = {score_key(self.split, m, k): s.values[k] for m, s in self.scores.items() for k in s.languages}
        flat |= {f"training/{k}": v for k, v in self.training.items()}
        flat |= {f"cost/{k}": v for k, v in self.cost.items()}
        return flat


def score_key(split: Split, metric: str, language: str) -> str:
    """``validation_accuracy/sw``: the part before the slash is one section in the MLflow UI.

    >>> score_key("validation", "accuracy", "sw")
    'validation_accuracy/sw'
    """
    return f"{split}_{metric}/{language}"


def summary_key(split: Split, metric: str, reduction: str) -> str:
    """``validation_summary/accuracy.low_resource_mean``: a reduction over languages."""
    return f"{split}_summary/{metric}.{reduction}"


def parse_score_key(key: str) -> tuple[Split, str, str] | None:
    """Inverse of `score_key`: (split, metric, language), or None for any other key."""
    section, slash, language = key.partition("/")
    split, underscore, metric = section.partition("_")
    if not (slash and underscore) or metric == "summary" or split not in get_args(Split):
        return None
    return ("validation" if split == "validation" else "test"), metric, language
