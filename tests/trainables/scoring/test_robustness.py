"""Scores under attack and certificates against a linear model's, whose true answers a line of arithmetic gives.

The model adds up one number for each token and asks on which side of zero the sum is. Its worst case in a ball, and
how often noise turns it over, are known, whatever the attack starts from and whatever noise is drawn.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.trainables import texts
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.config import AttackConfig, CertifyConfig, EvaluationConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.scores import LanguageScores
from trainables.scoring import robustness
from trainables.scoring.robustness import robust_scores
from trainables.tasks.base import TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.tagging import Tagging

M = 2.0
"""The reference norm."""

DIM = 4
DIRECTION = torch.tensor([0.5, -0.5, 0.5, 0.5], dtype=torch.float64)  # of length one; its l1 norm is two
WORTH = (0.25, 0.0, -0.125, -0.75, -0.125, 0.125, 0.75)
"""What each token adds to the sum: start, padding, end, then words. Sums of them are exact."""

CLASSES = Classification(("no", "yes"), pair=False)
CHOICES = MultipleChoice(("1", "2", "3"), most_choices=3)
LANGUAGES = ("en", "sw", "th")


class Linear(nn.Module):
    """Logits (0, sum over the tokens); of multiple choice, the sum of each choice."""

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self.choices = choices
        sideways = torch.randn(len(WORTH), DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        sideways -= (sideways @ DIRECTION)[:, None] * DIRECTION
        self.table = nn.Parameter(torch.tensor(WORTH, dtype=torch.float64)[:, None] * DIRECTION + sideways)
        self.encoder = SimpleNamespace(frozen_layers=0, table=self.table)

    def embed(self, batch: Batch) -> Tensor:
        return self.table[batch.input_ids]

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        assert not self.training
        total = ((embeddings @ DIRECTION) * batch.attention_mask).sum(1)
        if self.choices > 1:
            return total.view(-1, self.choices)
        return torch.stack([torch.zeros_like(total), total], dim=1)


def total(sequence: Sequence[int]) -> float:
    """The sum that decides, in plain Python."""
    return math.fsum(WORTH[token] for token in sequence)


def words(sequence: Sequence[int]) -> int:
    """Tokens that may be perturbed: not those at the start and at the end."""
    return len(sequence) - 2


def margin(item: Item) -> float:
    """How far an item's text lies on its label's side."""
    return total(item.sequences[0]) * (1 if item.labels[0] else -1)


def evaluated(seed: int, decided: Mapping[str, float] | None = None) -> dict[str, list[Item]]:
    """Different texts in three languages, a third of them in two; labels are right for most.

    None is so near to the edge of a ball of radius `decided`, or to the sum zero without being it, that a good attack
    or honest noise could decide either way.
    """
    draw = random.Random(seed)
    items: dict[str, list[Item]] = {language: [] for language in LANGUAGES}
    label_of: dict[tuple[int, ...], int] = {}
    while min(map(len, items.values())) < 24:
        sequence = (0, *(draw.choice((3, 4, 5, 6)) for _ in range(draw.randint(1, 9))), 2)
        reach = abs(total(sequence)) / words(sequence)
        if any(0.8 * edge < reach <= 1.01 * edge for edge in (decided or {}).values()) or sequence in label_of:
            continue
        right = int(total(sequence) > 0)
        label_of[sequence] = right if draw.random() < 0.8 else 1 - right
        for language in draw.sample(LANGUAGES, draw.choice((1, 1, 2))):
            items[language].append(Item((sequence,), (label_of[sequence],), len(items[language])))
    return items


def written(shape: TaskShape, items: Mapping[str, Sequence[Item]]) -> Materials:
    rows = {language: [{"label": item.labels[0]} for item in each] for language, each in items.items()}
    return replace(texts.write(shape, items, rows, reference_norm=M), own_norm=5 * M)  # which is training's alone


def scored(
    found: Materials, attack: dict[str, Any] | None, certify: dict[str, Any] | None, budget: int = 64, world: int = 1
) -> dict[str, LanguageScores]:
    """What every one of `world` workers reports."""
    model = Linear(found.shape.sequences_per_item)
    config = EvaluationConfig(
        token_budget=budget,
        attack=None if attack is None else AttackConfig(**{"examples_per_language": 999, **attack}),
        certify=None if certify is None else CertifyConfig(**{"examples_per_language": 999, **certify}),
    )

    def work(group: Group) -> dict[str, LanguageScores]:
        return robust_scores(cast(Model, model), found, "validation", config, group)

    first, *others = together(world, work)
    assert all(other == first for other in others)
    assert model.table.grad is None
    return first


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@pytest.mark.parametrize(
    ("norm", "scope", "reach"),
    # How far a ball of radius one moves the sum, for each word: the direction's norm in the dual of the ball's.
    [("l2", "token", M), ("l2", "sentence", M), ("linf", "token", M / DIM**0.5 * 2.0)],
)
@pytest.mark.parametrize(("budget", "world"), [(64, 1), (4096, 1), (64, 2)])
def test_accuracy_under_attack_is_that_of_the_worst_point(
    norm: str, scope: str, reach: float, budget: int, world: int
) -> None:
    radii = (0.05, 0.2)
    items = evaluated(1, {f"{radius}": radius * reach for radius in radii})
    attack = {"epsilon": radii, "norm": norm, "scope": scope, "ascent_steps": 3}
    scores = scored(written(CLASSES, items), attack, None, budget, world)
    assert list(scores) == ["attacked_accuracy_0.05", "attacked_accuracy_0.2"]
    for radius, found in zip(radii, scores.values(), strict=True):
        assert dict(found.counts) == {language: len(each) for language, each in items.items()}
        for language, each in items.items():
            held = [margin(item) > radius * reach * words(item.sequences[0]) for item in each]
            assert found[language] == pytest.approx(mean(held))
            clean = mean([margin(item) > 0 for item in each])
            assert 0 < mean(held) < clean, "the attack matters here, and does not decide everything"


def test_an_absolute_radius_has_no_unit_of_the_encoder() -> None:
    items = evaluated(2, {"only": 0.2})
    (found,) = scored(written(CLASSES, items), {"epsilon": (0.2,), "relative": False}, None).values()
    for language, each in items.items():
        assert found[language] == pytest.approx(mean([margin(i) > 0.2 * words(i.sequences[0]) for i in each]))


@pytest.mark.parametrize(("budget", "world"), [(64, 1), (4096, 1), (64, 2)])
def test_certificates_are_those_of_the_linear_classifier(budget: int, world: int) -> None:
    """Noise is far too weak to turn a text over, but for those exactly between the classes, which stay undecided."""
    sigma, draws, alpha = 0.005, 40, 1e-9
    items = evaluated(3)
    between = ((0, 4, 4, 5, 2), (0, 6, 3, 4, 2), (0, 3, 6, 4, 2))
    assert [total(each) for each in between] == [0.0, 0.0, 0.0]
    items["sw"] += [Item((each,), (k % 2,), len(items["sw"]) + k) for k, each in enumerate(between)]
    certify = {"sigma": sigma, "draws": draws, "selection_draws": 5, "alpha": alpha}
    scores = scored(written(CLASSES, items), None, certify, budget, world)
    assert list(scores) == ["certified_accuracy", "certified_radius", "certified_word_distance"]
    cap = sigma / DIM**0.5 * float(stats.norm.ppf(alpha ** (1 / draws)))  # all draws agree; in units of m
    for language, each in items.items():
        right = [margin(item) > 1e-9 for item in each]
        weakest = min(abs(margin(i)) / words(i.sequences[0]) ** 0.5 for i in each if abs(margin(i)) > 1e-9)
        assert weakest > 6 * sigma * M / DIM**0.5
        assert scores["certified_accuracy"][language] == pytest.approx(mean(right))
        assert scores["certified_radius"][language] == pytest.approx(cap * mean(right))
        assert scores["certified_radius"].counts[language] == len(each)
        assert 0 < mean(right) < 1


@pytest.mark.parametrize(
    ("budget", "world"),
    [(128, 1), (4096, 1), (64, 2), (64, 3)],
)
def test_neither_budget_nor_workers_decide_what_chance_could(budget: int, world: int) -> None:
    """Texts near the edge of a ball, noise that turns many over: another draw would give another score."""
    items = evaluated(4)
    strong = {"sigma": 1.0, "draws": 60, "selection_draws": 5, "alpha": 0.05}
    edge = {"epsilon": (0.09, 0.1, 0.11, 0.35), "ascent_steps": 1}
    found = written(CLASSES, items)
    assert scored(found, edge, strong, budget, world) == scored(written(CLASSES, items), edge, strong)


def test_equal_texts_with_other_labels_are_judged_by_their_own() -> None:
    text = (0, 6, 6, 6, 2)
    items = {"en": [Item((text,), (1,), 0)], "sw": [Item((text,), (0,), 0), Item((text,), (1,), 1)]}
    certify = {"sigma": 0.005, "draws": 40, "selection_draws": 5, "alpha": 0.01}
    # In the larger ball each label's own adversary finds the other side; in the smaller one neither does.
    scores = scored(written(CLASSES, items), {"epsilon": (0.01, 5.0), "ascent_steps": 3}, certify)
    assert dict(scores["attacked_accuracy_0.01"].values) == {"en": 1.0, "sw": 0.5}
    assert dict(scores["attacked_accuracy_5"].values) == {"en": 0.0, "sw": 0.0}
    assert dict(scores["certified_accuracy"].values) == {"en": 1.0, "sw": 0.5}


@pytest.mark.parametrize("kind", ["attack", "certify"])
def test_multiple_choice_is_attacked_and_certified(kind: str) -> None:
    good, fair, bad = (0, 6, 6, 2), (0, 5, 5, 2), (0, 3, 3, 2)
    items = {
        "en": [Item((good, bad, fair), (0, 3), 0), Item((bad, fair, (0, 2)), (1, 2), 1)],
        "sw": [
            Item((fair, good, bad), (0, 3), 0),
            Item((bad, bad, good), (2, 3), 1),
            Item((fair, bad, bad), (0, 3), 2),
        ],
    }
    if kind == "attack":
        # Between good and fair lie 1.25, between fair and bad 1.75; four words can be moved by 0.3 * M each.
        (found,) = scored(written(CHOICES, items), {"epsilon": (0.3,), "ascent_steps": 3}, None).values()
        assert dict(found.values) == {"en": 0.0, "sw": pytest.approx(1 / 3)}
        return
    certify = {"sigma": 0.005, "draws": 40, "selection_draws": 5, "alpha": 0.01}
    scores = scored(written(CHOICES, items), None, certify)
    assert dict(scores["certified_accuracy"].values) == {"en": 1.0, "sw": pytest.approx(2 / 3)}


def test_a_subset_of_its_own_is_attacked_and_another_certified() -> None:
    items = evaluated(5)
    scores = scored(written(CLASSES, items), {"examples_per_language": 7}, {"examples_per_language": 3, "draws": 5})
    assert {name: set(found.counts.values()) for name, found in scores.items()} == {
        "attacked_accuracy": {7},
        "certified_accuracy": {3},
        "certified_radius": {3},
        "certified_word_distance": {3},
    }


def test_what_is_not_asked_for_is_not_scored() -> None:
    assert scored(written(CLASSES, evaluated(6)), None, None) == {}


@pytest.mark.parametrize("kind", ["attack", "certify"])
def test_tasks_with_several_answers_an_example_are_refused(kind: str) -> None:
    found = written(Tagging(("O", "X")), {"en": [Item(((0, 4, 2),), (-100, 1, -100))]})
    asked: dict[str, Any] = {"attack": None, "certify": None, kind: {}}
    with pytest.raises(UserError, match=rf"evaluation\.{kind}: only for tasks with one answer an example"):
        scored(found, **asked)


@pytest.mark.parametrize(("budget", "passes"), [(64, 4), (4096, 2)])
def test_draws_go_through_the_model_together_up_to_the_budget(
    budget: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the five that choose the answer and the forty that count, where a batch is far smaller than the budget."""
    sizes: list[int] = []
    logits = Linear.logits

    def seen(self: Linear, embeddings: Tensor, batch: Batch) -> Tensor:
        sizes.append(batch.input_ids.numel())
        assert len(embeddings) == len(batch.labels) == len(batch.layout.mask)
        return logits(self, embeddings, batch)

    monkeypatch.setattr(Linear, "logits", seen)
    one = {language: [Item(((0, 3, 4, 2),), (0,), 0)] for language in LANGUAGES}
    scored(written(CLASSES, one), None, {"sigma": 0.1, "draws": 40, "selection_draws": 5, "alpha": 0.05}, budget)
    assert len(sizes) == passes and max(sizes) <= budget


def test_an_accelerator_is_given_its_own_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets: list[int] = []
    monkeypatch.setattr(robustness, "_attacked", lambda *given: budgets.append(given[4]) or {})
    monkeypatch.setattr(robustness, "_certified", lambda *given: budgets.append(given[4]) or {})
    config = EvaluationConfig(
        token_budget=64, accelerator_token_budget=128, attack=AttackConfig(), certify=CertifyConfig()
    )
    model = cast(Model, Linear())
    for device in ("cpu", "meta"):
        robust_scores(model, cast(Materials, None), "validation", config, Group(device=torch.device(device)))
    assert budgets == [64, 64, 128, 128]
