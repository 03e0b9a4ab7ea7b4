"""Clean scores of all languages in one length-sorted stream, and the predictions behind them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.batch import Batch
from trainables.config import EvaluationConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.model.frozen import Frozen
from trainables.scores import LanguageScores, Split
from trainables.scoring.calibration import brier, calibration_error, confidence_weighted_accuracy
from trainables.scoring.parsed import parsed_scores
from trainables.scoring.search import Embedded, gather, rankings
from trainables.scoring.sequences import Sequences, batches, sequences
from trainables.scoring.stream import Stream, join, planned
from trainables.tasks.base import collate

Predictions = dict[str, list[Any]]
"""Language -> one prediction per item of the evaluated subset, in item order."""

Found = dict[str, Predictions]
"""What a model says of evaluated items: ``answers``, which are scored; where they are asked for ``classes``, of shapes
with single answers, and their ``probabilities``."""

Respond = Callable[[Batch], Callable[[], dict[str, list[Any]]]]
"""What reads a batch's predictions, item by item, under one or several names, once they are computed."""


def predict_stream(
    model: Model, materials: Materials, split: Split, plan: Stream, group: Group, respond: Respond
) -> dict[str, Predictions]:
    """Predictions for every planned item, on every worker, by name. Leaves the model in evaluation mode."""
    model.eval()
    c = materials.shape.sequences_per_item

    def own() -> Iterator[tuple[list[tuple[str, int]], Batch]]:
        for keys in plan.batches[group.rank :: group.world]:
            joined = join([(materials.evaluation[split][k], item) for k, item in keys], c)
            yield keys, collate(materials.shape, joined, range(len(keys)), materials.pad_id).to(group.device)

    mine = [
        (name, key, answer)
        for keys, answers in _answered(own(), respond)
        for name, found in answers.items()
        for key, answer in zip(keys, found, strict=True)
    ]
    found: dict[str, Predictions] = {}
    for name, representative, prediction in (each for part in group.gather(mine) for each in part):
        if name not in found:
            found[name] = {language: [None] * len(chosen) for language, chosen in plan.items.items()}
        for language, position in plan.copies[representative]:
            found[name][language][position] = prediction
    return found


def _answered(
    batches: Iterable[tuple[list[tuple[str, int]], Batch]], respond: Respond
) -> Iterator[tuple[list[tuple[str, int]], dict[str, list[Any]]]]:
    """What each batch gave, with the keys of what is in it.

    A batch is read once the next one has been asked for: a device has something to compute meanwhile.
    """
    late: tuple[list[tuple[str, int]], Callable[[], dict[str, list[Any]]]] | None = None
    for keys, batch in batches:
        asked = respond(batch)
        if late is not None:
            yield late[0], late[1]()
        late = keys, asked
    if late is not None:
        yield late[0], late[1]()


def search_sequences(
    model: Model, materials: Materials, split: Split, plan: Stream, own: Sequences, group: Group, respond: Respond
) -> Predictions:
    """As `predict_stream`, of shapes that search among sequences: each different one is embedded once.

    What `respond` reads is a batch's vectors, under one name; what fills its last item is left out.
    """
    model.eval()
    answered = _answered(batches(materials, split, own, group), respond)
    found = (np.stack(answers["vectors"][: len(keys)]) for keys, answers in answered)
    with Embedded(len(own)) as embedded:
        gather(found, own, group, embedded)
        return rankings(materials, split, plan.items, own, embedded.vectors())


def on_host(*tensors: Tensor) -> Callable[[], list[Tensor]]:
    """Begin to copy tensors from their device; what is returned waits for them to be there."""
    device = tensors[0].device
    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
    if device.type == "cpu":
        return lambda: copies
    done = torch.Event(device.type)
    done.record()

    def wait() -> list[Tensor]:
        done.synchronize()
        return copies

    return wait


def score(materials: Materials, split: Split, plan: Stream, predictions: Predictions) -> dict[str, LanguageScores]:
    """Official scores per language, the primary metric first."""
    values: dict[str, dict[str, float]] = {m: {} for m in materials.shape.metrics}
    counts: dict[str, dict[str, int]] = {m: {} for m in materials.shape.metrics}
    for language, items in plan.items.items():
        whole = materials.evaluation[split][language]
        encoded = whole.pick(items, materials.shape.sequences_per_item)
        rows = materials.rows[split][language]
        for metric, (value, count) in materials.shape.score(rows, encoded, predictions[language], language).items():
            values[metric][language], counts[metric][language] = value, count
    return {m: LanguageScores(values[m], counts[m]) for m in materials.shape.metrics}


def evaluate(
    model: Model, materials: Materials, split: Split, examples: int | None, config: EvaluationConfig, group: Group
) -> tuple[dict[str, LanguageScores], Found, Stream]:
    """Score every language of a split; `examples` rows each (None: all)."""
    budget = config.tokens_on(group.device.type)
    plan = planned(materials, split, examples, budget)
    found = answered(model, materials, split, plan, config, group, (examples, budget))
    scores = score(materials, split, plan, found["answers"]) | parsed_scores(materials, split, plan)
    if config.calibration is not None:
        bins = config.calibration.bins
        scores |= calibrated(materials, split, plan, found["classes"], found["probabilities"], bins)
    return scores, found, plan


def answered(
    model: Model,
    materials: Materials,
    split: Split,
    plan: Stream,
    config: EvaluationConfig,
    group: Group,
    key: tuple[Any, ...],
) -> Found:
    """What the model says of all planned items.

    `key` tells a split's plans apart: what frozen layers give is kept for each.
    """
    logits = _clean_logits(model, materials, group, (split, *key))
    shape, calibration = materials.shape, config.calibration

    # Not in inference mode, in which autocast would cast each weight anew in each batch.
    @torch.no_grad()
    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        arrived = on_host(logits(batch), batch.labels)

        def answers() -> dict[str, list[Any]]:
            there = arrived()
            found = {"answers": shape.predict(*there)}
            if calibration is not None or config.agreement:
                found |= {"classes": shape.answers(*there).tolist()}
            if calibration is not None:
                found |= {"probabilities": [*shape.probabilities(*there).numpy()]}
            return found

        return answers

    if shape.whole_item is None:
        return predict_stream(model, materials, split, plan, group, respond)

    @torch.no_grad()
    def embed(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        arrived = on_host(logits(batch))
        return lambda: {"vectors": [*arrived()[0].float().flatten(0, 1).numpy()]}

    budget = config.tokens_on(group.device.type)
    own = materials.remember(("sequences", split, *key), lambda: sequences(materials, split, plan.items, budget))
    return {"answers": search_sequences(model, materials, split, plan, own, group, embed)}


def calibrated(
    materials: Materials, split: Split, plan: Stream, classes: Predictions, probabilities: Predictions, bins: int
) -> dict[str, LanguageScores]:
    """``calibration_error``, ``brier`` and ``confidence_weighted_accuracy`` of each language, of shapes with single
    answers."""
    found: dict[str, dict[str, float]] = {"calibration_error": {}, "brier": {}, "confidence_weighted_accuracy": {}}
    shape = materials.shape
    for language, items in plan.items.items():
        encoded = materials.evaluation[split][language]
        gold = shape.gold(shape.collate_labels([encoded.item_labels(item) for item in items], 1)).numpy()
        given = np.stack(probabilities[language]).astype(np.float64)
        right = np.asarray(classes[language]) == gold
        found["calibration_error"][language] = calibration_error(given.max(1), right, bins)
        found["brier"][language] = brier(given, gold)
        found["confidence_weighted_accuracy"][language] = confidence_weighted_accuracy(given.max(1), right)
    counts = {language: len(items) for language, items in plan.items.items()}
    return {metric: LanguageScores(values, counts) for metric, values in found.items()}


def _clean_logits(
    model: Model, materials: Materials, group: Group, evaluation: tuple[Any, ...]
) -> Callable[[Batch], Tensor]:
    """Logits of an evaluation's batches, asked for in their order; what the frozen layers give is computed once."""
    layers, device = model.encoder.frozen_layers, group.device.type
    if layers == 0:
        return lambda batch: model.logits(model.embed(batch), batch)
    casts_to = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    arithmetic = (casts_to, torch.get_float32_matmul_precision(), model.encoder.is_compiled)
    key = (layers, model.encoder.attention, *arithmetic, group.rank, group.world, *evaluation)
    frozen: Frozen = materials.remember("frozen", Frozen)
    kept = frozen.of(key)
    numbers = itertools.count()
    return lambda batch: kept.logits(model, batch, next(numbers))
