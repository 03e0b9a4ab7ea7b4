"""Whether a study's trials fit into the memory of the devices that they are given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

import search_spaces
from search_spaces.dimensions import Dimension
from study.planning import needs
from study.planning.finding import Finding, Level
from study.question.config import ScalingConfig, StudyConfig
from trainables.config import TrialConfig
from trainables.devices import Device
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import materials, weights
from trainables.tasks.task import task_shape
from trainables.training import memory
from trainables.training.memory import Load, Memory, Network

Kind = Literal["cpu", "cuda"]

PROCESS = {"cpu": 600 << 20, "cuda": 600 << 20}
"""Bytes of a worker before it has a model: of the process with torch and Ray in it on a CPU (measured), of the context
and the libraries on a card (assumed)."""

SAFE = 0.8
"""Part of a device's memory that a trial may need by the formula without a word: it leaves out what nobody foresees."""

VARYING = (
    "perturbation.method",
    "training.batch_size",
    "training.micro_batch_size",
    "training.precision",
    "encoder.dropout",
)
"""Dimensions of a space that memory depends on; of others of the encoder `needs.encoders` knows what needs most."""


@dataclass(frozen=True)
class Room:
    """What one worker has of a device."""

    device: Device
    share: float

    @property
    def size(self) -> float:
        """Bytes."""
        return self.device.memory * self.share


def room(scaling: ScalingConfig, device: Device, at_once: int) -> Room:
    """Of a card the part that a worker is given, of a machine's memory one for each worker that runs at a time."""
    if device.kind == "cuda":
        return Room(device, min(1.0, scaling.gpus_per_worker))
    return Room(device, 1.0 / (at_once * scaling.workers_per_trial))


def examine(config: StudyConfig, devices: Sequence[Device], at_once: int) -> Finding:
    """Whether the largest trial of a study fits the smallest of the devices that trials run on."""
    scaling = config.scaling
    kind: Kind = "cuda" if scaling.gpus_per_worker else "cpu"
    smallest = min((d for d in devices if d.kind == kind), key=lambda d: d.memory, default=None)
    try:
        trial, need = _largest(config, kind)
    except UserError as error:
        return Finding("failure", "fits", error.lines[0], "see study describe")
    if trial is None or need is None:
        return Finding("ok", "fits", f"known once the encoder {config.trial.encoder.name_or_path} is on this machine")
    if smallest is None:
        return Finding("warning", "fits", f"a worker needs {needs.size(need)} of a GPU, and none was found")
    mine = room(scaling, smallest, at_once)
    found = (
        f"needs {needs.size(need)} of {needs.size(smallest.memory)} a device (share {mine.share:.3g}): "
        f"{_parts(trial, scaling, kind)}"
    )
    if need <= SAFE * mine.size:
        return Finding("ok", "fits", found)
    level: Level = "failure" if need > mine.size else "warning"
    return Finding(level, "fits", found, cure(trial, scaling, mine, at_once))


def cure(trial: TrialConfig, scaling: ScalingConfig, mine: Room, at_once: int) -> str:
    """The key to turn, with a value that is enough where there is one."""
    kind = mine.device.kind
    if kind == "cpu":
        need = needed(trial, scaling, kind) or 0
        fit = int(SAFE * mine.device.memory / (need * scaling.workers_per_trial))
        if 1 <= fit < at_once:
            return f"scaling.concurrent_trials={fit}"
    compares = task_shape(trial.task).compares_items
    key = "training.batch_size" if compares else "training.micro_batch_size"
    size = batch(trial, scaling)
    while size > 1:
        size //= 2
        value = size * scaling.workers_per_trial if compares else size
        if (needed(apply_point(trial, {key: value}), scaling, kind) or 0) <= SAFE * mine.size:
            return f"trial.{key}={value}"
    if mine.share < 1 and (needed(trial, scaling, kind) or 0) <= SAFE * mine.device.memory:
        return "scaling.gpus_per_worker=1" if kind == "cuda" else "scaling.concurrent_trials=1"
    return "trial.encoder.freeze_lower_layers, trial.encoder.freeze_embeddings, or a device with more memory"


def needed(trial: TrialConfig, scaling: ScalingConfig, kind: Kind) -> int | None:
    """Bytes that one worker needs, process and all; None where the encoder is not on this machine, or is of no known
    kind."""
    found = of(trial, scaling, kind)
    if found is None:
        return None
    # The pristine encoder stays there from trial to trial.
    return found.total + PROCESS[kind] + found.parameters


def of(trial: TrialConfig, scaling: ScalingConfig, kind: Kind) -> Memory | None:
    """The terms of what one worker's share of a trial needs."""
    shapes, known = weights.loaded(trial), weights.architecture(trial.encoder)
    if shapes is None:
        return None
    shape = task_shape(trial.task)
    try:
        with torch.device("meta"):  # a module without numbers
            head = shape.head(known["hidden_size"], trial.encoder.pooling, 0.0)
        network = Network.of(known, shapes, head, trial.encoder.dropout)
    except KeyError:
        return None
    longest = materials.longest(trial) or trial.task.max_length
    load = Load.of(batch(trial, scaling) * shape.sequences_per_item, longest)
    return memory.needed(trial, network, load, device=kind, world=scaling.workers_per_trial)


def batch(trial: TrialConfig, scaling: ScalingConfig) -> int:
    """Most examples that a worker passes through the model at once."""
    training = trial.training
    share = -(-training.batch_size // scaling.workers_per_trial)
    longest = (materials.longest(trial) or trial.task.max_length) * task_shape(trial.task).sequences_per_item
    fit = max(1, (training.micro_batch_tokens or share * longest) // longest)
    return min(share, training.micro_batch_size or share, fit)


def _largest(config: StudyConfig, kind: Kind) -> tuple[TrialConfig | None, int | None]:
    """The trial that needs most of those that the space may propose, and what that is."""
    sizes = [(trial, needed(trial, config.scaling, kind)) for trial in _corners(config)]
    known = [(size, trial) for trial, size in sizes if size is not None]
    if not known:
        return None, None
    size, trial = max(known, key=lambda each: each[0])
    return trial, size


def _corners(config: StudyConfig) -> Iterator[TrialConfig]:
    """The base under every choice, or both ends, of the dimensions that memory depends on."""
    try:
        dimensions = search_spaces.load(config.search.space).dimensions if config.search.space is not None else ()
    except UserError:
        dimensions = ()  # reported by the checks
    varying = [d for d in dimensions if d.path in VARYING]
    for trial in needs.encoders(config):
        for values in itertools.product(*map(_values, varying)):
            yield apply_point(trial, dict(zip((d.path for d in varying), values, strict=True)))


def _values(dimension: Dimension) -> Sequence[object]:
    ends = (dimension.low, dimension.high)
    return dimension.choices or (tuple(map(int, ends)) if dimension.kind == "int" else ends)


def _parts(trial: TrialConfig, scaling: ScalingConfig, kind: Kind) -> str:
    """What most of the memory is for, in words."""
    found = of(trial, scaling, kind)
    assert found is not None
    held = found.parameters + found.gradients + found.optimizer + found.exchange
    passing = found.saved + found.slack + found.working
    longest = materials.longest(trial) or trial.task.max_length
    size = batch(trial, scaling) * task_shape(trial.task).sequences_per_item
    return (
        f"{needs.size(held)} for weights, gradients and optimiser, {needs.size(passing)} for {size} texts of {longest} "
        f"tokens under {trial.perturbation.method}, the rest for the process and what it keeps"
    )
