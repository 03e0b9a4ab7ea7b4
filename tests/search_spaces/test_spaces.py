"""Search spaces: shipped ones, shapes of dimensions, conditions, sizes, and what malformed ones are told."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

import search_spaces
from search_spaces import load, names
from search_spaces.dimensions import Space
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point


def draws(space: Space, count: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(count)]


def test_shipped_spaces() -> None:
    assert {"adversarial", "smoothing", "joint", "methods", "optimiser", "huang2021"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_every_point_of_a_shipped_space_is_a_valid_trial(name: str) -> None:
    space = load(name)
    assert space.description and len(space.describe()) == len(space.dimensions) + 1
    base = TrialConfig()
    for point in draws(space, 50) + [
        space.at(row) for row in np.random.default_rng(0).random((50, len(space.searched)))
    ]:
        apply_point(base, point)
        assert active(space, point) == set(point)


def active(space: Space, point: dict[str, Any]) -> set[str]:
    """Dimensions that exist at a point, worked out from the conditions alone."""
    return {d.path for d in space.dimensions if all(point.get(path) in values for path, values in d.when.items())}


@pytest.mark.parametrize("name", ["methods", "huang2021"])
def test_conditional_dimensions_never_leak(name: str) -> None:
    space = load(name)
    seen = Counter()
    for point in draws(space, 300):
        assert set(point) == active(space, point)
        seen[frozenset(point)] += 1
    assert len(seen) >= 3, "each branch is drawn"


def test_conditions_may_come_in_any_order_and_depth() -> None:
    m, k, s = "perturbation.method", "perturbation.ascent_steps", "perturbation.step_size"
    space = load(
        {
            s: {"type": "float", "low": 0.5, "high": 1.0, "when": {k: [2, 3]}},
            k: {"type": "int", "low": 1, "high": 3, "when": {m: "adversarial"}},
            m: ["adversarial", "random_perturbation"],
        }
    )
    shapes = {frozenset(p) for p in draws(space)}
    assert shapes == {frozenset({m}), frozenset({m, k}), frozenset({m, k, s})}
    assert [d.path for d in space.dimensions] == [m, k, s]


def test_short_forms() -> None:
    space = load({"perturbation.method": "adversarial", "perturbation.ascent_steps": [1, 3]})
    assert [(d.kind, d.choices) for d in space.dimensions] == [("fixed", ("adversarial",)), ("categorical", (1, 3))]
    assert [d.path for d in space.searched] == ["perturbation.ascent_steps"]


def test_positions_of_the_unit_cube_are_uniform_over_values() -> None:
    space = load(
        {
            "perturbation.epsilon": {"type": "float", "low": 0.01, "high": 1.0, "log": True},
            "training.warmup_fraction": {"type": "float", "low": 0.0, "high": 0.3, "step": 0.1},
            "perturbation.ascent_steps": {"type": "int", "low": 1, "high": 4},
            "training.batch_size": {"type": "int", "low": 8, "high": 64, "log": True},
        }
    )
    points = [space.at(row) for row in np.random.default_rng(0).random((4000, 4))]
    decade = [math.log10(p["perturbation.epsilon"]) for p in points]
    assert np.mean(decade) == pytest.approx(-1.0, abs=0.05) and -2 <= min(decade) <= max(decade) <= 0
    for path, values in (
        ("perturbation.ascent_steps", (1, 2, 3, 4)),
        ("training.warmup_fraction", (0.0, 0.1, 0.2, 0.3)),
    ):
        counts = Counter(p[path] for p in points)
        assert sorted(counts) == list(values) and min(counts.values()) > 850
    sizes = [p["training.batch_size"] for p in points]
    assert min(sizes) == 8 and max(sizes) == 64 and np.median(sizes) == pytest.approx(math.sqrt(8 * 64), abs=2)


def test_grids_have_each_point_once() -> None:
    space = load("methods")
    levels = {
        "perturbation.epsilon": [0.1, 0.2],
        "perturbation.weight": [1.0],
        "perturbation.sigma": [0.1, 0.3, 0.5],
    }
    grid = space.grid(levels)
    by_method = Counter(p["perturbation.method"] for p in grid)
    assert by_method == {"adversarial": 6, "freelb": 6, "smart": 2, "vat": 2, "r3f": 3, "random_perturbation": 3}
    assert all(set(p) == active(space, p) for p in grid)


def test_sizes() -> None:
    assert load({"perturbation.ascent_steps": [1, 2, 3], "perturbation.norm": ["l2", "linf"]}).size() == "6 points"
    conditional = {
        "perturbation.method": ["adversarial", "none"],
        "perturbation.ascent_steps": {
            "type": "int",
            "low": 1,
            "high": 3,
            "when": {"perturbation.method": "adversarial"},
        },
    }
    assert load(conditional).size() == "4 points"
    assert load("adversarial").size() == (
        "volume: 1.3 decades of perturbation.epsilon x 3 values of perturbation.ascent_steps"
    )


def test_the_other_knobs() -> None:
    others = load("optimiser").without(("perturbation.", "augmentation."))
    assert [d.path for d in others.dimensions] == ["training.learning_rate", "training.weight_decay"]
    assert load("methods").without(("perturbation.",)).dimensions == ()


def test_what_depends_on_a_knob_goes_with_it() -> None:
    noisy = {"perturbation.method": ["random_perturbation"]}
    fast = {"training.learning_rate": [1e-4]}
    space = {
        "perturbation.method": ["none", "random_perturbation"],
        "training.learning_rate": {"type": "categorical", "choices": [1e-5, 1e-4], "when": noisy},
        "training.warmup_fraction": {"type": "categorical", "choices": [0.0, 0.1], "when": fast},
        "training.weight_decay": {"type": "float", "low": 0.0, "high": 0.1},
    }
    assert [d.path for d in load(space).without(("perturbation.",)).dimensions] == ["training.weight_decay"]


def test_a_space_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("perturbation.epsilon: {type: float, low: 0.1, high: 0.5}\n", encoding="utf-8")
    space = load(str(path))
    assert space.name == "mine" and space["perturbation.epsilon"].high == 0.5


EPSILON = "perturbation.epsilon"
STEPS = "perturbation.ascent_steps"
RANGE = {"type": "float", "low": 0.1, "high": 0.5}

MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("no dimensions", {"description": "empty"}, "search.space: must have at least one dimension"),
    ("unknown path", {"perturbation.epsilom": RANGE}, "did you mean 'epsilon'?"),
    ("unknown section", {"perturb.epsilon": RANGE}, "did you mean 'perturbation'?"),
    ("a section, not a field", {"perturbation": RANGE}, "perturbation"),
    ("unknown type", {EPSILON: {**RANGE, "type": "flaot"}}, "did you mean 'float'? (got \"flaot\")"),
    ("no type", {EPSILON: {"low": 0.1, "high": 0.5}}, "type: must be one of float, int, categorical, fixed"),
    ("no high", {EPSILON: {"type": "float", "low": 0.1}}, "high: is required"),
    ("unknown key", {EPSILON: {**RANGE, "lo": 0.1}}, "lo: unknown key of a float dimension, did you mean 'low'?"),
    ("low above high", {EPSILON: {"type": "float", "low": 0.5, "high": 0.1}}, "high: must be more than low, 0.5"),
    ("low below the field", {EPSILON: {**RANGE, "low": -0.1}}, "outside of the field's range: must be at least 0"),
    ("high above the field's range", {STEPS: {"type": "int", "low": 1, "high": 101}}, "must be at most 100 (got 101)"),
    ("log from zero", {EPSILON: {**RANGE, "low": 0.0, "log": True}}, "low: must be more than 0 on a log scale"),
    ("log with a step", {EPSILON: {**RANGE, "log": True, "step": 0.1}}, "step: a log scale has no step"),
    ("step of zero", {EPSILON: {**RANGE, "step": 0.0}}, "step: must be more than 0"),
    ("step beyond the range", {EPSILON: {**RANGE, "step": 1.0}}, "step: must be at most high - low, 0.4"),
    ("text for a number", {EPSILON: {**RANGE, "low": "0.1"}}, "low: must be a number (got \"0.1\")"),
    ("infinite", {EPSILON: {**RANGE, "high": math.inf}}, "high: must be finite"),
    ("fractions for whole numbers", {STEPS: {"type": "float", "low": 1, "high": 3}}, "the field holds whole numbers"),
    ("numbers for text", {"perturbation.norm": {"type": "int", "low": 1, "high": 3}}, "the field holds no numbers"),
    ("fractions in an int dimension", {STEPS: {"type": "int", "low": 1.5, "high": 3}}, "low: must be a whole number"),
    ("unknown choice", {"perturbation.norm": ["l2", "l1"]}, "must be 'l2' or 'linf' (got \"l1\")"),
    ("no choices", {"perturbation.norm": []}, "choices: must be a list of values"),
    ("repeated choice", {"perturbation.norm": ["l2", "l2"]}, "choices: must not repeat a value"),
    ("a number twice", {"perturbation.epsilon": [1, 1.0, 2.0]}, "choices: must not repeat a value"),
    ("fixed value out of range", {EPSILON: -1.0}, "value: must be at least 0 (got -1.0)"),
    ("condition on itself", {EPSILON: {**RANGE, "when": {EPSILON: 0.1}}}, "when: must name another dimension"),
    ("condition on no dimension", {EPSILON: {**RANGE, "when": {"task.name": "x"}}}, "another dimension of this space"),
    ("impossible condition", {STEPS: [1, 2], EPSILON: {**RANGE, "when": {STEPS: 3}}}, "the dimension takes 1, 2"),
    ("conditions in a circle", {STEPS: {"type": "int", "low": 1, "high": 3, "when": {EPSILON: 0.2}},
                                EPSILON: {**RANGE, "when": {STEPS: 2}}}, "in a circle"),
    ("condition that is no mapping", {EPSILON: {**RANGE, "when": "adversarial"}}, "when: must be a mapping"),
    ("description that is no text", {"description": 3, EPSILON: RANGE}, "description: must be text"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "complaint"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
def test_malformed_spaces_get_their_one_line(space: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        load(space)
    assert len(caught.value.lines) == 1, caught.value.lines
    assert complaint in caught.value.lines[0]
    assert caught.value.lines[0].startswith("search.space")


def test_all_mistakes_come_at_once() -> None:
    wrong = {"perturbation.epsilom": RANGE, STEPS: {"type": "int", "low": 3, "high": 1}, "perturbation.norm": ["l3"]}
    with pytest.raises(UserError) as caught:
        load(wrong)
    assert len(caught.value.lines) == 3


def test_unknown_names_are_told_the_near_one() -> None:
    with pytest.raises(UserError, match="did you mean 'adversarial'"):
        load("adverserial")
    with pytest.raises(UserError, match="no such file"):
        load("nowhere.yaml")


def test_shipped_files_have_a_description_and_nothing_else_beside_paths() -> None:
    for name in names():
        data = yaml.safe_load((Path(search_spaces.__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
        assert isinstance(data.pop("description"), str)
        assert all("." in path for path in data)
