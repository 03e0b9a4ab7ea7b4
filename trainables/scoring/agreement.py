"""How often a model answers an example as it answers the same example in the source language, right or wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainables.config import EvaluationConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.materials.twins import twins
from trainables.model.encoder import Model
from trainables.scores import LanguageScores, Split
from trainables.scoring.evaluation import Predictions, answered
from trainables.scoring.stream import Stream, stream_of


def agreement_scores(
    model: Model,
    materials: Materials,
    split: Split,
    plan: Stream,
    answers: Predictions,
    config: EvaluationConfig,
    group: Group,
) -> dict[str, LanguageScores]:
    """``agreement``: of each target language, the share of evaluated rows with a twin whose answer is the twin's.

    In [0, 1]. Needs no label, and says nothing about who is right. `answers` are the classes of the items of `plan`;
    twins that are not among these are asked for.
    """
    pairs = materials.remember(("twins", split), lambda: twins(materials.rows[split], materials.source_language))
    rows = {language: _rows(materials, split, language, items) for language, items in plan.items.items()}
    source = materials.source_language
    told = dict(zip(rows[source], answers[source], strict=True))
    wanted = {pairs[language][row] for language in pairs for row in rows[language] if row in pairs[language]}
    if lacking := wanted - told.keys():
        told |= _source_answers(model, materials, split, lacking, config, group)
    values, counts = {}, {}
    for language, own in pairs.items():
        given = zip(rows[language], answers[language], strict=True)
        same = [answer == told[own[row]] for row, answer in given if row in own]
        if same:
            values[language], counts[language] = float(np.mean(same)), len(same)
    return {"agreement": LanguageScores(values, counts)} if values else {}


def _source_answers(
    model: Model, materials: Materials, split: Split, rows: set[int], config: EvaluationConfig, group: Group
) -> dict[int, Any]:
    """The model's answers to rows of the source language."""
    source, budget = materials.source_language, config.tokens_on(group.device.type)
    numbers = materials.evaluation[split][source].rows
    items = {source: [int(item) for item in np.flatnonzero(np.isin(numbers, sorted(rows)))]}
    plan = stream_of(materials, split, items, budget)
    key = ("twins", budget, *items[source])
    found = answered(model, materials, split, plan, config, group, key)["classes"][source]
    return dict(zip(_rows(materials, split, source, items[source]), found, strict=True))


def _rows(materials: Materials, split: Split, language: str, items: list[int]) -> list[int]:
    numbers: list[int] = materials.evaluation[split][language].rows[items].tolist()
    return numbers
