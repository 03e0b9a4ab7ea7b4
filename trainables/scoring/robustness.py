"""Scores of a trained model under attack, certificates of its smoothed classifier, and noised texts, per language."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.batch import Batch
from trainables.config import AttackConfig, CertifyConfig, EvaluationConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.perturbation.attack import attacked_logits
from trainables.perturbation.base import Perturbable
from trainables.scores import LanguageScores, Split
from trainables.scoring.evaluation import predict_stream, score
from trainables.scoring.noise import noise_scores
from trainables.scoring.stream import planned
from trainables.scoring.word_attack import word_attack_scores
from trainables.seeds import derive
from trainables.tasks.base import TaskShape


def robust_scores(
    model: Model, materials: Materials, split: Split, config: EvaluationConfig, group: Group
) -> dict[str, LanguageScores]:
    """What `evaluation.attack`, `certify` and `noise` ask for, by metric name. Raises UserError for other shapes."""
    scores: dict[str, LanguageScores] = {}
    budget = config.tokens_on(group.device.type)
    if config.attack is not None and config.attack.kind == "words":
        scores |= word_attack_scores(model, materials, split, config.attack, budget, group)
    elif config.attack is not None:
        scores |= _attacked(model, materials, split, config.attack, budget, group)
    if config.certify is not None:
        scores |= _certified(model, materials, split, config.certify, budget, group)
    if config.noise:
        scores |= noise_scores(model, materials, split, config, group)
    return scores


def _attacked(
    model: Model, materials: Materials, split: Split, config: AttackConfig, budget: int, group: Group
) -> dict[str, LanguageScores]:
    """``attacked_<metric>`` where there is one radius, else ``attacked_<metric>_<radius>`` for each."""
    shape = materials.shape
    _only_single_answers(shape, "evaluation.attack")
    plan = planned(materials, split, config.examples_per_language, budget, labelled=True)

    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        def right(logits: Tensor) -> Tensor:
            return shape.answers(logits, batch.labels) == shape.gold(batch.labels)

        found = attacked_logits(_view(model, batch, shape), config, materials.reference_norm, right)
        answers = {f"{epsilon:g}": shape.predict(logits, batch.labels) for epsilon, logits in found.items()}
        return lambda: answers

    by_radius = predict_stream(model, materials, split, plan, group, respond)
    return {
        f"attacked_{metric}" + (f"_{radius}" if len(by_radius) > 1 else ""): values
        for radius, predictions in by_radius.items()
        for metric, values in score(materials, split, plan, predictions).items()
    }


def _certified(
    model: Model, materials: Materials, split: Split, config: CertifyConfig, budget: int, group: Group
) -> dict[str, LanguageScores]:
    """``certified_accuracy`` (the smoothed classifier is right and does not abstain), ``certified_radius``, and
    ``certified_word_distance`` to read it against: from an item to the nearest with another word.

    Both are means in units of the reference norm m; the radius is 0 where the smoothed classifier is wrong or abstains.
    """
    from trainables.perturbation.certify import certify, noisy_answers  # needs scipy: a second for who certifies

    shape = materials.shape
    _only_single_answers(shape, "evaluation.certify")
    plan = planned(materials, split, config.examples_per_language, budget, labelled=True)
    classes = shape.sequences_per_item if shape.sequences_per_item > 1 else len(shape.labels)
    distances = WordDistances(model.encoder.table, shape.sequences_per_item)

    def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
        view = _view(model, batch, shape)
        sigma = config.sigma * materials.reference_norm / math.sqrt(view.embeddings.shape[-1])
        certificates = certify(
            lambda draws: noisy_answers(_times(view, model, batch, shape, len(draws)), sigma, draws),
            classes,
            config.selection_draws,
            config.draws,
            sigma,
            config.alpha,
            at_once=max(1, budget // batch.input_ids.numel()),
        )
        correct = certificates.correct(shape.gold(batch.labels).cpu().numpy())
        radius = np.where(correct, certificates.radius, 0.0) / materials.reference_norm
        distance = distances.of(batch.input_ids, view.mask) / materials.reference_norm
        answers = {
            "accuracy": correct.astype(float).tolist(),
            "radius": radius.tolist(),
            "word_distance": distance.tolist(),
        }
        return lambda: answers

    return {
        f"certified_{name}": LanguageScores(
            {language: float(np.mean(values)) for language, values in predictions.items()},
            {language: len(values) for language, values in predictions.items()},
        )
        for name, predictions in predict_stream(model, materials, split, plan, group, respond).items()
    }


class WordDistances:
    """How far items are from those with another word, which a certificate says nothing about; each word is looked up
    once."""

    def __init__(self, table: Tensor, sequences_per_item: int) -> None:
        """`table` holds the word embeddings (v, e)."""
        self._table, self._sequences_per_item = table, sequences_per_item
        self._known = torch.full((len(table),), math.nan, device=table.device)

    def of(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Of each item (n,), the distance from any of its words under `mask` (s, t) to the nearest other word; 0 where
        it has none."""
        from trainables.perturbation.certify import nearest_word_distance

        words = torch.unique(ids[mask])
        new = words[self._known[words].isnan()]
        self._known[new] = nearest_word_distance(new, self._table).to(self._known.dtype)
        nearest = self._known[ids].masked_fill(~mask, math.inf).amin(dim=1)
        return nearest.reshape(-1, self._sequences_per_item).amin(dim=1).nan_to_num(posinf=0.0)


def _view(model: Model, batch: Batch, shape: TaskShape) -> Perturbable:
    """A batch as attack and certification see it: no dropout, special tokens left alone."""
    with torch.no_grad():
        embeddings = model.embed(batch)
    return Perturbable(
        forward=lambda point: model.logits(point, batch),
        embeddings=embeddings,
        mask=batch.layout.ordinary,
        loss=lambda logits: shape.loss(logits, batch.labels),
        divergence=lambda p, q: shape.divergence(p, q, batch.labels),
        answers=lambda logits: shape.answers(logits, batch.labels),
        keys=own_keys(batch),
        draw=derive(0, "robust evaluation"),
    )


def _times(view: Perturbable, model: Model, batch: Batch, shape: TaskShape, copies: int) -> Perturbable:
    """What `view` is of a batch, of so many copies of it."""
    if copies == 1:
        return view
    stacked = batch.times(copies)
    return replace(
        view,
        forward=lambda point: model.logits(point, stacked),
        embeddings=view.embeddings.repeat(copies, 1, 1),
        mask=stacked.layout.ordinary,
        loss=lambda logits: shape.loss(logits, stacked.labels),
        divergence=lambda p, q: shape.divergence(p, q, stacked.labels),
        answers=lambda logits: shape.answers(logits, stacked.labels),
        keys=view.keys.repeat(copies),
    )


def own_keys(batch: Batch) -> Tensor:
    """A key for the draws of each sequence (s,), a hash of its own tokens: the same in any batch, beside any others."""
    tokens, is_token = batch.input_ids.cpu().numpy(), batch.attention_mask.cpu().numpy().astype(bool)
    hashes = [blake2b(own[kept].tobytes(), digest_size=8).digest() for own, kept in zip(tokens, is_token, strict=True)]
    return torch.tensor([int.from_bytes(each, "big") >> 1 for each in hashes], device=batch.input_ids.device)


def _only_single_answers(shape: TaskShape, path: str) -> None:
    if not shape.has_single_answers:
        raise UserError(f"{path}: only for tasks with one answer an example, classification and multiple choice")
