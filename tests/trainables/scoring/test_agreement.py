"""Agreement with the model's own answers in the source language, against a plain restatement."""

from __future__ import annotations

import logging
from dataclasses import replace
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
from trainables.materials import fitting
from trainables.materials import twins as twins_of
from trainables.materials.twins import twins
from trainables.model.encoder import Model
from trainables.scores import LanguageScores
from trainables.scoring.agreement import agreement_scores
from trainables.scoring.calibration import confidence_weighted_accuracy
from trainables.scoring.evaluation import evaluate
from trainables.tasks.classification import Classification

SHAPE = Classification(("no", "yes"), pair=False)
LANGUAGES = ("en", "de", "sw")


class Parity(nn.Module):
    """Answers whether an item's second token is odd, and notes how many items it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SimpleNamespace(frozen_layers=0)
        self.asked = 0

    def embed(self, batch: Batch) -> Tensor:
        self.asked += len(batch.input_ids)
        return batch.input_ids.float()

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        odd = embeddings[:, 1] % 2
        return torch.stack([1 - odd, odd], 1)


def answer(item: Item) -> int:
    return item.sequences[0][1] % 2


def written(keys: dict[str, list[int]]) -> tuple[Any, dict[str, dict[int, Item]]]:
    """Materials of three languages with rows of these keys, and each language's items by key."""
    draw = np.random.default_rng(0)

    def item(row: int) -> Item:
        return Item(((0, int(draw.integers(10, 999)), row + 1000, 2),), (int(draw.integers(2)),), row)

    items = {code: [item(row) for row in range(len(own))] for code, own in keys.items()}
    by_key = {code: dict(zip(own, items[code], strict=True)) for code, own in keys.items()}
    rows = {code: [{"label": i.labels[0], "key": key} for key, i in own.items()] for code, own in by_key.items()}
    return texts.write(SHAPE, items, rows), by_key


@pytest.mark.parametrize("examples", [None, 25])
@pytest.mark.parametrize("world", [1, 2])
def test_agreement_is_the_share_of_rows_that_are_answered_as_their_twins(examples: int | None, world: int) -> None:
    keys = {"en": list(range(40)), "de": list(range(39, -1, -1)), "sw": [*range(20, 40), *range(90, 110)]}
    materials, by_key = written(keys)
    config = EvaluationConfig(token_budget=64, agreement=True)
    models = [Parity() for _ in range(world)]

    def work(group: Group) -> tuple[Any, dict[str, LanguageScores]]:
        model = cast(Model, models[group.rank])
        own = replace(materials, _memory={})
        _, known, plan = evaluate(model, own, "validation", examples, config, group)
        return plan, agreement_scores(model, own, "validation", plan, known["classes"], config, group)

    (plan, found), *others = together(world, work)
    assert all(other == found for _, other in others)
    assert list(found) == ["agreement"] and found["agreement"].languages == ("de", "sw")
    for language in ("de", "sw"):
        evaluated = [keys[language][row] for row in plan.items[language] if keys[language][row] in keys["en"]]
        same = [answer(by_key[language][key]) == answer(by_key["en"][key]) for key in evaluated]
        assert 0 < sum(same) < len(same), "something is at stake"
        assert found["agreement"][language] == sum(same) / len(same)
        assert found["agreement"].counts[language] == len(same)
    twins_asked = {keys[c][row] for c in ("de", "sw") for row in plan.items[c]} & set(keys["en"])
    further = twins_asked - {keys["en"][row] for row in plan.items["en"]}
    assert sum(model.asked for model in models) == sum(map(len, plan.items.values())) + len(further)
    assert (not further) is (examples is None)


def test_rows_without_keys_are_twins_by_their_place_if_their_labels_say_so() -> None:
    rows = {"en": [0, 1, 1], "de": [0, 1, 1], "sw": [1, 0, 1], "yo": [0, 1]}
    given = {code: [{"label": label} for label in own] for code, own in rows.items()}
    assert twins(given, "en") == {"de": {0: 0, 1: 1, 2: 2}}
    keyed = {"en": [{"label": 0, "key": "a"}], "de": [{"label": 1, "key": "b"}, {"label": 1, "key": "a"}]}
    assert twins(keyed, "en") == {"de": {1: 0}}
    keyed["de"].append({"label": 1, "key": "a"})
    assert twins(keyed, "en") == {}, "which of two rows is it?"


def test_languages_without_twins_are_named_and_none_at_all_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    rows = {"en": [{"label": 0}], "de": [{"label": 0}], "sw": [{"label": 1}]}
    with caplog.at_level(logging.WARNING):
        twins_of.check(rows, "en", "validation")
    assert "no validation rows of sw are parallel to those in en" in caplog.text
    with pytest.raises(UserError, match=r"^evaluation\.agreement: needs parallel rows .*\(got test rows of sw against"):
        twins_of.check({"en": rows["en"], "sw": rows["sw"]}, "en", "test")
    with pytest.raises(UserError, match=r"\(got no test in en\)"):
        twins_of.check({"sw": rows["sw"]}, "en", "test")
    config = TrialConfig.model_validate({"task": {"name": "udpos"}, "evaluation": {"agreement": True}})
    with pytest.raises(UserError, match=r"^evaluation\.agreement: only for tasks with one answer an example"):
        fitting.check(config)


def test_confidence_weighted_accuracy_is_the_right_answers_share_of_all_confidence() -> None:
    confidences, right = np.asarray([0.9, 0.5, 0.6]), np.asarray([True, False, True])
    assert confidence_weighted_accuracy(confidences, right) == pytest.approx((0.9 + 0.6) / (0.9 + 0.5 + 0.6))
    assert confidence_weighted_accuracy(np.asarray([0.5, 0.5]), np.asarray([True, False])) == 0.5
    materials, by_key = written({"en": list(range(30))})
    config = EvaluationConfig(calibration=CalibrationConfig())
    scores, _, _ = evaluate(cast(Model, Parity()), materials, "validation", None, config, Group())
    right = np.asarray([answer(item) == item.labels[0] for item in by_key["en"].values()])
    assert scores["confidence_weighted_accuracy"]["en"] == pytest.approx(right.mean())  # equally sure of all
