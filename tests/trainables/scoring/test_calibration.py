"""Calibration against plain restatements and scikit-learn, and from a model's logits to each language's scores."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.trainables import texts
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.config import CalibrationConfig, EvaluationConfig, TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.materials.fitting import check
from trainables.model.encoder import Model
from trainables.scores import LanguageScores
from trainables.scoring.calibration import brier, calibration_error
from trainables.scoring.evaluation import evaluate
from trainables.scoring.predictions import table
from trainables.tasks.base import TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification


def plain_error(confidences: list[float], right: list[bool], bins: int) -> float:
    total = 0.0
    for k in range(bins):
        inside = [i for i, c in enumerate(confidences) if k / bins < c <= (k + 1) / bins]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


def plain_brier(probabilities: list[list[float]], gold: list[int]) -> float:
    squares = [(p - (c == g)) ** 2 for row, g in zip(probabilities, gold, strict=True) for c, p in enumerate(row)]
    return sum(squares) / len(gold)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_errors_are_those_of_the_definitions(bins: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(bins)
    probabilities = draw.dirichlet([0.5, 1.0, 2.0], size=200)
    gold = np.asarray([draw.choice(3, p=p) for p in probabilities])
    right = probabilities.argmax(1) == gold
    found = calibration_error(probabilities.max(1), right, bins)
    assert found == pytest.approx(plain_error(probabilities.max(1).tolist(), right.tolist(), bins))
    assert brier(probabilities, gold) == pytest.approx(plain_brier(probabilities.tolist(), gold.tolist()))
    one_by_one = sum(metrics.brier_score_loss(gold == k, probabilities[:, k]) for k in range(3))
    assert brier(probabilities, gold) == pytest.approx(one_by_one)


def test_edges_of_bins_belong_to_the_lower_and_certainty_to_the_last() -> None:
    confidences, right = np.asarray([0.5, 0.75, 1.0]), np.asarray([False, True, True])
    assert calibration_error(confidences, right, 2) == pytest.approx((0.5 + 0.25) / 3)
    assert calibration_error(confidences, right, 1) == pytest.approx(0.25 / 3)
    assert brier(np.asarray([[0.0, 1.0], [1.0, 0.0]]), np.asarray([1, 1])) == 1.0


class Adding(nn.Module):
    """Logits (0, sum of the ids), or of multiple choice the sum of each choice."""

    def __init__(self, choices: int) -> None:
        super().__init__()
        self.choices = choices
        self.encoder = SimpleNamespace(frozen_layers=0)

    def embed(self, batch: Batch) -> Tensor:
        return (batch.input_ids - 5.0) * batch.attention_mask

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        total = embeddings.sum(1).half() / 4  # as autocast may give them
        return total.view(-1, self.choices) if self.choices > 1 else torch.stack([torch.zeros_like(total), total], 1)


def softmax(values: list[float]) -> list[float]:
    return [math.exp(v) / sum(map(math.exp, values)) for v in values]


CASES: dict[str, tuple[TaskShape, dict[str, list[Item]], dict[str, list[list[float]]]]] = {
    "classification": (
        Classification(("no", "yes"), pair=False),
        {
            "en": [Item(((7, 8),), (1,), 0), Item(((2, 5),), (1,), 1), Item(((6, 6),), (0,), 2)],
            "sw": [Item(((7, 8),), (0,), 0), Item(((9,),), (1,), 1)],  # the first text again, with another label
        },
        {
            "en": [softmax([0, 1.25]), softmax([0, -0.75]), softmax([0, 0.5])],
            "sw": [softmax([0, 1.25]), softmax([0, 1.0])],
        },
    ),
    "multiple choice": (
        MultipleChoice(("1", "2", "3"), most_choices=3),
        {
            "en": [Item(((5, 5), (7, 6), (6, 6)), (1, 3), 0), Item(((4, 5), (5, 6), (9, 9)), (0, 2), 1)],
            "sw": [Item(((6,), (7,), (8,)), (0, 3), 0)],
        },
        {
            "en": [softmax([0, 0.75, 0.5]), [*softmax([-0.25, 0.25]), 0.0]],
            "sw": [softmax([0.25, 0.5, 0.75])],
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("world", [1, 2])
def test_scores_are_of_the_probabilities_that_the_answers_have(name: str, world: int) -> None:
    shape, items, expected = CASES[name]
    rows = {language: [{"label": item.labels[0]} for item in each] for language, each in items.items()}
    materials = texts.write(shape, items, rows)
    config = EvaluationConfig(token_budget=64, calibration=CalibrationConfig(bins=4))

    def work(group: Group) -> dict[str, LanguageScores]:
        model: Any = Adding(shape.sequences_per_item)
        return evaluate(cast(Model, model), materials, "validation", None, config, group)[0]

    first, *others = together(world, work)
    assert all(other == first for other in others)
    assert list(first) == ["accuracy", "calibration_error", "brier", "confidence_weighted_accuracy"]
    for language, probabilities in expected.items():
        gold = [row["label"] for row in rows[language]]
        right = [p.index(max(p)) == g for p, g in zip(probabilities, gold, strict=True)]
        assert first["accuracy"][language] == pytest.approx(sum(right) / len(right))
        assert first["brier"][language] == pytest.approx(plain_brier(probabilities, gold), abs=1e-6)
        error = plain_error(list(map(max, probabilities)), right, 4)
        assert first["calibration_error"][language] == pytest.approx(error, abs=1e-6)
        assert first["brier"].counts[language] == len(gold)


def test_predictions_have_the_confidence_where_calibration_is_asked_for() -> None:
    shape, items, expected = CASES["multiple choice"]
    materials = texts.write(shape, items, {k: [{"label": i.labels[0]} for i in each] for k, each in items.items()})
    model: Any = Adding(shape.sequences_per_item)
    for asked in (CalibrationConfig(), None):
        config = EvaluationConfig(calibration=asked)
        _, found, plan = evaluate(cast(Model, model), materials, "validation", None, config, Group())
        frame = table(materials, "validation", plan, found).to_pandas()
        sure = [max(p) for each in expected.values() for p in each]
        assert frame["confidence"].tolist() == pytest.approx(sure if asked else [math.nan] * len(sure), nan_ok=True)


def test_tasks_with_several_answers_an_example_are_refused() -> None:
    config = TrialConfig.model_validate({"task": {"name": "udpos"}, "evaluation": {"calibration": {}}})
    with pytest.raises(UserError, match=r"^evaluation\.calibration: only for tasks with one answer an example"):
        check(config)
