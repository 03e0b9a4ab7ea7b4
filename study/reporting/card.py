"""The model card of an exported model: what it is, what it scores and how surely, how it was chosen, how it is loaded.

The head is the YAML that the Hugging Face hub reads (its model-index lists every score), the rest is Markdown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from study.analysis import intervals
from study.analysis.frames import language_scores
from study.analysis.intervals import UNKNOWN, Interval
from study.proposals import ranking
from study.record.record import TrialRecord
from study.reporting import loading_words, words
from study.views import history
from study.views.found import Study
from study.views.values import selection_words
from trainables.config import OFFLINE, TrialConfig
from trainables.materials.weights import is_hub_id
from trainables.scores import Split
from trainables.tasks.definition import TaskDefinition
from trainables.tasks.definition import find as task_definition

if TYPE_CHECKING:  # its module loads torch, and cards are made without it
    from trainables.training.export import Exported

EMBEDDED = ("intfloat/multilingual-e5-small", "mit")
"""Hub id and licence of the embedded encoder."""

UNKNOWN_LICENCE = "unknown"
"""What the hub calls a licence that nobody here knows: that of a base model is in its own card."""

SPLITS: tuple[Split, ...] = ("validation", "test")

SHARE = "accuracy"
"""The metric that is a share of examples: its score and their number give an interval."""


@dataclass(frozen=True)
class Score:
    """What the model scores in one language."""

    language: str
    value: float
    examples: int
    interval: Interval = UNKNOWN


@dataclass(frozen=True)
class Model:
    """What a card is about."""

    study: Study
    trial: TrialRecord
    results: pd.DataFrame | None
    """Results frame of the study's confirmation, if there was one."""

    @property
    def config(self) -> TrialConfig:
        """What the trial trained."""
        return ranking.trial_config(self.study.config, self.trial)

    @property
    def definition(self) -> TaskDefinition:
        """Its task."""
        return task_definition(self.config.task.name)[0]

    @property
    def was_chosen(self) -> bool:
        """Whether the selection rule ranks its configuration first."""
        choice = self.study.choice
        return choice is not None and self.trial.number in choice.winner.numbers

    def scores(self, split: Split) -> tuple[str, list[Score]]:
        """The primary metric's name, and this very model's scores on a split, language by language."""
        evaluation = self.trial.result(self.config, split)
        if evaluation is None:
            return "", []
        given = self._intervals(split)
        scores = []
        for language in evaluation.primary.languages:
            value, count = evaluation.primary[language], evaluation.primary.counts[language]
            of_counts = intervals.of_share(round(value * count), count) if evaluation.metric == SHARE else UNKNOWN
            scores.append(Score(language, value, count, given.get(language, of_counts)))
        return evaluation.metric, scores

    def _intervals(self, split: Split) -> Mapping[str, Interval]:
        """By the single examples, where the study keeps them: of confirmed trials."""
        if self.results is None or self.trial.phase == "run":
            return {}
        name, seed = history.configuration_name(self.trial), self.config.training.seed
        own = self.results[(self.results["configuration"] == name) & (self.results["seed"] == seed)]
        own = own[(own["split"] == split) & (own["metric"] != SHARE)]
        return {str(k): intervals.of_ratio(f["score"], f["weight"]) for k, f in own.groupby("language")}

    def retrained(self) -> tuple[int, list[Score]]:
        """The same configuration on the test split under fresh seeds: how many, and the mean with its t interval."""
        confirmed = [t for t in self.study.trials if t.phase == "confirm" and t.kind == "winner"]
        if self.results is None or not confirmed or not self.was_chosen:
            return 0, []
        scores = language_scores(self.results)
        own = scores[
            (scores["configuration"] == history.configuration_name(confirmed[0])) & (scores["split"] == "test")
        ]
        return own["seed"].nunique(), [
            Score(str(k), float(f["score"].mean()), int(f["examples"].max()), intervals.of_mean(f["score"].dropna()))
            for k, f in own.groupby("language")
        ]


def card(model: Model, exported: Exported) -> str:
    """The whole README.md."""
    head = yaml.safe_dump(_metadata(model, exported), sort_keys=False, allow_unicode=True, width=120)
    name, number = model.study.name, model.trial.number
    parts = [f"---\n{head}---\n", f"# {name}, trial {number}\n", _lead(model)]
    parts += ["## Loading it\n", loading_words.loading(exported)]
    parts += ["## Scores\n", *_scores(model)]
    parts += ["## How it came about\n", _table(("", ""), list(_protocol(model)))]
    parts += ["## What is in the folder\n", loading_words.inside(exported), "## Licences\n", _licences(model)]
    return "\n".join(parts)


# The hub's metadata


def _metadata(model: Model, exported: Exported) -> dict[str, Any]:
    base, licence = base_model(model.config.encoder.name_or_path)
    hub = model.definition.hub
    metric, _ = model.scores("validation")
    found: dict[str, Any] = {"language": _hub_languages(model), "license": licence}
    if base is not None:
        found |= {"base_model": base, "base_model_relation": "finetune"}
    found |= {"library_name": "transformers", "pipeline_tag": exported.hub_task}
    if hub is not None:
        found["datasets"] = [hub.id]
    methods = (model.config.perturbation.method, model.config.augmentation.method)
    tags = ["cross-lingual", "zero-shot-transfer", *(method for method in methods if method != "none")]
    found |= {"metrics": [metric], "tags": tags}
    results = [each for split in SPLITS for each in _index(model, exported, split)]
    return {**found, "model-index": [{"name": f"{model.study.name}-trial-{model.trial.number}", "results": results}]}


def base_model(name_or_path: str) -> tuple[str | None, str]:
    """Hub id of a trial's encoder, None for a local folder, and its licence as the hub names licences."""
    if name_or_path.startswith(OFFLINE):
        return EMBEDDED
    return (name_or_path if is_hub_id(name_or_path) else None), UNKNOWN_LICENCE


def _hub_languages(model: Model) -> list[str]:
    """Codes of ISO 639, which the hub knows: without regions, scripts and the second language of a pair."""
    _, scores = model.scores("validation")
    codes = [model.config.task.source_language, *(score.language for score in scores)]
    parts = [re.split(r"[-_]", each)[0] for code in codes for each in code.split(".")]
    return list(dict.fromkeys(part for part in parts if re.fullmatch(r"[a-z]{2,3}", part)))


def _index(model: Model, exported: Exported, split: Split) -> Iterator[dict[str, Any]]:
    metric, scores = model.scores(split)
    definition = model.definition
    for score in scores:
        if math.isnan(score.value):
            continue
        yield {
            "task": {"type": exported.hub_task},
            "dataset": {
                "name": f"{definition.name}, {score.language}",
                "type": definition.hub.id if definition.hub is not None else definition.name,
                "config": score.language,
                "split": split,
            },
            "metrics": [{"type": metric, "value": round(score.value, 6), "name": f"{metric}, {score.language}"}],
        }


# The text


def _lead(model: Model) -> str:
    config, study = model.config, model.study
    base, _ = base_model(config.encoder.name_or_path)
    augmented = "" if config.augmentation.method == "none" else f", augmented by {config.augmentation.method}"
    asked = f" The study asks: {study.config.question}" if study.config.question else ""
    return (
        f"{base or config.encoder.name_or_path}, fine-tuned for the task {model.definition.name} on "
        f"{config.task.source_language} alone (training method: {config.perturbation.method}{augmented}), and scored "
        f"in the languages below without having seen a label of theirs in training.{asked}\n"
    )


def _scores(model: Model) -> Iterator[str]:
    for split in SPLITS:
        metric, scores = model.scores(split)
        if not scores:
            continue
        yield f"This model on the {split} split, {metric} in percent, with 95 % intervals over the examples"
        if any(score.interval.known for score in scores):
            yield "(they say nothing of other training seeds):\n"
        else:
            yield f"(there are none: {metric} is no share of examples, and phase run does not keep those one by one):\n"
        yield _score_table(scores)
    seeds, scores = model.retrained()
    if seeds:
        yield f"The same configuration trained anew under {seeds} fresh seeds, on the test split: mean, and interval"
        yield "over the seeds (95 %). Those are other models than this one.\n"
        yield _score_table(scores)
    else:
        yield "There is one seed: how scores vary with it is not known.\n"
    if model.was_chosen:
        yield "This trial was chosen by validation scores: those that chose it are somewhat too good.\n"


def _score_table(scores: Sequence[Score]) -> str:
    rows = [(s.language, words.points(s.value, signed=False), _interval(s.interval), str(s.examples)) for s in scores]
    return _table(("language", "score", "95 % interval", "examples"), rows)


def _interval(interval: Interval) -> str:
    return "–" if not interval.known else " to ".join(words.points(end, signed=False) for end in _ends(interval))


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _protocol(model: Model) -> Iterator[tuple[str, str]]:
    study, config = model.study, model.config
    record = study.record
    yield "study", f"{study.name}, uuid {record.uuid}, {study.condition} when this was written"
    yield "trial", f"{model.trial.number} ({model.trial.kind}, phase {model.trial.phase})"
    yield (
        "chosen",
        "ranks first by the selection rule" if model.was_chosen else "named by hand, not by the selection rule",
    )
    yield "selection rule", f"{study.config.protocol.selection}. {selection_words(study.config)}"
    result = model.trial.result(config)
    step = f", step {result.step}" if result is not None else ""
    yield "checkpoint", f"{config.evaluation.checkpoint}{step}"
    for path, value in model.trial.point.items():
        yield f"`{path}`", f"`{value}`"
    yield "training seed", str(config.training.seed)
    yield "source language", config.task.source_language
    yield "task", f"{config.task.name}, at most {config.task.max_length} tokens"
    yield "encoder", config.encoder.name_or_path + (f"@{config.encoder.revision}" if config.encoder.revision else "")
    yield "precision", f"{config.training.precision} in training and scoring; the weights are fp32"
    yield "protocol hash", str(record.protocol_hash)
    yield "code version", str(record.code_version)
    for name, value in record.fingerprints.items():
        yield f"fingerprint of {name}", " ".join(map(str, value if isinstance(value, list) else [value]))
    yield "written with", f"transformers {metadata.version('transformers')}, torch {metadata.version('torch')}"


def _licences(model: Model) -> str:
    base, licence = base_model(model.config.encoder.name_or_path)
    of_base = f"{licence}." if licence != UNKNOWN_LICENCE else "not known here; the base model's own card says it."
    definition = model.definition
    of_data = f"{definition.licence}." if definition.licence else "not stated in its definition."
    cited = f" Data: {definition.citation}." if definition.citation else ""
    name = base or model.config.encoder.name_or_path
    return f"Base model ({name}): {of_base} Data ({definition.name}): {of_data}{cited}\n"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
