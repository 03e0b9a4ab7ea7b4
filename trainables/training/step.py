"""One optimiser step of a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn

from trainables.batch import Batch, View
from trainables.config import TrainingConfig
from trainables.model import dropout
from trainables.perturbation.base import Diagnostics, Inside, Measured, Other, Perturbable, accumulate
from trainables.perturbation.base import read as diagnostics_of
from trainables.perturbation.carried import Average, Weights
from trainables.seeds import derive
from trainables.training.compared import Compared
from trainables.training.optimiser import learning_rate_factor
from trainables.training.passes import Items
from trainables.training.trial import Trial, Unread
from trainables.training.views import longest
from trainables.transfer import move

Interrupted = Callable[[], bool]
"""Asked after every step; a true answer checkpoints the trial and ends the generator without a final evaluation."""


class DivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


def train_step(trial: Trial, interrupted: Interrupted = lambda: False) -> None:
    """One optimiser step on this worker's share of the batch; what comes of it waits in `trial.unread`.

    Nothing is read back from the device, so that the next step can be asked for while this one is computed.
    """
    trial.model.train()
    items = trial.batch(trial.step)
    share = _share(trial, items)
    scale = _scale(trial, len(items))
    with _moved_weights(trial, share, scale):
        loss, diagnostics = _accumulate(trial, share, scale)
    flags = float(interrupted()), float(trial.is_written()), float(trial.is_due())
    told = [] if trial.group.world == 1 else [loss.new_full((), flag) for flag in flags]
    trial.unread.sums.append(_update(trial, torch.stack([loss, *told]) if told else loss.view(1)))
    trial.unread.flags.append(flags)
    _carry(trial)
    trial.unread.items.append(len(items))
    trial.unread.diagnostics += diagnostics
    trial.meters.steps += 1
    trial.meters.magnitude += magnitude(trial)
    trial.step += 1
    trial.all_written = trial.due = False  # as far as is known before the next reading


def read(trial: Trial) -> tuple[float, bool]:
    """Wait for the steps since the last reading and take their sums into `trial.meters`.

    Returns their mean loss, over all workers, and whether any worker was interrupted: the same on every worker.
    """
    unread, trial.unread = trial.unread, Unread()
    sums, moved = torch.stack(unread.sums).tolist(), trial.meters.moved
    if trial.group.world == 1:
        sums = [[loss, *flags] for (loss,), flags in zip(sums, unread.flags, strict=True)]
    total, items = sum(loss for loss, *_ in sums), sum(unread.items)
    trial.meters.diagnostics.add(diagnostics_of(unread.diagnostics))
    trial.meters.loss += total
    trial.meters.items += items
    for step, found in unread.moved.items():
        before, norm, whole = found.tolist()
        moved.steps += 1
        moved.norm += norm
        moved.relative += norm / whole if whole else 0.0  # biases alone may all be zero before the first step
        moved.rise += (sums[step][0] - before) / unread.items[step]
    interrupted, written, due = zip(*(flags for _, *flags in sums), strict=True)
    trial.all_written, trial.due = written[-1] > 0, due[-1] > 0
    return total / items, any(interrupted)


def _scale(trial: Trial, items: int) -> float | Tensor:
    """What the sum of a batch's losses is multiplied by; under fp16 it has a factor that only the device knows."""
    if not trial.scaler.is_enabled():
        return 1.0 / items
    scale: Tensor = trial.scaler.scale(torch.full((), 1.0 / items, device=trial.group.device))
    return scale


@dataclass(frozen=True)
class Share:
    """What a worker computes of a batch."""

    items: Items
    sizes: tuple[int, ...] | None = None
    """Items of all workers, where an item's loss depends on the others'."""
    part: float = 1.0
    """By which its loss and gradient count: less than 1 where several workers compute the same."""
    counts: bool = True
    """Whether its diagnostics count."""


def _share(trial: Trial, items: Items) -> Share:
    rank, world = trial.group.rank, trial.group.world
    if world == 1 or not trial.materials.shape.compares_items:
        return Share(items[rank::world])
    if len(items) < world:  # all have to meet while they compute, and there is not an item for each
        return Share(items, part=1.0 / world, counts=rank == 0)
    return Share(items[rank::world], tuple(len(items[each::world]) for each in range(world)))


@contextmanager
def _moved_weights(trial: Trial, share: Share, scale: float | Tensor) -> Iterator[None]:
    """Within, the weights are where the method wants the gradient taken; afterwards where they were, to the bit."""
    way, strength = trial.perturbation.weights, magnitude(trial)
    if way is None or way.reach * strength == 0.0:
        yield
        return
    total = torch.full((1,), math.nan, dtype=torch.float64, device=trial.group.device)
    if way.looks_first:
        loss, _ = _accumulate(trial, share, scale, comes_again=True)
        total = trial.group.sum_gradients(_trained(trial), loss.unsqueeze(0))
    weights = {name: parameter.detach() for name, parameter in _named(trial)}
    kept = trial.kept = trial.kept or {name: torch.empty_like(weight) for name, weight in weights.items()}
    for name, weight in weights.items():
        kept[name].copy_(weight)
    norms = way.move(weights, _gradients(trial), strength, partial(_dropped, trial))
    trial.optimizer.zero_grad(set_to_none=True)
    trial.unread.moved[len(trial.unread.sums)] = torch.cat([total, norms.double()])
    try:
        yield
    finally:
        for name, before in kept.items():
            weights[name].copy_(before)
    way.bring_back(_gradients(trial))


def _dropped(trial: Trial, name: str, weight: Tensor, p: float, out: Tensor) -> Tensor:
    """Factors of dropout for a parameter's weights in this step."""
    return dropout.draw(derive(trial.config.training.seed, "weights", trial.step, name), weight, p, out)


def _accumulate(
    trial: Trial, share: Share, scale: float | Tensor, comes_again: bool = False
) -> tuple[Tensor, list[Diagnostics | Measured]]:
    """Sum of the losses over the micro-batches of a share, whose gradient is accumulated, and diagnostics.

    Memory that does not suffice halves the micro-batches, once in a trial. `comes_again`: the same share comes next.
    """
    losses: list[Tensor] = []
    diagnostics: list[Diagnostics | Measured] = []
    if trial.perturbation.carries is not None:
        trial.perturbation.carries.forget()
    parts = _cut(trial, share.items, trial.step)
    try:
        for part, following in zip_longest(parts, [*parts[1:], *parts[:1]] if comes_again else parts[1:]):
            loss, found = _backward(trial, part, scale * share.part, share.sizes, following)
            losses.append(loss.sum(dtype=torch.float64))
            if share.counts:
                diagnostics.append(found)
        total = losses[0] if losses else torch.zeros((), dtype=torch.float64, device=trial.group.device)
        total = sum(losses[1:], start=total)
        return total if share.part == 1.0 else total * share.part, diagnostics
    except torch.OutOfMemoryError as error:
        smaller = None if trial.materials.shape.compares_items else trial.limits.half(len(share.items))
        if smaller is None:
            error.add_note("training.micro_batch_tokens: fewer tokens at once need less memory")
            raise
        trial.limits, words = smaller
    # Not within the handler, where the error's traceback still holds what was computed.
    trial.say(words)
    trial.optimizer.zero_grad(set_to_none=True)
    if trial.group.device.type == "cuda":
        torch.cuda.empty_cache()
    return _accumulate(trial, share, scale, comes_again)


def _cut(trial: Trial, items: Items, step: int) -> list[Items]:
    """A worker's share of a step in micro-batches; items that are compared with each other stay together."""
    if trial.materials.shape.compares_items:
        return [items] if len(items) else []
    lengths = trial.batches.lengths[items]
    if trial.materials.views is not None and trial.limits.tokens is not None:
        lengths = np.maximum(lengths, longest(trial.materials, trial.epoch(step), items))
    return trial.limits.cut(items, lengths * trial.materials.shape.sequences_per_item)


def _backward(
    trial: Trial,
    items: Items,
    scale: float | Tensor,
    sizes: Sequence[int] | None = None,
    following: Items | None = None,
) -> tuple[Tensor, Diagnostics | Measured]:
    """Accumulate the gradient of ``scale`` times the sum of the items' losses, which are returned (n,), detached.

    `sizes` are those of all workers' shares where an item's loss depends on the others'; `following` the micro-batch
    that comes next in this step.
    """
    config, model, carries = trial.config, trial.model, trial.perturbation.carries
    shape = trial.materials.shape if sizes is None else Compared(trial.materials.shape, trial.group, sizes)
    epoch = trial.epoch(trial.step)
    batch, view = trial.feed.take(epoch, items, lambda: _first(trial) if following is None else (epoch, following))
    dropout_seed = derive(config.training.seed, "dropout", trial.step, int(items[0]))
    model.masks.begin(dropout_seed)

    def forward(embeddings: Tensor, masks: int = dropout_seed, part: Batch = batch) -> Tensor:
        model.masks.use(masks)
        torch.manual_seed(masks)  # for kernels that draw masks themselves
        return model.logits(embeddings, part)

    def perturbed(part: Batch) -> Tensor:
        return part.layout.mask if config.perturbation.perturb_special_tokens else part.layout.ordinary

    def encoded(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        model.masks.use(dropout_seed)
        torch.manual_seed(dropout_seed)
        return model.encoded(embeddings, batch, config.encoder.pooling)

    def averaged(carried: Weights, added: Tensor | None) -> Tensor:
        model.masks.use(dropout_seed)
        torch.manual_seed(dropout_seed)
        with torch.no_grad():
            logits: Tensor = torch.func.functional_call(model, dict(carried), (batch, added))
        return logits

    def look(part: Batch, layer: int) -> Inside:
        torch.manual_seed(dropout_seed)
        return Inside(*model.inside(model.embed(part), part, layer), part.layout.mask)

    again = derive(dropout_seed, "again")

    def other(view: View) -> Other:
        masks = again if config.perturbation.view.masks == "two" else dropout_seed
        return Other(
            forward=partial(forward, part=view.batch, masks=masks),
            embeddings=model.embed(view.batch),
            mask=perturbed(view.batch),
            there=view.there,
            loss=lambda logits: shape.loss(logits, view.batch.labels),
            common=lambda p, q: (p, q) if view.places is None else (view.at(0, p), view.at(1, q)),
            divergence=lambda p, q: shape.divergence(p, q, batch.labels if view.labels is None else view.labels),
            own_divergence=lambda p, q: shape.divergence(p, q, view.batch.labels),
            taught=None if trial.teacher is None else partial(trial.teacher, view.batch),
        )

    with arithmetic(config.training, trial.group.device):
        given = Perturbable(
            forward=forward,
            embeddings=model.embed(batch),
            mask=perturbed(batch),
            loss=lambda logits: shape.loss(logits, batch.labels),
            divergence=lambda p, q: shape.divergence(p, q, batch.labels),
            answers=lambda logits: shape.answers(logits, batch.labels),
            keys=batch.sequence_keys,
            draw=derive(config.training.seed, "perturbation", trial.step),
            forward_again=partial(forward, masks=again),
            words=batch.input_ids,
            places=None if carries is None else _places(trial, items),
            encoded=encoded,
            averaged=partial(averaged, carries.tensors) if isinstance(carries, Average) else None,
            reworded=None if view is None else lambda layer: (look(batch, layer), look(view.batch, layer)),
            other=None if view is None or trial.perturbation.reads_attention else other(view),
            taught=None if trial.teacher is None else partial(trial.teacher, batch),
            classes=trial.materials.shape.classes,
        )
        loss, found = trial.perturbation.backward(given, magnitude(trial), scale)
        added = _auxiliary(trial, batch, dropout_seed, scale)
        return loss if added is None else loss + added, found


def _auxiliary(trial: Trial, batch: Batch, masks: int, scale: float | Tensor) -> Tensor | None:
    """Accumulate the gradient of what syntax adds to the items' losses; that (n,), detached, or None: nothing.

    At the clean embeddings, whatever the method: the trees are those of the texts as they are.
    """
    if trial.model.syntax is None:
        return None
    trial.model.masks.use(masks)
    torch.manual_seed(masks)
    added = trial.model.auxiliary(batch)
    if added is None:
        return None
    accumulate(added, scale)
    return added.detach().view(-1, trial.materials.shape.sequences_per_item).sum(1)


def _places(trial: Trial, items: Items) -> Tensor:
    """The numbers of the items' sequences in the whole batch (s,)."""
    whole, each = trial.batch(trial.step), trial.materials.shape.sequences_per_item
    order = np.argsort(whole)
    found = order[np.searchsorted(whole, items, sorter=order)]
    places = torch.from_numpy((found[:, None] * each + np.arange(each)).ravel())
    (moved,) = move(trial.group.device, {"places": places})
    there: Tensor = moved["places"]
    return there


def _first(trial: Trial) -> tuple[int, Items] | None:
    """The micro-batch with which the next step begins, and its epoch, if there is one."""
    step = trial.step + 1
    if step >= trial.steps:
        return None
    parts = _cut(trial, _share(trial, trial.batch(step)).items, step)
    return (trial.epoch(step), parts[0]) if parts else None


@contextmanager
def arithmetic(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Within, passes are computed in a trial's precision."""
    if config.precision in ("bf16", "fp16"):
        with torch.autocast(device.type, dtype=torch.bfloat16 if config.precision == "bf16" else torch.float16):
            yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if config.precision == "tf32" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def magnitude(trial: Trial) -> float:
    """Share of the perturbation's full magnitude at the current step: linear warm-up, linear decay at the end."""
    config = trial.config.perturbation
    rise = config.warmup_fraction * trial.steps
    fall = config.decay_fraction * trial.steps
    risen = 1.0 if trial.step >= rise else trial.step / rise
    left = trial.steps - trial.step
    return min(risen, 1.0 if left >= fall else left / fall)


def _carry(trial: Trial) -> None:
    """Take what the workers found in this step, and the weights after it, into what the method carries."""
    if (carries := trial.perturbation.carries) is not None:
        trial.group.sum(carries.found)
        carries.update(dict(_named(trial)), (trial.step + 1) / trial.steps)


def _trained(trial: Trial) -> list[nn.Parameter]:
    return [parameter for _, parameter in _named(trial)]


def _named(trial: Trial) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in trial.model.named_parameters() if parameter.requires_grad]


def _gradients(trial: Trial) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in _named(trial) if parameter.grad is not None}


def _update(trial: Trial, values: Tensor) -> Tensor:
    """Take the optimiser's step along the gradients of all workers; their values (n,), summed as well."""
    parameters = _trained(trial)
    total = trial.group.sum_gradients(parameters, values)
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
