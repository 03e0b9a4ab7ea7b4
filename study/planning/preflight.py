"""Everything that must hold before a study starts: it is checked at once, and nothing has been written by then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from search_spaces.dimensions import Point, Space
from study.planning import needs
from study.question import alignments, arms, checks, encoders, suites
from study.question.config import ScalingConfig, StudyConfig
from study.record import roots
from study.tracking.server import default_uri, validate_uri
from trainables import alignment, machine
from trainables.config import TrialConfig
from trainables.errors import UserError, suggestion
from trainables.loading import apply_point
from trainables.materials import weights
from trainables.storage.scratch import socket_folder

METHODS = ("perturbation.method", "augmentation.method")
"""Paths that name methods …"""
FITTED = (*METHODS, "syntax.kind")
"""… and all treatments that a task or an encoder may not go with."""

WORDS = ("augmentation.method", "augmentation.resource")
"""Paths that say which words of other resources are needed."""

LEAST_DISK = 2 * 2**30
"""Bytes asked for where the size of the encoder, or the number of trials at a time, is not known here."""


def check(config: StudyConfig, root: Path, address: str | None = None) -> None:
    """Raise `UserError` with every reason why this study cannot run: here, or on the Ray cluster at `address`."""
    problems = own_problems(config, root)
    need = None if problems else disk([config], root, address)
    problems += shared_problems(config.scaling, root, need, address)
    if problems:
        raise UserError(*dict.fromkeys(problems))


def check_together(members: Mapping[str, StudyConfig], root: Path, address: str | None = None) -> None:
    """As `check`, of the members of a suite: each line with the member that it is about, or none if about all."""
    found = {name: own_problems(config, root) for name, config in members.items()}
    need = None if any(found.values()) else disk(list(members.values()), root, address)
    problems = shared_problems(next(iter(members.values())).scaling, root, need, address)
    problems += suites.by_member(found, len(members))
    if problems:
        raise UserError(*dict.fromkeys(problems))


def check_sense(members: Mapping[str, StudyConfig]) -> None:
    """Raise `UserError` with everything that is wrong with the members of a suite wherever they run, as `tested`."""
    problems = [f"{name}: {line}" for name, config in members.items() for line in _lines(partial(tested, config))]
    if problems:
        raise UserError(*problems)


def own_problems(config: StudyConfig, root: Path) -> list[str]:
    """Why this study can run nowhere: its data, encoders, methods, rules, MLflow."""
    return [*_lines(lambda: tested(config)), *absent(config), *_tracking(config, root)]


def absent(config: StudyConfig) -> list[str]:
    """What this study needs and this machine lacks: encoders that cannot be fetched, words of other resources."""
    return [*_encoders(config), *_words(config)]


def shared_problems(scaling: ScalingConfig, root: Path, need: int | None, address: str | None = None) -> list[str]:
    """Why no study of this `scaling` can run here, or at `address`; `need`: bytes of disk, None where not known."""
    problems = root_problems(root, LEAST_DISK if need is None else need)
    problems += _lines(lambda: roots.check_writable(root))
    if address is None:
        problems += [*_resources(scaling), *_lines(socket_folder)]
    return problems


def tested(config: StudyConfig) -> tuple[str, ...]:
    """Languages of the test split. Raises `UserError` with everything that is wrong with a study wherever it runs."""
    validated, tested, problems = _task(config)
    problems += _lines(lambda: checks.check(config, validated, tested))
    problems += _lines(lambda: _check_metrics(config))
    problems += _methods(config)
    problems += _alignments(config)
    problems += _lengths(config)
    if tested is None or problems:
        raise UserError(*dict.fromkeys(problems))
    return tested


def _alignments(config: StudyConfig) -> list[str]:
    """Sentence pairs and links that are not here, of every alignment that a trial may begin from; what does not go with
    maps of languages."""
    try:
        trials = alignments.choices(config)
    except (UserError, KeyError) as error:
        return error.lines if isinstance(error, UserError) else []  # the arms' are reported by the checks
    found = [line for trial in trials for line in _lines(partial(alignment.check, trial.alignment))]
    maps = (trial for trial in trials if trial.alignment.objective == "linear_map")
    found += [line for trial in maps for line in _lines(partial(weights.check_languages, trial))]
    return [f"trial.{line}" for line in dict.fromkeys(found)]


def _check_metrics(config: StudyConfig) -> None:
    """Raise `UserError` where an objective or the primary endpoint is of a metric that no evaluation has."""
    from trainables.scoring.measured import measured
    from trainables.tasks.task import task_shape

    there = measured(config.trial.evaluation, task_shape(config.trial.task).metrics)
    asked = {f"search.objectives[{i}].metric": o.metric for i, o in enumerate(config.search.objectives)}
    problems = []
    for path, metric in (asked | {"protocol.primary_metric": config.protocol.primary_metric}).items():
        if metric is not None and metric not in there:
            near = suggestion(metric, there) or f", there are {', '.join(there)}"
            problems.append(f"{path}: is not measured by trial.evaluation{near} (got {metric!r})")
    if problems:
        raise UserError(*problems)


def _encoders(config: StudyConfig) -> list[str]:
    """Encoders, the base's and those that the space chooses among, that are not here and cannot be fetched."""
    trials, found = _trials(config)
    lines = [line for trial in trials for line in _lines(partial(weights.check, trial.encoder))]
    return [*found, *(f"trial.{line}" for line in dict.fromkeys(lines))]


def _words(config: StudyConfig) -> list[str]:
    """Dictionaries and thesauri that are not here, of the base's augmentation and those that the space offers."""
    from trainables import augmentation

    found = []
    for space in _spaces(config) or [Space("", "", ())]:
        offered = [d for d in space.dimensions if d.path in WORDS]
        if any(d.when.keys() - set(WORDS) for d in offered):
            continue  # which words a method meets is not told by these alone
        for point in Space("", "", tuple(offered)).grid():
            trial = apply_point(config.trial, point)
            check = partial(augmentation.check_resource, trial.augmentation, trial.task.source_language)
            found += [f"{'search.space: ' if point else 'trial.'}{line}" for line in _lines(check)]
    return list(dict.fromkeys(found))


def _lengths(config: StudyConfig) -> list[str]:
    """Encoders that have no positions for texts as long as the task allows, or do not know its languages."""
    trials, found = _trials(config)
    checked = [partial(check, trial) for trial in trials for check in (weights.check_length, weights.check_languages)]
    lines = [line for each in checked for line in _lines(each)]
    return [*found, *(f"trial.{line}" for line in dict.fromkeys(lines))]


def _trials(config: StudyConfig) -> tuple[list[TrialConfig], list[str]]:
    """The base under the space's choices of encoder; it alone, and why, where those do not go together."""
    try:
        return encoders.choices(config), []
    except UserError as error:
        return [config.trial], error.lines


def disk(studies: Sequence[StudyConfig], root: Path, address: str | None = None) -> int | None:
    """Bytes that the checkpoints of studies that share their slots may still come to take; None where that is not known
    here."""
    if address is not None and studies[0].scaling.concurrent_trials == "auto":
        return None  # as many as the cluster holds
    if roots.store(root) is not None:
        return None  # a store names no limit
    most = needs.together(studies)
    return None if most is None else max(0, most - sum(needs.used(config, root) for config in studies))


def _lines(call: Callable[[], object]) -> list[str]:
    """The lines of the `UserError` that a call raises, if it does."""
    try:
        call()
    except UserError as error:
        return error.lines
    return []


def _task(config: StudyConfig) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None, list[str]]:
    """Languages that the task evaluates on validation and on test, unless something is wrong with it."""
    from trainables.tasks.plan import Plan

    try:
        plan = Plan.of(config.trial.task)
        plan.sources("train")
        plan.require_targets()
        return tuple(plan.sources("validation")), tuple(plan.sources("test")), []
    except UserError as error:
        return None, None, [f"trial.{line}" if line.startswith("task.") else line for line in error.lines]


def _methods(config: StudyConfig) -> list[str]:
    """Methods that do not exist or refuse their settings: the base's, and those that the space chooses among."""
    from trainables import augmentation, perturbation

    found = _lines(lambda: perturbation.create(config.trial.perturbation))
    found = [
        f"trial.{line}"
        for line in found + _lines(lambda: augmentation.check(config.trial.augmentation, config.trial.task.own))
    ]
    for path, name in _searched_methods(config):
        trial = apply_point(config.trial, {path: name})
        lines = _lines(partial(perturbation.create, trial.perturbation))
        lines += _lines(partial(augmentation.check, trial.augmentation, trial.task.own))
        found += [f"search.space: {line}" for line in lines if line.startswith(path.partition(".")[0])]
    return found or _mismatches(config)


def _mismatches(config: StudyConfig) -> list[str]:
    """Methods that do not go with the augmentation, the encoder, or another part of the base that they would meet."""
    from trainables.materials import fitting, idle

    varies = any(d.path.startswith(idle.READ) for space in _spaces(config) for d in space.dimensions)
    asked = [fitting.check, weights.check_syntax, *([] if varies else [idle.check])]

    def fits(trial: TrialConfig) -> list[str]:
        return [line for check in asked for line in _lines(partial(check, trial))]

    points = [point for space in _spaces(config) for point in _choices(space)]
    if not any(points):
        return [f"trial.{line}" for line in fits(config.trial)]
    trials = [apply_point(trial, point) for trial in _trials(config)[0] for point in points]
    lines = [line for trial in trials for line in fits(trial)]
    return [f"search.space: {line}" for line in dict.fromkeys(lines)]


def _searched_methods(config: StudyConfig) -> list[tuple[str, Any]]:
    found = (d for space in _spaces(config) for d in space.dimensions if d.path in METHODS)
    return list(dict.fromkeys((d.path, name) for d in found for name in d.choices))


def _choices(space: Space) -> list[Point]:
    """Every combination of a space's treatments, those apart that depend on other things."""
    return Space("", "", tuple(d for d in space.dimensions if d.path in FITTED and d.when.keys() <= set(FITTED))).grid()


def _spaces(config: StudyConfig) -> list[Space]:
    """What is searched: the space, or that of each arm."""
    try:
        return list(arms.spaces(config).values())
    except (UserError, KeyError):
        return []  # reported by the checks


def _tracking(config: StudyConfig, root: Path) -> list[str]:
    uri = config.tracking.uri
    return _lines(lambda: default_uri(root) if uri is None else validate_uri(uri))


def _resources(scaling: ScalingConfig) -> Iterator[str]:
    """Whether one trial fits on this machine."""
    cpus = scaling.workers_per_trial * scaling.cpus_per_worker
    if cpus > (there := machine.cpus()):
        yield f"scaling: one trial needs {cpus:g} CPUs, this machine has {there}{_limit()}"
    gpus = scaling.workers_per_trial * scaling.gpus_per_worker
    if gpus > (there := needs.gpus() if gpus else 0):
        yield f"scaling: one trial needs {gpus:g} GPUs, this machine has {there}"


def _limit() -> str:
    """What keeps CPUs of this machine from us, if anything does."""
    return "" if (words := machine.words()) is None else f" for us ({words})"


def root_problems(root: Path, need: int = LEAST_DISK) -> list[str]:
    """Why the studies' folder cannot hold `need` bytes, judged by its nearest existing parent: nothing is made."""
    folder = needs.existing(root)
    if not folder.is_dir():
        return [f"--root: must be a folder (got {root}, where {folder} is a file)"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"--root: must be writable (got {root})"]
    if (free := shutil.disk_usage(folder).free) < need:
        return [f"--root: needs {needs.size(need)} for checkpoints (got {needs.size(free)} free at {root})"]
    return []
