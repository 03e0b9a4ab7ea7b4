"""One optimiser step of a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.batch import Batch
from trainables.config import TrainingConfig
from trainables.perturbation.base import Diagnostics, Inside, Perturbable
from trainables.seeds import derive
from trainables.tasks.base import collate
from trainables.training.compared import Compared
from trainables.training.optimiser import learning_rate_factor
from trainables.training.trial import Trial

Interrupted = Callable[[], bool]
"""Asked after every step; a true answer checkpoints the trial and ends the generator without a final evaluation."""


class DivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


def train_step(trial: Trial, interrupted: Interrupted = lambda: False) -> tuple[float, bool]:
    """One optimiser step on this worker's share of the batch.

    Returns the mean loss over the whole batch, and whether any worker was interrupted: the same on every worker.
    """
    trial.model.train()
    items = trial.batches.at(trial.step)
    share = _share(trial, items)
    local, diagnostics = _accumulate(trial, share, trial.scaler.get_scale() / len(items))
    trial.meters.diagnostics.add(diagnostics)
    summed = _update(trial, local, float(interrupted()), float(trial.is_written()))
    total, interruptions, written = summed.tolist()
    trial.meters.loss += total
    trial.meters.items += len(items)
    trial.step += 1
    trial.all_written = written > 0
    return total / len(items), interruptions > 0


@dataclass(frozen=True)
class Share:
    """What a worker computes of a batch."""

    items: npt.NDArray[np.int64]
    sizes: tuple[int, ...] | None = None
    """Items of all workers, where an item's loss depends on the others'."""
    part: float = 1.0
    """By which its loss and gradient count: less than 1 where several workers compute the same."""
    counts: bool = True
    """Whether its diagnostics count."""


def _share(trial: Trial, items: npt.NDArray[np.int64]) -> Share:
    rank, world = trial.group.rank, trial.group.world
    if world == 1 or not trial.materials.shape.compares_items:
        return Share(items[rank::world])
    if len(items) < world:  # all have to meet while they compute, and there is not an item for each
        return Share(items, part=1.0 / world, counts=rank == 0)
    return Share(items[rank::world], tuple(len(items[each::world]) for each in range(world)))


def _accumulate(trial: Trial, share: Share, scale: float) -> tuple[float, Diagnostics]:
    """Loss summed over a share, whose gradient is accumulated in micro-batches, and diagnostics.

    Memory that does not suffice halves the micro-batches, once in a trial.
    """
    size = trial.micro_batch or max(1, len(share.items))
    local, diagnostics = 0.0, Diagnostics()
    try:
        for begin in range(0, len(share.items), size):
            loss, found = _backward(trial, share.items[begin : begin + size], scale * share.part, share.sizes)
            local += float(loss.sum()) * share.part
            if share.counts:
                diagnostics.add(found)
    except torch.OutOfMemoryError as error:
        half = min(size, len(share.items)) // 2
        if trial.halved or half == 0 or trial.materials.shape.compares_items:
            error.add_note("training.micro_batch_size: a smaller one needs less memory")
            raise
        trial.micro_batch, trial.halved = half, True
    else:
        return local, diagnostics
    # Not within the handler, where the error's traceback still holds what was computed.
    trial.say(f"out of memory with {size} examples at once: goes on with {half} (training.micro_batch_size: {half})")
    trial.optimizer.zero_grad(set_to_none=True)
    if trial.group.device.type == "cuda":
        torch.cuda.empty_cache()
    return _accumulate(trial, share, scale)


def _backward(
    trial: Trial, items: npt.NDArray[np.int64], scale: float, sizes: Sequence[int] | None = None
) -> tuple[Tensor, Diagnostics]:
    """Accumulate the gradient of ``scale`` times the sum of the items' losses, which are returned (n,), detached.

    `sizes` are those of all workers' shares where an item's loss depends on the others'.
    """
    config, model = trial.config, trial.model
    shape = trial.materials.shape if sizes is None else Compared(trial.materials.shape, trial.group, sizes)
    batch, copies = _collated(trial, items.tolist())
    perturbed = batch.attention_mask.bool()
    if not config.perturbation.perturb_special_tokens:
        perturbed = perturbed & ~batch.special
    dropout_seed = derive(config.training.seed, "dropout", trial.step, int(items[0]))
    model.masks.begin(dropout_seed)

    def forward(embeddings: Tensor) -> Tensor:
        torch.manual_seed(dropout_seed)  # for kernels that draw masks themselves
        return model.logits(embeddings, batch)

    def look(part: Batch, layer: int) -> Inside:
        torch.manual_seed(dropout_seed)
        return Inside(*model.inside(model.embed(part), part, layer), part.attention_mask.bool())

    with autocast(config.training, trial.group.device):
        view = Perturbable(
            forward=forward,
            embeddings=model.embed(batch),
            mask=perturbed,
            loss=lambda logits: shape.loss(logits, batch.labels),
            divergence=lambda p, q: shape.divergence(p, q, batch.labels),
            answers=lambda logits: shape.answers(logits, batch.labels),
            keys=batch.sequence_keys,
            draw=derive(config.training.seed, "perturbation", trial.step),
            reworded=None if copies is None else lambda layer: (look(batch, layer), look(copies, layer)),
        )
        return trial.perturbation.backward(view, magnitude(trial), scale)


def _collated(trial: Trial, items: list[int]) -> tuple[Batch, Batch | None]:
    """A batch of training items; for a method that compares the two, of originals, and one of copies, as wide."""
    materials, device = trial.materials, trial.group.device
    shape, pad_id = materials.shape, materials.pad_id
    if materials.originals is None:
        return collate(shape, materials.train, items, pad_id).to(device), None
    sides = [(materials.originals, [j // trial.config.augmentation.copies for j in items]), (materials.train, items)]
    width = max(collate(shape, *side, pad_id).input_ids.shape[1] for side in sides)
    own, copies = (collate(shape, *side, pad_id, least=width).to(device) for side in sides)
    return own, copies


def autocast(config: TrainingConfig, device: torch.device) -> AbstractContextManager[object]:
    if config.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if config.precision == "bf16" else torch.float16)


def magnitude(trial: Trial) -> float:
    """Share of the perturbation's full magnitude at the current step: linear warm-up, linear decay at the end."""
    config = trial.config.perturbation
    rise = config.warmup_fraction * trial.steps
    fall = config.decay_fraction * trial.steps
    risen = 1.0 if trial.step >= rise else trial.step / rise
    left = trial.steps - trial.step
    return min(risen, 1.0 if left >= fall else left / fall)


def _update(trial: Trial, *values: float) -> Tensor:
    """Take the optimiser's step along the gradients of all workers; their values (n,), summed as well."""
    parameters = [p for p in trial.model.parameters() if p.requires_grad]
    total = trial.group.sum_gradients(parameters, *values)
    if trial.config.training.max_grad_norm is not None:
        trial.scaler.unscale_(trial.optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, trial.config.training.max_grad_norm)
    factor = learning_rate_factor(trial.step, trial.steps, trial.config.training)
    for group in trial.optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    trial.scaler.step(trial.optimizer)
    trial.scaler.update()
    trial.optimizer.zero_grad(set_to_none=True)
    return total
