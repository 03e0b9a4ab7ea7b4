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
from trainables.scores import Evaluation, Split
from trainables.scoring.agreement import agreement_scores
from trainables.scoring.evaluation import Found, evaluate
from trainables.scoring.robustness import robust_scores
from trainables.scoring.stream import Stream
from trainables.storage import checkpoint as checkpoints
from trainables.training import average
from trainables.training.saving import Keep, Saving
from trainables.training.step import DivergedError, Interrupted, arithmetic, read, train_step
from trainables.training.trial import Meters, Say, Trial, start

READING = 10
"""Steps between two readings of an accelerator, which computes meanwhile. On a CPU each step is read: it waits for
nothing."""

Predicted = Callable[[Materials, list[tuple[Split, Stream, Found]]], None]
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
    keep: Keep = lambda: None,
    weights: Path | None = None,
) -> Generator[Evaluation]:
    """Train and evaluate one trial; continues from the newest whole checkpoint in `directory` where there is one.

    Where there is none, `weights` names a folder of checkpoints whose newest has weights of the same kin
    (`average.kin`) that are scored instead of any being trained.

    Each evaluation comes once its checkpoint is written and `keep` has seen to it; meanwhile training goes on. The test
    split is read only where `final_split` says so. Raises `UserError` for unusable data or encoders, `DivergedError` on
    a loss that is not finite, and `OSError` where a checkpoint cannot be written.
    """
    materials = materials_of.load(config, _splits(final_split))
    trial = start(config, materials, group or Group(), directory, weights)
    trial.say = say
    if trial.lost:
        steps = ", ".join(map(str, trial.lost))
        say(f"its checkpoint of step {steps} cannot be read: it goes on from step {trial.step}")
    yield from fit(trial, final_split, predicted, interrupted, keep)


def _splits(final_split: Split) -> tuple[Split, ...]:
    return ("validation",) if final_split == "validation" else ("validation", "test")


def fit(
    trial: Trial,
    final_split: Split = "validation",
    predicted: Predicted | None = None,
    interrupted: Interrupted = lambda: False,
    keep: Keep = lambda: None,
) -> Iterator[Evaluation]:
    """Train to the end of the budget; yield each evaluation once its checkpoint is written. The last one is `final`.

    Training goes on while a checkpoint is written, so that the trial may be some steps ahead of an evaluation; it is
    never ahead of the next one. A resumed trial first yields its checkpoint's evaluations again: their reader may have
    died before hearing of them.
    """
    yield from trial.resumed
    saving = Saving(trial, keep)
    trial.is_written, trial.is_due = saving.is_written, saving.is_due
    try:
        yield from _fit(trial, saving, final_split, predicted, interrupted)
    finally:
        saving.close()


def _fit(
    trial: Trial, saving: Saving, final_split: Split, predicted: Predicted | None, interrupted: Interrupted
) -> Iterator[Evaluation]:
    every = trial.config.evaluation.every or trial.steps
    apart = READING if trial.group.device.type != "cpu" else 1
    # Also what has all its steps and no result: a budget of today's rounding may be a step shorter than when it began.
    if trial.given or (trial.step >= trial.steps and not any(each.final for each in trial.resumed)):
        yield from _finish(trial, saving, final_split, predicted)
    while trial.step < trial.steps:
        began = time.perf_counter()
        try:
            train_step(trial, interrupted)
            reads = trial.step == trial.steps or trial.step % every == 0 or trial.step % apart == 0
            loss, stop = read(trial) if reads else (0.0, False)
            if not math.isfinite(loss):
                raise DivergedError(f"the training loss is {loss} at step {trial.step}")
        except Exception as error:
            if trial.group.world == 1 or isinstance(error, DivergedError):  # which all workers see at once
                yield from saving.reported()
            raise
        trial.meters.seconds += time.perf_counter() - began
        evaluated, ended = trial.step % every == 0, trial.step == trial.steps
        if evaluated or ended or stop or trial.all_written:
            yield from saving.reported()
        if ended:
            yield from _finish(trial, saving, final_split, predicted)
        elif evaluated:
            _average(trial)
            saving.begin([_evaluate(trial, "validation", final=False)[0]])
        elif stop:
            saving.write([], final=False)
            return
        elif trial.due:
            saving.begin()


def _finish(trial: Trial, saving: Saving, final_split: Split, predicted: Predicted | None) -> Iterator[Evaluation]:
    """The trial's result: one checkpoint, the last, the best on the source language, or their mean, fully scored."""
    if trial.config.evaluation.checkpoint == "average":
        _average(trial)
        checkpoints.load_weights(trial.model, trial.mean)
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
    saving.write(evaluations, final=True)
    yield from evaluations


def _average(trial: Trial) -> None:
    """Take the weights into their mean, where the trial averages those of this evaluation: on every worker alike."""
    if average.counts(trial.config.evaluation, trial.step, trial.steps):
        trial.mean = average.joined(trial.mean, trial.averaged, trial.model)
        trial.averaged += 1


def _best_weights(trial: Trial, step: int) -> Mapping[str, Tensor]:
    """Those that rank 0 has kept, on every worker: the others need not see its folder."""
    kept = checkpoints.read(trial.directory / str(step)) if trial.group.rank == 0 else None
    if not trial.group.share(kept is not None):
        raise RuntimeError(f"the best checkpoint, that of step {step}, cannot be read")
    return trial.group.spread(kept.weights if kept is not None else None)


def _evaluate(trial: Trial, split: Split, final: bool) -> tuple[Evaluation, tuple[Stream, Found]]:
    config, meters = trial.config.evaluation, trial.meters
    examples = config.examples_per_language
    if trial.step < trial.steps and config.intermediate_examples_per_language is not None:
        examples = config.intermediate_examples_per_language
    began = time.perf_counter()
    with arithmetic(trial.config.training, trial.group.device):
        scores, found, plan = evaluate(trial.model, trial.materials, split, examples, config, trial.group)
        if config.agreement:
            told = (split, plan, found["classes"])
            scores = scores | agreement_scores(trial.model, trial.materials, *told, config, trial.group)
        if trial.step == trial.steps:
            scores = scores | robust_scores(trial.model, trial.materials, split, config, trial.group)
    meters.evaluation_seconds += time.perf_counter() - began
    training = _training_metrics(trial)
    meters.train_seconds += meters.seconds
    cost = {
        "train_seconds": meters.train_seconds,
        "evaluation_seconds": meters.evaluation_seconds,
        "forward_equivalents": 0.0 if trial.given else trial.step * trial.cost,
    }
    trial.meters = Meters(train_seconds=meters.train_seconds, evaluation_seconds=meters.evaluation_seconds)
    evaluation = Evaluation(trial.step, split, scores, training, cost, final)
    if config.checkpoint == "best_source_validation" and split == "validation":
        score = evaluation.primary[trial.materials.source_language]
        if trial.best is None or score > trial.best[1]:
            trial.best = (trial.step, score)
    return evaluation, (plan, found)


def _training_metrics(trial: Trial) -> dict[str, float]:
    """Diagnostics since the last evaluation, over all workers; empty where no step was taken."""
    if trial.meters.items == 0:
        return {}
    meters, norm = trial.meters.over(trial.group), trial.materials.training_norm
    total = meters.diagnostics
    metrics = {"loss": meters.loss / meters.items, "examples_per_second": meters.items / max(meters.seconds, 1e-9)}
    if total.tokens:
        rms = math.sqrt(total.squared_norm / total.tokens)
        metrics |= {
            "perturbation_norm": rms,
            "relative_norm": rms / norm,
            "perturbation_norm_max": total.norm_max,
            "effective_epsilon": trial.perturbation.strength * meters.magnitude / meters.steps,
        }
    if (moved := meters.moved).steps:
        metrics |= {
            "weight_norm": moved.norm / moved.steps,
            "relative_weight_norm": moved.relative / moved.steps,
        }
        if not math.isnan(moved.rise):
            metrics["sharpness"] = moved.rise / moved.steps
    if total.balls:
        metrics["clip_rate"] = total.clipped / total.balls
    if total.items:
        metrics["loss_rise"] = total.loss_rise / total.items
    if total.answered:
        metrics["answers_flipped"] = total.flipped / total.answered
    if total.compared:
        metrics["output_divergence"] = total.apart / total.compared
    if total.pairs and total.pieces:
        metrics["added_pieces"] = total.other_pieces / total.pieces - 1
        metrics["view_divergence"] = total.views_apart / total.pairs
    return metrics
