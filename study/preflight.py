"""Everything that must hold before a study starts: it is checked at once, and nothing has been written by then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from study import checks
from study.config import ScalingConfig, StudyConfig
from study.tracking import validate_uri
from trainables.loading import UserError

LEAST_DISK = 2 * 2**30
"""Bytes that the checkpoints of a small encoder need, two trials at a time."""


def check(config: StudyConfig, root: Path, address: str | None = None) -> None:
    """Raise `UserError` with every reason why this study cannot run: here, or on the Ray cluster at `address`."""
    languages, problems = _task(config)
    problems += _lines(lambda: checks.check(config, languages))
    problems += [*_methods(config), *_tracking(config), *root_problems(root)]
    if address is None:
        problems += _resources(config.scaling)
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _lines(call: Callable[[], object]) -> list[str]:
    """The lines of the `UserError` that a call raises, if it does."""
    try:
        call()
    except UserError as error:
        return error.lines
    return []


def _task(config: StudyConfig) -> tuple[tuple[str, ...] | None, list[str]]:
    """Languages that the task evaluates, the source included, unless something is wrong with it."""
    from trainables.tasks.plan import Plan

    try:
        plan = Plan.of(config.trial.task)
        plan.sources("train")
        return tuple(plan.sources("validation")), []
    except UserError as error:
        return None, [f"trial.{line}" if line.startswith("task.") else line for line in error.lines]


def _methods(config: StudyConfig) -> list[str]:
    from trainables import augmentation, perturbation

    lines = _lines(lambda: perturbation.create(config.trial.perturbation))
    lines += _lines(lambda: augmentation.check(config.trial.augmentation))
    return [f"trial.{line}" for line in lines]


def _tracking(config: StudyConfig) -> list[str]:
    uri = config.tracking.uri
    return [] if uri is None else _lines(lambda: validate_uri(uri))


def _resources(scaling: ScalingConfig) -> Iterator[str]:
    """Whether one trial fits on this machine."""
    cpus = scaling.workers_per_trial * scaling.cpus_per_worker
    if cpus > (there := os.cpu_count() or 1):
        yield f"scaling: one trial needs {cpus:g} CPUs, this machine has {there}"
    gpus = scaling.workers_per_trial * scaling.gpus_per_worker
    if gpus > (there := _gpus() if gpus else 0):
        yield f"scaling: one trial needs {gpus:g} GPUs, this machine has {there}"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def root_problems(root: Path) -> list[str]:
    """Why the studies' folder cannot be used, judged by its nearest existing parent: nothing is made."""
    folder = root.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return [f"--root: must be a folder (got {root}, where {folder} is a file)"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"--root: must be writable (got {root})"]
    if (free := shutil.disk_usage(folder).free) < LEAST_DISK:
        need = f"{LEAST_DISK / 2**30:.0f} GiB"
        return [f"--root: needs {need} for checkpoints (got {free / 2**30:.1f} GiB free at {root})"]
    return []
