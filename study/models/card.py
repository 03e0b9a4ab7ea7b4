"""The model card of an exported model: what it is, what it scores and how surely, who chose it, how it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import yaml

from study.analysis.intervals import Interval
from study.models import hub_metadata, loading_words
from study.models.hub_metadata import UNKNOWN_LICENCE, base_model
from study.models.scored import SPLITS, Model, Score, Seeds
from study.reporting import words
from study.views import history
from study.views.values import selection_words

if TYPE_CHECKING:  # its module loads torch, and cards are made without it
    from trainables.training.export import Exported


def card(model: Model, exported: Exported) -> str:
    """The whole README.md."""
    head = yaml.safe_dump(hub_metadata.metadata(model, exported), sort_keys=False, allow_unicode=True, width=120)
    name, number = model.study.name, model.trial.number
    parts = [f"---\n{head}---\n", f"# {name}, trial {number}\n", _lead(model)]
    parts += ["## Loading it\n", loading_words.loading(exported)]
    parts += ["## Scores\n", *_scores(model)]
    parts += ["## How it came about\n", _table(("", ""), list(_protocol(model)))]
    parts += ["## What is in the folder\n", loading_words.inside(exported), "## Licences\n", _licences(model)]
    return "\n".join(parts)


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
    seeds = model.over_seeds()
    if seeds is None:
        yield "There is one seed: how scores vary with it is not known.\n"
    else:
        yield f"The same configuration {_under(seeds)}, on the {seeds.split} split: mean, and interval"
        yield f"over the seeds (95 %).{'' if seeds.are_ours else ' Those are other models than this one.'}\n"
        yield _score_table(seeds.scores)
    if model.was_chosen:
        yield "This trial was chosen by validation scores: those that chose it are somewhat too good.\n"


def _under(seeds: Seeds) -> str:
    if seeds.are_ours:
        return f"under {seeds.count} seeds, this model's among them"
    return f"trained anew under {seeds.count} fresh seed{'s' * (seeds.count != 1)}"


def _score_table(scores: Sequence[Score]) -> str:
    rows = [(s.language, words.points(s.value, signed=False), _interval(s.interval), str(s.examples)) for s in scores]
    return _table(("language", "score", "95 % interval", "examples"), rows)


def _interval(interval: Interval) -> str:
    low, high = (words.points(end, signed=False) for end in (interval.low, interval.high))
    return f"{low} to {high}" if interval.known else "–"


def _protocol(model: Model) -> Iterator[tuple[str, str]]:
    study, config = model.study, model.config
    record = study.record
    yield "study", f"{study.name}, uuid {record.uuid}, {study.condition} when this was written"
    yield "trial", f"{model.trial.number} ({model.trial.kind}, phase {model.trial.phase})"
    yield "chosen", _chosen(model)
    yield "selection rule", f"{study.config.protocol.selection}. {selection_words(study.config)}"
    result = model.trial.result(config)
    step = f", step {result.step}" if result is not None else ""
    yield "checkpoint", f"{config.evaluation.checkpoint}{step}"
    for path, value in model.trial.point.items():
        yield f"`{path}`", f"`{value}`"
    yield "training seed", str(config.training.seed)
    yield "source language", config.task.source_language
    yield "task", f"{config.task.title}, at most {config.task.max_length} tokens"
    yield "encoder", config.encoder.name_or_path + (f"@{config.encoder.revision}" if config.encoder.revision else "")
    yield "precision", f"{config.training.precision} in training and scoring; the weights are fp32"
    yield "protocol hash", str(record.protocol_hash)
    yield "code version", str(record.code_version)
    for name, value in record.fingerprints.items():
        yield f"fingerprint of {name}", " ".join(map(str, value if isinstance(value, list) else [value]))
    yield "written with", f"transformers {metadata.version('transformers')}, torch {metadata.version('torch')}"


def _chosen(model: Model) -> str:
    if model.trial.phase == "confirm":
        return f"no, trained for the confirmation: {history.configuration_name(model.trial)} under a fresh seed"
    return "ranks first by the selection rule" if model.was_chosen else "named by hand, not by the selection rule"


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
