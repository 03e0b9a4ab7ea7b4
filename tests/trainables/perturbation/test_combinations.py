"""Methods joined by a plus: what stands around another one, and what does not combine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from study.question import catalogue
from tests.trainables.perturbation.conftest import Setting, kl
from trainables.config import PerturbationConfig, TrialConfig
from trainables.errors import UserError
from trainables.perturbation import Parts, around, combinations, create, supervision, view_of, with_inputs
from trainables.perturbation.base import METHODS

Make = Callable[..., Setting]


def created(method: str, **options: Any) -> Any:
    return create(PerturbationConfig(method=method, **{"relative": False, "start": "zero", **options}))


def trained_by(s: Setting, method: str, **options: Any) -> list[torch.Tensor]:
    return s.gradients(lambda: created(method, **options).backward(s.view(), 1.0, 1.0))


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_rdrop_is_its_formula(make: Make, shape: str, weight: float) -> None:
    s = make(shape=shape, dropout=0.3)

    def restated() -> None:
        x = s.encoder.embed(s.ids)
        p, q = s.logits(x), s.logits(x, masks=8)
        apart = s.divergence(p, q) + s.divergence(q, p)
        (0.5 * s.loss(p) + 0.5 * s.loss(q) + weight * 0.5 * apart).sum().backward()

    for ours, theirs in zip(trained_by(s, "rdrop", weight=weight), s.gradients(restated), strict=True):
        torch.testing.assert_close(ours, theirs)
    x = s.encoder.embed(s.ids)
    assert kl(s.logits(x), s.logits(x, masks=8)).abs().sum() > 0


def test_under_one_mask_rdrop_is_clean_training(make: Make) -> None:
    s = make(dropout=0.0)
    for ours, theirs in zip(trained_by(s, "rdrop", weight=3.0), trained_by(s, "none"), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rdrop_stands_at_the_point_that_another_method_finds(make: Make) -> None:
    s = make(dropout=0.3)
    options = {"epsilon": 0.3, "ascent_steps": 2}
    trained_by(s, "adversarial", **options)
    alone = s.points[-1]
    s.points.clear()
    trained_by(s, "adversarial+rdrop", **options)
    assert torch.equal(s.points[-1], alone) and torch.equal(s.points[-2], alone)
    assert len(s.points) == 4  # two of the ascent, one under each mask


@pytest.mark.parametrize(
    ("method", "passes"), [("rdrop", 6), ("adversarial+rdrop", 10), ("random_perturbation+rdrop", 6)]
)
def test_what_rdrop_costs(method: str, passes: float) -> None:
    found = created(method, ascent_steps=2)
    assert found.forward_equivalents == passes
    assert found.weight_gradients == found.inner.weight_gradients + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "inner"),
    [
        ("sam", "none"),
        ("adversarial+sam", "adversarial"),
        ("sam+smart", "smart"),
        ("ear+asam", "ear"),
        ("mvr+sam", "mvr"),
    ],
)
def test_moved_weights_go_twice_through_whatever_they_stand_around(method: str, inner: str) -> None:
    moved, within = (created(name, start="uniform", ascent_steps=2) for name in (method, inner))
    assert moved.forward_equivalents == 2 * within.forward_equivalents
    assert moved.weight_gradients == 2 * within.weight_gradients
    assert created(method, start="uniform", ascent_steps=2, rho=0.0).forward_equivalents == within.forward_equivalents
    assert (moved.strength, moved.view) == (within.strength, within.view)
    assert moved.dose == (within.dose or "relative_weight_norm")


def test_what_is_true_of_a_method_is_true_of_what_stands_around_it() -> None:
    found = [view_of(PerturbationConfig(method=name)) for name in ("ear+sam", "mvr+asam", "rdrop+sam")]
    assert found == ["copies", "segments", None]
    assert created("ear+sam").reads_attention and not created("mvr+sam").reads_attention
    assert (supervision("ear+sam"), supervision("sam")) == ("monolingual", "none")
    assert (with_inputs("sam", "r3f"), with_inputs("smart+asam", "r3f")) == ("r3f+sam", "r3f+asam")
    assert with_inputs("sam+rdrop+adversarial", "none") == "none+rdrop+sam"
    assert with_inputs("bregman+smart+sam", "r3f") == "r3f+bregman+sam"
    assert Parts.of("rdrop").inputs is METHODS["none"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("freelb+bregman", "does not combine, bregman needs a method that trains the output of one pass"),
        ("smart+rdrop", "does not combine, rdrop needs a method that trains at one point"),
        ("mvr+rdrop", "does not combine, rdrop needs a method that trains at one point"),
        ("mvr+r3f", "does not combine, at most one method of the inputs (mvr, r3f)"),
        ("sam+asam", "does not combine, at most one method of the weights (sam, asam)"),
        ("mixout+sam", "does not combine, at most one method of the weights (mixout, sam)"),
        ("smart+vat", "does not combine, at most one method of the inputs (smart, vat)"),
        ("rdrop+rdrop", "does not combine, at most one method of a kind (rdrop, rdrop)"),
        ("adversarial+san", "unknown method, did you mean 'sam'?"),
        ("sam+", "unknown method"),
    ],
)
def test_what_does_not_combine_is_refused_in_one_line(method: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        created(method)
    (line,) = caught.value.lines
    assert line.startswith(f"perturbation.method: {message}")
    assert method in line


def refused(method: str) -> str:
    """Why `create` does not make it; empty where it does."""
    try:
        created(method, start="uniform")
        return ""
    except UserError as error:
        return error.lines[0]


def test_the_printed_matrix_is_what_create_does() -> None:
    """Of every method, and of what stands around one, with each of the latter; and why not."""
    (titles, *rows), notes = catalogue.combinations()
    ways = titles[1:-1]
    assert [row[0] for row in rows] == [*METHODS, *(way.removeprefix("+") for way in ways)]
    assert len(list(combinations())) == len(rows) * len(ways)
    for method, *cells, _ in rows:
        for way, cell in zip(ways, cells, strict=True):
            mark, _, letter = cell.partition(" ")
            why = refused(method + way)
            assert mark == ("–" if why else "yes"), (method, way)
            assert not why or dict(notes)[letter] in why, (method, way)


def test_more_than_two_combine_where_any_two_do() -> None:
    ways = [way.name for way in around()]
    pairs = {(method, way): why is None for method, way, why in combinations()}
    for method in METHODS:
        for joined in itertools.chain.from_iterable(itertools.combinations(ways, n) for n in (2, 3)):
            fit = all(pairs[pair] for pair in itertools.combinations((method, *joined), 2))
            assert (refused("+".join((method, *joined))) == "") == fit, (method, joined)


def test_the_printed_matrix_says_what_needs_an_augmentation() -> None:
    (_, *rows), notes = catalogue.combinations()
    found = {row[0]: row[-1] for row in rows if row[-1] != "yes"}
    assert found == {"ear": "needed", "xtune": "copies"} and set(found.values()) < set(dict(notes))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"encoder": {"dropout": 0.0}}, "encoder.dropout: rdrop compares two dropout masks"),
        ({"training": {"gradient_checkpointing": True}}, "training.gradient_checkpointing: computes passes again"),
    ],
)
def test_a_trial_in_which_rdrop_cannot_work_is_refused(other: dict[str, Any], message: str) -> None:
    (line,) = created("rdrop").problems(TrialConfig.model_validate(other))
    assert line.startswith(message)
    assert created("rdrop").problems(TrialConfig()) == []
