"""Whether a study makes sense as a whole, before anything is started: space, sampler, objectives, protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from search_spaces import load
from search_spaces.dimensions import Space
from study.question import arms, encoders, literature, objectives, rules, selection_problems
from study.question.config import ScalingConfig, StudyConfig
from trainables.config import TrialConfig
from trainables.errors import UserError, shown, suggestion
from trainables.fields import field_at
from trainables.loading import apply_point

SAMPLERS = {"search": ("tpe", "gp", "nsga2", "random"), "design": ("grid", "latin_hypercube", "sobol")}
"""Samplers of each mode."""

NOT_SEARCHED = ("task.", "evaluation.")
"""What all trials of a study share, or their scores could not be compared."""


def check(config: StudyConfig, languages: Sequence[str] | None = None, tested: Sequence[str] | None = None) -> None:
    """Raise `UserError` with everything that is wrong with a study, one line each.

    `languages` are those the task evaluates on validation, the source included, and `tested` those on test, where they
    are known already.
    """
    found = selection_problems.problems(config, languages, tested)
    space = None
    if config.search.space is not None:
        try:
            space = load(config.search.space)
        except UserError as error:
            found += error.lines
        else:
            found += _space_problems(config, space)
    found += _search_problems(config, space)
    found += _pruner_problems(config)
    found += _metric_problems(config)
    found += _twin_problems(config, tested)
    found += _scaling_problems(config.scaling)
    found += literature.problems(config)
    if found:
        raise UserError(*found)


def _space_problems(config: StudyConfig, space: Space) -> Iterator[str]:
    revision = config.trial.encoder.revision
    if revision is not None and encoders.REVISION not in space and len(encoders.settings(config)) > 1:
        yield (
            "trial.encoder.revision: is of one encoder, and the space has several; give each its own there: "
            f"{encoders.REVISION}: {{type: fixed, value: …, when: {{{encoders.NAME}: …}}}} (got {revision!r})"
        )
    for dimension in space.dimensions:
        path = dimension.path
        if path.startswith(NOT_SEARCHED):
            yield f"search.space: {path}: all trials of a study share task and evaluation (got a dimension)"
        elif path == "training.seed":
            listed = (c for c in dimension.choices if isinstance(c, int))
            largest = int(dimension.high) if dimension.kind == "int" else max(listed, default=0)
            if largest >= rules.RESERVED_SEEDS:
                yield f"search.space: {path}: must be below {rules.RESERVED_SEEDS} (got {largest})"


def _search_problems(config: StudyConfig, space: Space | None) -> Iterator[str]:
    search = config.search
    if space is not None and search.sampler not in SAMPLERS[search.mode]:
        known = ", ".join(SAMPLERS[search.mode])
        yield f"search.sampler: mode {search.mode} takes one of {known} (got {search.sampler!r})"
    if search.patience is not None and search.mode == "design":
        yield f"search.patience: a design is run as it was fixed (got {search.patience})"
    if search.mode == "search" and search.replicates > 1:
        yield f"search.replicates: only designs are replicated (got {search.replicates} in mode search)"
    baselines = len(rules.baselines(config)) if space is not None else 1
    least = (baselines + 1) * search.replicates
    if space is not None and search.sampler != "grid" and search.trials < least:
        each = [f"each of {baselines} encoders"] * (baselines > 1) + ["each replicate"] * (search.replicates > 1)
        yield (
            f"search.trials: must be at least {least}, the unperturbed baseline is one of them"
            f"{' for ' * bool(each)}{' and '.join(each)} (got {search.trials})"
        )
    yield from arms.problems(config, space)
    yield from _level_problems(config, space)
    yield from _enqueue_problems(config, space)


def _level_problems(config: StudyConfig, space: Space | None) -> Iterator[str]:
    search = config.search
    if space is None or search.sampler != "grid":
        if search.levels:
            yield f"search.levels: only a grid has levels (got {shown(list(search.levels))})"
        return
    for path, values in search.levels.items():
        if path not in space:
            near = suggestion(path, [d.path for d in space.dimensions])
            yield f"search.levels: {path}: is no dimension of the space{near}"
            continue
        for value in values:
            if not space[path].contains(value):
                yield f"search.levels: {path}: the dimension takes {space[path].describe()} (got {shown(value)})"
    for dimension in space.dimensions:
        if dimension.levels is None and not search.levels.get(dimension.path):
            yield f"search.levels: {dimension.path}: a grid needs the values of a continuous dimension (got none)"


def _enqueue_problems(config: StudyConfig, space: Space | None) -> Iterator[str]:
    search = config.search
    if search.enqueue and (space is None or search.mode == "design"):
        yield f"search.enqueue: only a search takes points beside its own (got {len(search.enqueue)})"
        return
    for i, point in enumerate(search.enqueue):
        path_problems = []
        for path, value in point.items():
            try:
                field_at(TrialConfig, path)
            except UserError as error:
                path_problems += [f"search.enqueue[{i}]: {line}" for line in error.lines]
                continue
            if path.startswith(NOT_SEARCHED):
                path_problems.append(f"search.enqueue[{i}]: {path}: all trials of a study share task and evaluation")
            if space is not None and path in space and not space[path].contains(value):
                path_problems.append(
                    f"search.enqueue[{i}]: {path}: the dimension takes {space[path].describe()} (got {shown(value)})"
                )
        yield from path_problems
        if not path_problems:
            try:
                apply_point(config.trial, point)
            except UserError as error:
                yield from (f"search.enqueue[{i}]: {line}" for line in error.lines)


def _pruner_problems(config: StudyConfig) -> Iterator[str]:
    search = config.search
    if search.pruner == "none":
        return
    if search.mode == "design":
        yield f"search.pruner: a design is not pruned, its curves would be biased (got {search.pruner!r})"
    if len(search.optimised) > 1:
        yield f"search.pruner: several objectives can't be pruned by (got {search.pruner!r})"
    if config.trial.evaluation.every is None:
        yield f"search.pruner: needs trial.evaluation.every, or there is nothing to prune by (got {search.pruner!r})"


def _scaling_problems(scaling: ScalingConfig) -> Iterator[str]:
    """GPUs that no worker, or no group of workers, can have."""
    gpus, workers = scaling.gpus_per_worker, scaling.workers_per_trial
    if gpus > 1 and gpus != int(gpus):
        yield f"scaling.gpus_per_worker: must be a fraction below 1, or whole (got {gpus:g})"
    if 0 < gpus < 1 and workers > 1:
        yield (
            "scaling.gpus_per_worker: several workers of a trial need a GPU each, since NCCL lets no two meet on one "
            f"card; whole numbers, or scaling.workers_per_trial=1 (got {gpus:g} for each of {workers})"
        )


_FURTHER_METRICS = {
    "attacked_": "attack",
    "certified_": "certify",
    "noise_": "noise",
    "calibration_": "calibration",
    "brier": "calibration",
    "confidence_weighted_": "calibration",
    "agreement": "agreement",
}
"""What the names of metrics begin with that are scored where a part of `evaluation` asks for it."""


def _metric_problems(config: StudyConfig) -> Iterator[str]:
    asked = {
        (f"search.objectives[{i}].metric", f"search.objectives[{i}].reduce"): (objective.metric, objective.reduce)
        for i, objective in enumerate(config.search.objectives)
    }
    protocol = config.protocol
    asked["protocol.primary_metric", "protocol.primary_endpoint"] = protocol.primary_metric, protocol.primary_endpoint
    for (of_metric, of_reduction), (metric, reduction) in asked.items():
        for start, part in _FURTHER_METRICS.items():
            if (metric or "").startswith(start) and not getattr(config.trial.evaluation, part):
                yield f"{of_metric}: needs trial.evaluation.{part} (got {metric!r})"
        if metric == "agreement" and _reads_source(reduction, config):
            rule = "agreement is with the source language, which has none of its own: reduce target languages"
            yield f"{of_reduction}: {rule} (got {reduction!r})"


def _twin_problems(config: StudyConfig, tested: Sequence[str] | None) -> Iterator[str]:
    """Answers that are to agree with those in the source language, where `confirm` would find none."""
    source = objectives.sources(config)
    if config.trial.evaluation.agreement and tested is not None and not source & set(tested):
        rule = f"needs test rows in the source language, {config.trial.task.source_language}, which has none"
        yield f"trial.evaluation.agreement: {rule} (got true)"


def _reads_source(reduction: str, config: StudyConfig) -> bool:
    """Whether a reduction reads the source language's own score."""
    source, of_rule = objectives.sources(config), reduction in ("selection_mean", "selection_worst")
    language = reduction.removeprefix("language:")
    is_selecting = of_rule and config.protocol.selection == "source_validation"
    return reduction in ("source", "transfer_gap") or language in source or is_selecting
