"""One trial in plain torch: a generator of evaluations that knows neither Ray nor studies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.perturbation.base import Diagnostics
from trainables.scores import Evaluation, Split
from trainables.scoring.evaluation import Predictions, evaluate
from trainables.scoring.robustness import robust_scores
from trainables.scoring.stream import Stream
from trainables.storage import checkpoint as checkpoints
from trainables.training.step import DivergedError, Interrupted, arithmetic, read, train_step
from trainables.training.trial import Meters, Say, Trial, start

READING = 10
"""Steps between two readings of an accelerator, which computes meanwhile. On a CPU each step is read: it waits for
nothing."""

Predicted = Callable[[Materials, list[tuple[Split, Stream, Predictions]]], None]
"""Given the predictions of the last evaluation of each split, before the trial's last checkpoint is written."""


def run_trial(
    config: TrialConfig,
    directory: Path,
    *,
    group: Group | None = None,
    final_split: Split = "validation",
    predicted: Predicted | None = None,
    interrupted: Interrupted = lambda: False,
    say: Say = lambda words: None,
) -> Generator[Evaluation]:
    """Train and evaluate one trial; continues from the newest whole checkpoint in `directory` where there is one.

    The test split is read only where `final_split` says so. Raises `UserError` for unusable data or encoders and
    `DivergedError` on a loss that is not finite.
    """
    materials = materials_of.load(config, _splits(final_split))
    trial = start(config, materials, group or Group(), directory)
    trial.say = say
    if trial.lost:
        steps = ", ".join(map(str, trial.lost))
        say(f"its checkpoint of step {steps} cannot be read: it goes on from step {trial.step}")
    yield from fit(trial, final_split, predicted, interrupted)


def _splits(final_split: Split) -> tuple[Split, ...]:
    return ("validation",) if final_split == "validation" else ("validation", "test")


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
    apart = READING if trial.group.device.type != "cpu" else 1
    while trial.step < trial.steps:
        began = time.perf_counter()
        train_step(trial)
        reads = trial.step == trial.steps or trial.step % every == 0 or trial.step % apart == 0
        loss, stop = read(trial, interrupted) if reads else (0.0, False)
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


def _finish(trial: Trial, final_split: Split, predicted: Predicted | None) -> Iterator[Evaluation]:
    """The trial's result: one checkpoint, the last or the best on the source language, scored on all languages."""
    final, outcome = _evaluate(trial, "validation", final=final_split == "validation")
    if trial.best is not None and trial.best[0] != trial.step:
        checkpoints.load_weights(trial.model, _best_weights(trial, trial.best[0]))
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


def _best_weights(trial: Trial, step: int) -> Mapping[str, Tensor]:
    """Those that rank 0 has kept, on every worker: the others need not see its folder."""
    kept = checkpoints.read(trial.directory / str(step)) if trial.group.rank == 0 else None
    if not trial.group.share(kept is not None):
        raise RuntimeError(f"the best checkpoint, that of step {step}, cannot be read")
    return trial.group.spread(kept.weights if kept is not None else None)


def _evaluate(trial: Trial, split: Split, final: bool) -> tuple[Evaluation, tuple[Stream, Predictions]]:
    config, meters = trial.config.evaluation, trial.meters
    examples = config.examples_per_language
    if trial.step < trial.steps and config.intermediate_examples_per_language is not None:
        examples = config.intermediate_examples_per_language
    began = time.perf_counter()
    with arithmetic(trial.config.training, trial.group.device):
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
            "relative_norm": rms / norm,
            "perturbation_norm_max": total.norm_max,
            "effective_epsilon": trial.perturbation.strength * meters.magnitude / meters.steps,
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
