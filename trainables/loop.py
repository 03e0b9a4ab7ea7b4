"""One trial in plain torch: a generator of evaluations that knows neither Ray nor studies."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables import checkpoint as checkpoints
from trainables import materials as materials_of
from trainables.batches import Batches, total_steps
from trainables.config import TrainingConfig, TrialConfig
from trainables.distributed import Group
from trainables.encoder import Encoder, Model, load_encoder
from trainables.evaluation import Predictions, Stream, evaluate
from trainables.materials import Materials
from trainables.perturbation import create
from trainables.perturbation.base import Diagnostics, Inside, Perturbable, Perturbation
from trainables.robustness import robust_scores
from trainables.scores import Evaluation, Split
from trainables.seeds import derive
from trainables.tasks.base import Batch, Encoded, collate

Predicted = Callable[[Materials, list[tuple[Split, Stream, Predictions]]], None]
"""Given the predictions of the last evaluation of each split, before the trial's last checkpoint is written."""


Interrupted = Callable[[], bool]
"""Asked after every step; a true answer checkpoints the trial and ends the generator without a final evaluation."""


class DivergedError(RuntimeError):
    """The training loss is no longer a finite number."""


@dataclass
class Meters:
    """What has been summed up since the last evaluation, and the seconds spent since the trial's start."""

    loss: float = 0.0
    items: int = 0
    seconds: float = 0.0
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0


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
    steps: int
    step: int = 0
    best: tuple[int, float] | None = None
    meters: Meters = field(default_factory=Meters)
    resumed: tuple[Evaluation, ...] = ()


def run_trial(
    config: TrialConfig,
    directory: Path,
    *,
    group: Group | None = None,
    final_split: Split = "validation",
    predicted: Predicted | None = None,
    interrupted: Interrupted = lambda: False,
) -> Generator[Evaluation]:
    """Train and evaluate one trial; continues from the newest whole checkpoint in `directory` where there is one.

    The test split is read only where `final_split` says so. Raises `UserError` for unusable data or encoders and
    `DivergedError` on a loss that is not finite.
    """
    materials = materials_of.load(config, _splits(final_split))
    yield from fit(start(config, materials, group or Group(), directory), final_split, predicted, interrupted)


def _splits(final_split: Split) -> tuple[Split, ...]:
    return ("validation",) if final_split == "validation" else ("validation", "test")


def start(config: TrialConfig, materials: Materials, group: Group, directory: Path) -> Trial:
    """A trial ready to train: at step 0, or where its newest whole checkpoint left off."""
    pristine: Encoder = materials.remember(
        "encoder", lambda: load_encoder(config.encoder, materials.uses_segments, materials.encoder_folder)
    )
    model = build_model(config, materials, pristine).to(group.device)
    perturbation = create(config.perturbation, materials.reference_norm)
    if perturbation.paired:
        model.encoder.show_attention(config.perturbation.attention_layer)
    training = config.training
    batches = Batches(_item_lengths(materials), training.batch_size, training.seed, training.length_pool)
    trial = Trial(
        config=config,
        materials=materials,
        group=group,
        directory=directory,
        model=model,
        perturbation=perturbation,
        optimizer=build_optimizer(model, config.training),
        scaler=_loss_scaler(config.training, group.device),
        batches=batches,
        steps=total_steps(config.training.budget, batches.per_epoch, perturbation.forward_equivalents),
    )
    _resume(trial)
    return trial


def build_model(config: TrialConfig, materials: Materials, pristine: Encoder) -> Model:
    """A fresh copy of the pristine encoder with a fresh head, which depends on the seed and the task only."""
    encoder = copy.deepcopy(pristine)
    if config.encoder.dropout is not None:
        encoder.set_dropout(config.encoder.dropout)
    encoder.freeze(config.encoder.freeze_embeddings, config.encoder.freeze_lower_layers)
    own = float(encoder.model.config.hidden_dropout_prob)
    dropout = own if config.encoder.dropout is None else config.encoder.dropout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.training.seed, "head"))
        head = materials.shape.head(encoder.hidden_size, config.encoder.pooling, dropout)
    return Model(encoder, head)


def build_optimizer(model: Model, config: TrainingConfig) -> torch.optim.Optimizer:
    """Fused AdamW; the head may have its own peak rate; no decay on biases and layer norms."""
    groups = []
    for module, peak in (
        (model.encoder, config.learning_rate),
        (model.head, config.head_learning_rate or config.learning_rate),
    ):
        trained = [p for p in module.parameters() if p.requires_grad]
        matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        for parameters, decay in ((matrices, config.weight_decay), (vectors, 0.0)):
            if parameters:
                groups.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)


def _loss_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """For fp16, its scale in place: it makes one when it first scales a loss, which methods do themselves."""
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    scaler.scale(torch.zeros((), device=device))
    return scaler


def learning_rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then linear decay towards zero, or constant."""
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    return (steps - step) / max(1, steps - warmup)


def fit(
    trial: Trial,
    final_split: Split = "validation",
    predicted: Predicted | None = None,
    interrupted: Interrupted = lambda: False,
) -> Iterator[Evaluation]:
    """Train to the end of the budget; yield each evaluation once its checkpoint is written. The last one is `final`.

    A resumed trial first yields its checkpoint's evaluations again: their reader may have died before hearing of them.
    """
    yield from trial.resumed
    every = trial.config.evaluation.every or trial.steps
    while trial.step < trial.steps:
        began = time.perf_counter()
        loss, stop = train_step(trial, interrupted)
        trial.meters.seconds += time.perf_counter() - began
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss is {loss} at step {trial.step}")
        if trial.step == trial.steps:
            yield from _finish(trial, final_split, predicted)
        elif trial.step % every == 0:
            evaluation, _ = _evaluate(trial, "validation", final=False)
            _save(trial, [evaluation], final=False)
            yield evaluation
        elif stop:
            _save(trial, [], final=False)
            return


def train_step(trial: Trial, interrupted: Interrupted = lambda: False) -> tuple[float, bool]:
    """One optimiser step on this worker's share of the batch.

    Returns the mean loss over the whole batch, and whether any worker was interrupted: the same on every worker.
    """
    config, group = trial.config.training, trial.group
    trial.model.train()
    items = trial.batches.at(trial.step)
    mine = items[group.rank :: group.world]
    size = config.micro_batch_size or max(1, len(mine))
    local = 0.0
    for begin in range(0, len(mine), size):
        loss, diagnostics = _backward(trial, mine[begin : begin + size], trial.scaler.get_scale() / len(items))
        local += float(loss.sum())
        trial.meters.diagnostics.add(diagnostics)
    _update(trial)
    total, interruptions = group.sum(local, float(interrupted()))
    trial.meters.loss += total
    trial.meters.items += len(items)
    trial.step += 1
    return total / len(items), interruptions > 0


def _backward(trial: Trial, items: npt.NDArray[np.int64], scale: float) -> tuple[Tensor, Diagnostics]:
    config, shape, model = trial.config, trial.materials.shape, trial.model
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

    with _autocast(config.training, trial.group.device):
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


def _autocast(config: TrainingConfig, device: torch.device) -> AbstractContextManager[object]:
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


def _update(trial: Trial) -> None:
    parameters = [p for p in trial.model.parameters() if p.requires_grad]
    trial.group.sum_gradients(parameters)
    if trial.config.training.max_grad_norm is not None:
        trial.scaler.unscale_(trial.optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, trial.config.training.max_grad_norm)
    factor = learning_rate_factor(trial.step, trial.steps, trial.config.training)
    for group in trial.optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    trial.scaler.step(trial.optimizer)
    trial.scaler.update()
    trial.optimizer.zero_grad(set_to_none=True)


def _finish(trial: Trial, final_split: Split, predicted: Predicted | None) -> Iterator[Evaluation]:
    """The trial's result: one checkpoint, the last or the best on the source language, scored on all languages."""
    final, outcome = _evaluate(trial, "validation", final=final_split == "validation")
    if trial.best is not None and trial.best[0] != trial.step:
        kept = checkpoints.read(trial.directory / str(trial.best[0]))
        assert kept is not None, "the best checkpoint is kept until the trial ends"
        checkpoints.load_weights(trial.model, kept.weights)
        again, outcome = _evaluate(trial, "validation", final=final.final)
        final = replace(again, training=final.training)
    outcomes = [(final, outcome)]
    if final_split != "validation":
        outcomes.append(_evaluate(trial, final_split, final=True))
    if predicted is not None and trial.group.rank == 0:
        predicted(trial.materials, [(evaluation.split, *outcome) for evaluation, outcome in outcomes])
    evaluations = [evaluation for evaluation, _ in outcomes]
    _save(trial, evaluations, final=True)
    yield from evaluations


def _evaluate(trial: Trial, split: Split, final: bool) -> tuple[Evaluation, tuple[Stream, Predictions]]:
    config, meters = trial.config.evaluation, trial.meters
    examples = config.examples_per_language
    if trial.step < trial.steps and config.intermediate_examples_per_language is not None:
        examples = config.intermediate_examples_per_language
    began = time.perf_counter()
    with _autocast(trial.config.training, trial.group.device):
        scores, predictions, plan = evaluate(trial.model, trial.materials, split, examples, config, trial.group)
        if trial.step == trial.steps:
            scores = scores | robust_scores(trial.model, trial.materials, split, config, trial.group)
    meters.evaluation_seconds += time.perf_counter() - began
    training = _training_metrics(trial)
    meters.train_seconds += meters.seconds
    cost = {
        "train_seconds": meters.train_seconds,
        "evaluation_seconds": meters.evaluation_seconds,
        "forward_equivalents": trial.step * trial.perturbation.forward_equivalents,
    }
    trial.meters = Meters(train_seconds=meters.train_seconds, evaluation_seconds=meters.evaluation_seconds)
    evaluation = Evaluation(trial.step, split, scores, training, cost, final)
    if config.checkpoint == "best_source_validation" and split == "validation":
        score = evaluation.primary[trial.materials.source_language]
        if trial.best is None or score > trial.best[1]:
            trial.best = (trial.step, score)
    return evaluation, (plan, predictions)


def _training_metrics(trial: Trial) -> dict[str, float]:
    """Diagnostics since the last evaluation, over all workers; empty where no step was taken."""
    meters, norm = trial.meters, trial.materials.reference_norm
    if meters.items == 0:
        return {}
    total = Diagnostics()
    for part in trial.group.gather(meters.diagnostics):
        total.add(part)
    metrics = {"loss": meters.loss / meters.items, "examples_per_second": meters.items / max(meters.seconds, 1e-9)}
    if total.tokens:
        rms = math.sqrt(total.squared_norm / total.tokens)
        metrics |= {
            "perturbation_norm": rms,
            "perturbation_norm_relative": rms / norm,
            "perturbation_norm_max": total.norm_max,
        }
    if total.balls:
        metrics["clip_rate"] = total.clipped / total.balls
    if total.items:
        metrics |= {"loss_rise": total.loss_rise / total.items, "answers_flipped": total.flipped / total.items}
    return metrics


def _save(trial: Trial, evaluations: list[Evaluation], final: bool) -> None:
    """Checkpoint on rank 0; the last two stay, since the newest may turn out corrupt, and the best while needed."""
    if trial.group.rank == 0:
        optimizer = None if final else trial.optimizer
        seconds = (trial.meters.train_seconds + trial.meters.seconds, trial.meters.evaluation_seconds)
        scaler = trial.scaler.state_dict()
        checkpoints.save(trial.directory, trial.step, trial.model, optimizer, evaluations, trial.best, seconds, scaler)
        kept = set(checkpoints.steps(trial.directory)[-2:])
        checkpoints.keep_only(trial.directory, kept | ({trial.best[0]} if trial.best and not final else set()))
    trial.group.barrier()


def _resume(trial: Trial) -> None:
    found = checkpoints.latest(trial.directory)
    # All workers must continue from the same step, whatever each of them can see of a shared folder.
    if set(trial.group.gather(found.step if found else 0)) != {found.step if found else 0} or found is None:
        return
    checkpoints.load_weights(trial.model, found.weights)
    if found.optimizer:
        checkpoints.load_optimizer(trial.model, trial.optimizer, found.optimizer)
    if found.scaler:
        trial.scaler.load_state_dict(dict(found.scaler))
    trial.step, trial.best, trial.resumed = found.step, found.best, found.evaluations
    trial.meters = Meters(train_seconds=found.train_seconds, evaluation_seconds=found.evaluation_seconds)


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
