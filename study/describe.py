"""A study in words, before it runs: what varies, what is held, which rule selects, what it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import search_spaces
from study import checks, show
from study.config import ScalingConfig, StudyConfig
from study.ledger import LEDGER
from trainables.config import Budget
from trainables.loading import UserError
from trainables.perturbation import create


def words(config: StudyConfig, root: Path) -> str:
    """The whole description; raises `UserError` for a study that makes no sense."""
    checks.check(config)
    sections = {
        "data": _data(config),
        "encoder": _encoder(config),
        "training": _training(config),
        "varies": _varies(config),
        "proposals": _proposals(config),
        "objectives": _objectives(config),
        "selection": [show.selection_words(config)],
        "confirm": [
            f"{config.protocol.confirm_seeds} fresh seeds; primary endpoint {config.protocol.primary_endpoint}"
        ],
        "workers": _workers(config.scaling),
        "time": _time(config, root),
        "disk": [f"two checkpoints of each running trial at most, under {root / config.name}"],
    }
    width = max(map(len, sections)) + 2
    lines = [
        f"{(title if i == 0 else ''):<{width}}{line}"
        for title, section in sections.items()
        for i, line in enumerate(section)
    ]
    return "\n".join([f"study {config.name}", *([config.question] if config.question else []), "", *lines])


def _data(config: StudyConfig) -> Iterator[str]:
    task, evaluation = config.trial.task, config.trial.evaluation
    targets = "all its other languages" if task.target_languages == "all" else ", ".join(task.target_languages)
    yield f"task {task.name}: trained on {task.source_language}, evaluated on {targets} (validation only)"
    size = evaluation.examples_per_language
    when = f"every {evaluation.every} steps and at the end" if evaluation.every else "at the end"
    yield f"{'whole splits' if size is None else f'{size} examples per language'}, {when}"


def _encoder(config: StudyConfig) -> Iterator[str]:
    encoder = config.trial.encoder
    notes = ["embeddings frozen"] if encoder.freeze_embeddings else []
    notes += [f"{encoder.freeze_lower_layers} lower layers frozen"] if encoder.freeze_lower_layers else []
    notes += ["vocabulary trimmed"] if encoder.trim_vocabulary else []
    yield ", ".join([encoder.name_or_path, *notes])


def _training(config: StudyConfig) -> Iterator[str]:
    training = config.trial.training
    head = f" (head {training.head_learning_rate:g})" if training.head_learning_rate else ""
    yield (
        f"{_budget(training.budget)} of {training.batch_size} examples, "
        f"learning rate {training.learning_rate:g}{head}, {training.precision}, seed {training.seed}"
    )


def _budget(budget: Budget) -> str:
    if budget.steps is not None:
        return f"{budget.steps} steps"
    if budget.epochs is not None:
        return f"{budget.epochs:g} epochs in batches"
    return f"{budget.forward_equivalents:g} forward-equivalents in batches"


def _varies(config: StudyConfig) -> list[str]:
    if config.search.space is None:
        return [f"nothing: method {config.trial.perturbation.method}, once"]
    return search_spaces.load(config.search.space).describe()


def _proposals(config: StudyConfig) -> Iterator[str]:
    search = config.search
    count = f"{show.planned(config)} trials" if search.sampler != "grid" else "every combination of levels"
    seeds = f", {search.replicates} seeds per point" if search.replicates > 1 else ""
    how = f"a {search.mode} by {search.sampler}" if search.space is not None else "no search"
    yield f"{how}: {count}{seeds}, the unperturbed baseline (trial 0) among them; pruner {search.pruner}"


def _objectives(config: StudyConfig) -> Iterator[str]:
    for objective in config.search.objectives:
        what = objective.reduce + (f" of {objective.metric}" if objective.metric else "")
        if objective.threshold is None:
            yield f"{objective.direction} {what}"
        else:
            yield f"{what} {'at least' if objective.direction == 'maximize' else 'at most'} {objective.threshold:g}"


def _workers(scaling: ScalingConfig) -> Iterator[str]:
    gpus = f" and {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
    yield f"{scaling.workers_per_trial} per trial, each with {scaling.cpus_per_worker:g} CPU{gpus}, {scaling.executor}"
    if scaling.concurrent_trials != "auto":
        yield f"at most {scaling.concurrent_trials} trials at a time"
    elif not scaling.gpus_per_worker:
        cpus = os.cpu_count() or 1
        fit = int(cpus / (scaling.workers_per_trial * scaling.cpus_per_worker))
        yield f"as many trials at a time as fit: {fit} on the {cpus} CPUs of this machine"
    else:
        yield "as many trials at a time as the cluster's GPUs hold"


def _time(config: StudyConfig, root: Path) -> Iterator[str]:
    """From what the same encoder and task took in studies under this root: seconds per forward-equivalent."""
    budget = config.trial.training.budget
    passes = budget.forward_equivalents
    if budget.steps is not None:
        passes = budget.steps * create(config.trial.perturbation).forward_equivalents
    if passes is not None:
        yield f"{passes:g} forward-equivalents per trial with the base settings"
    pace = _pace(config, root)
    if pace is None or passes is None:
        yield "how long that takes is known after the first trial"
    else:
        minutes = pace * passes / 60
        hours = minutes * show.planned(config) / 60
        yield f"about {minutes:.1f} minutes per trial, {hours:.1f} hours for all, one after another"


def _pace(config: StudyConfig, root: Path) -> float | None:
    seconds = passes = 0.0
    for ledger in root.glob(f"*/{LEDGER}"):
        try:
            other = show.find(root, ledger.parent.name)
        except UserError:
            continue
        mine, theirs = config.trial, other.config.trial
        if (mine.encoder, mine.task.name) != (theirs.encoder, theirs.task.name):
            continue
        for trial in other.trials:
            cost = evaluation.cost if (evaluation := trial.evaluation()) is not None else {}
            seconds += cost.get("train_seconds", 0.0) + cost.get("evaluation_seconds", 0.0)
            passes += cost.get("forward_equivalents", 0.0)
    return seconds / passes if passes else None
