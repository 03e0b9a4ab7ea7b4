"""A trial's state on one worker: how it starts, and how it goes on from a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.batch import Batch, Encoded, View
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.materials import idle
from trainables.materials import materials as materials_of
from trainables.materials.batches import Batches, total_steps
from trainables.materials.materials import Materials
from trainables.model.encoder import Encoder, Model
from trainables.model.pretrained import extend, load_encoder
from trainables.perturbation import create
from trainables.perturbation.base import Diagnostics, Measured, Perturbation
from trainables.perturbation.carried import Start
from trainables.scores import Evaluation
from trainables.seeds import derive
from trainables.storage import checkpoint as checkpoints
from trainables.storage.checkpoint import Checkpoint
from trainables.syntax import added
from trainables.training import average
from trainables.training.feed import Feed
from trainables.training.optimiser import build_optimizer, loss_scaler
from trainables.training.passes import Items, Limits
from trainables.training.rows import moved, renumbered
from trainables.training.teacher import teacher
from trainables.training.views import collated

Say = Callable[[str], object]
"""Hears what a trial's user should know of it while it goes on."""


@dataclass
class Moved:
    """How the weights were moved, summed over the steps in which they were."""

    steps: int = 0
    norm: float = 0.0
    """||e||, the l2 norm over all trained weights."""
    relative: float = 0.0
    """||e|| over ||w||."""
    rise: float = 0.0
    """By how much the mean loss of a batch rose; not a number where that was not looked at."""


@dataclass
class Meters:
    """What has been summed up since the last evaluation, and the seconds spent since the trial's start."""

    loss: float = 0.0
    items: int = 0
    steps: int = 0
    magnitude: float = 0.0
    """Sum over steps of the share of the perturbation's strength."""
    moved: Moved = field(default_factory=Moved)
    seconds: float = 0.0
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    train_seconds: float = 0.0
    """Before the last evaluation."""
    evaluation_seconds: float = 0.0

    @classmethod
    def of(cls, checkpoint: Checkpoint, first: bool) -> Meters:
        """Those that a checkpoint has; the diagnostics, which are all workers', on the `first` of them alone."""
        sums = dict(checkpoint.meters)
        seconds = sums.get("seconds", 0.0)
        sums["train_seconds"] = checkpoint.train_seconds - seconds
        sums["evaluation_seconds"] = checkpoint.evaluation_seconds
        sums["moved"] = Moved(**sums.get("moved", {}))
        sums["diagnostics"] = Diagnostics(**(sums.get("diagnostics", {}) if first else {}))
        return cls(**sums)

    def over(self, group: Group) -> Meters:
        """The same with the diagnostics of all workers, all else being of them all: called on every rank at once."""
        total = Diagnostics()
        for part in group.gather(self.diagnostics):
            total.add(part)
        return replace(self, diagnostics=total)


@dataclass
class Unread:
    """Steps whose results are still on the device."""

    sums: list[Tensor] = field(default_factory=list)
    """Of each step (4,), over all workers: losses, interrupted workers, and whether a checkpoint is on the disk, and
    whether one is due. Of a worker alone, the losses (1,): its device need not know the rest."""
    flags: list[tuple[float, float, float]] = field(default_factory=list)
    """The same of this worker: 1 where it was interrupted, where a checkpoint is on the disk, and where one is due."""
    diagnostics: list[Diagnostics | Measured] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    """Of the whole batches, all workers' shares."""
    moved: dict[int, Tensor] = field(default_factory=dict)
    """Of those steps that moved the weights first (3,): the losses before, over all workers (not a number where it was
    not looked at), and ||e|| and ||w||."""


@dataclass
class Trial:
    """One trial's state on one worker."""

    config: TrialConfig
    materials: Materials
    group: Group
    directory: Path
    model: Model
    perturbation: Perturbation
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    batches: Batches
    feed: Feed[tuple[Batch, View | None]]
    limits: Limits
    steps: int
    teacher: Callable[[Batch], Tensor] | None = None
    """The frozen model that it is held to, where there is one."""
    step: int = 0
    best: tuple[int, float] | None = None
    mean: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the weights at the evaluations so far, where the trial averages them (`average`)."""
    averaged: int = 0
    """How many those were."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """Room for the weights while they are moved: on a CPU new memory at each step would cost more than the copy."""
    meters: Meters = field(default_factory=Meters)
    unread: Unread = field(default_factory=Unread)
    resumed: tuple[Evaluation, ...] = ()
    say: Say = lambda words: None
    """Hears what the trial's user should know."""
    is_written: Callable[[], bool] = lambda: False
    """Whether a checkpoint that was begun is on the disk by now, as rank 0 knows."""
    is_due: Callable[[], bool] = lambda: False
    """Whether a checkpoint should be begun, as rank 0 knows."""
    all_written: bool = False
    """Whether it is on the disk, as all workers have known since the last step, if that was read."""
    due: bool = False
    """Whether one should be begun, likewise."""
    given: bool = False
    """Whether its weights are others' that it was given to score, at the end of a training that it never had."""
    lost: tuple[int, ...] = ()
    """Steps beyond the one it goes on from that were kept and cannot be read: this work is done again."""

    @property
    def cost(self) -> float:
        """Forward-equivalents of a step."""
        return self.model.cost(self.perturbation.cost(self.config.encoder))

    def batch(self, step: int) -> Items:
        """The items of a step, counted from 0, of all workers."""
        return self.batches.at(step // self.perturbation.replays)

    def epoch(self, step: int) -> int:
        """The epoch that the items of a step are of, from 0."""
        return self.batches.epoch_of(step // self.perturbation.replays)


def start(
    config: TrialConfig, materials: Materials, group: Group, directory: Path, weights: Path | None = None
) -> Trial:
    """A trial ready to train: at step 0, or where its newest whole checkpoint left off.

    At the end of its training with the `weights` of another folder of checkpoints: raises `UserError` where there are
    none there, or they are of another kin.
    """
    training = config.training
    pristine: Encoder = materials.remember(
        "encoder", lambda: load_encoder(config.encoder, materials.uses_segments, materials.encoder_folder)
    )
    # It stays where it is needed: a copy within the device, not half a gigabyte from the host for each trial.
    model = build_model(config, materials, pristine.to(group.device)).to(group.device)
    if (words := materials.added_words) is not None:
        extend(model.encoder, words)
    if training.gradient_checkpointing:
        model.encoder.recompute()
    if training.compile:
        model.encoder.compile_layers()
    perturbation = create(config.perturbation, materials.training_norm)
    idle.check_model(config, perturbation, model)
    if perturbation.reads_attention:
        model.encoder.show_attention(config.perturbation.attention_layer)
    if perturbation.weights is not None:
        perturbation.weights.begin({f"encoder.{n}": p for n, p in model.encoder.named_parameters() if p.requires_grad})
    if perturbation.carries is not None:
        perturbation.carries.begin(_beginning(config, materials, model))
    batches = Batches(_item_lengths(materials), training.batch_size, training.seed, training.length_pool)
    trial = Trial(
        config=config,
        materials=materials,
        group=group,
        directory=directory,
        model=model,
        perturbation=perturbation,
        optimizer=build_optimizer(model, config.training),
        scaler=loss_scaler(config.training, group.device),
        batches=batches,
        feed=Feed(partial(collated, config, materials, group.device), ahead=group.device.type == "cuda"),
        limits=Limits.of(training),
        steps=total_steps(config.training.budget, batches.per_epoch, model.cost(perturbation.cost(config.encoder))),
        teacher=None if perturbation.teacher is None else teacher(perturbation.teacher, materials, group.device),
    )
    _resume(trial)
    if weights is not None and not trial.resumed:
        _take(trial, weights)
    return trial


def _beginning(config: TrialConfig, materials: Materials, model: Model) -> Start:
    table = model.encoder.table
    rows = torch.arange(len(table)) if materials.kept is None else torch.from_numpy(materials.kept)
    return Start(
        weights={name: p for name, p in model.named_parameters() if p.requires_grad},
        words=rows.to(table.device),
        width=table.shape[1],
        sequences=config.training.batch_size * materials.shape.sequences_per_item,
        longest=int(_item_lengths(materials).max()),
        seed=config.training.seed,
    )


def build_model(config: TrialConfig, materials: Materials, pristine: Encoder) -> Model:
    """A fresh copy of the pristine encoder, adapted, with a fresh head, which depends on the seed and the task only.

    And with what syntax adds, drawn after it.
    """
    encoder = copy.deepcopy(pristine)
    if config.encoder.dropout is not None:
        encoder.set_dropout(config.encoder.dropout)
    encoder.freeze(config.encoder.freeze_embeddings, config.encoder.freeze_lower_layers)
    dropout = encoder.own_dropout if config.encoder.dropout is None else config.encoder.dropout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.training.seed, "adapter"))
        encoder.adapt(config.encoder)
        torch.manual_seed(derive(config.training.seed, "head"))
        head = materials.shape.head(encoder.hidden_size, config.encoder.pooling, dropout)
        if config.syntax.kind == "augmented":
            encoder.family.check_syntax(encoder.model.config.model_type)
        torch.manual_seed(derive(config.training.seed, "syntax"))
        syntax = added.create(config.syntax, encoder.sizes, dropout)
    return Model(encoder, head, syntax)


def _resume(trial: Trial) -> None:
    """Take up the newest whole checkpoint that rank 0 finds, which shares it: the others need not see its folder.

    What lies above it is removed: it would pass for newer than all to come.
    """
    found = None
    if trial.group.rank == 0:
        found = checkpoints.latest(trial.directory)
        begin = found.step if found else 0
        trial.lost = tuple(step for step in checkpoints.steps(trial.directory) if step > begin)
        if trial.lost:
            checkpoints.keep_only(trial.directory, set(checkpoints.steps(trial.directory)) - set(trial.lost))
    found = _shared(found, trial.group)
    if found is None:
        return
    found = renumbered(found, trial.config, trial.materials, trial.model)
    checkpoints.load_weights(trial.model, found.weights)
    if found.optimizer:
        checkpoints.load_optimizer(trial.model, trial.optimizer, found.optimizer)
    if found.scaler:
        trial.scaler.load_state_dict(dict(found.scaler))
    trial.step, trial.best, trial.resumed = found.step, found.best, found.evaluations
    trial.mean, trial.averaged = found.mean, found.averaged
    if trial.perturbation.carries is not None:
        checkpoints.load_carried(trial.perturbation.carries.tensors, found.carried)
    if found.limits is not None:
        trial.limits = Limits.least([trial.limits, Limits(*found.limits, halved=True)])
    trial.meters = Meters.of(found, first=trial.group.rank == 0)


def _take(trial: Trial, weights: Path) -> None:
    """Give a trial the weights in a folder of rank 0's, and no training of its own.

    They were trained without the test split: words that are in it alone are as they were pretrained.
    """
    found = _shared(checkpoints.latest(weights) if trial.group.rank == 0 else None, trial.group)
    if found is None:
        raise UserError(f"{weights}: must have a whole checkpoint (got none)")
    rows = materials_of.load(trial.config).kept
    if found.kin != average.kin(trial.config, rows, trial.model):
        raise UserError(f"{weights}: its weights must be those of this trial's encoder, head and vocabulary")
    checkpoints.load_weights(trial.model, moved(found, rows, trial.materials, trial.model).weights)
    trial.step, trial.given = trial.steps, True


def _shared(found: Checkpoint | None, group: Group) -> Checkpoint | None:
    """Rank 0's checkpoint, on every worker."""
    bare: Checkpoint | None = group.share(found and replace(found, weights={}, optimizer={}, mean={}, carried={}))
    if bare is None:
        return None
    weights = group.spread(found.weights if found else None)
    optimizer = group.spread(found.optimizer if found else None)
    mean = group.spread(found.mean if found else None)
    carried = group.spread(found.carried if found else None)
    return replace(bare, weights=weights, optimizer=optimizer, mean=mean, carried=carried)


def _item_lengths(materials: Materials) -> npt.NDArray[np.int64]:
    """Longest sequence of each training item, in tokens; of it and its original where they come in pairs."""

    def longest(encoded: Encoded) -> npt.NDArray[np.int64]:
        lengths = np.diff(encoded.offsets).reshape(-1, materials.shape.sequences_per_item)
        return np.asarray(lengths.max(axis=1), dtype=np.int64)

    lengths = longest(materials.train)
    if materials.originals is None:
        return lengths
    originals = longest(materials.originals)
    return np.maximum(lengths, np.repeat(originals, len(lengths) // len(originals)))
