"""Where a study's trials come from: how many there are of each kind, and what their points depend on."""

from __future__ import annotations

from typing import Any

import pytest

from study.proposals.arms import run_arms
from study.question import rules
from study.question.config import StudyConfig
from trainables.loading import validate

Points = list[dict[str, Any]]

SAMPLERS = [
    {"sampler": "random"},
    {"sampler": "tpe"},
    {"mode": "design", "sampler": "sobol"},
    {"mode": "design", "sampler": "latin_hypercube"},
]


def study(**search: Any) -> StudyConfig:
    trial = {"perturbation": {"method": "adversarial"}}
    return validate(StudyConfig, {"name": "x", "trial": trial, "search": {"space": "adversarial", **search}})


def points(config: StudyConfig) -> dict[str, Points]:
    """Arm -> the points it proposes, nothing being told of any."""
    return {
        arm.name: [arm.proposer.propose(number).point for number in range(arm.proposer.remaining())]
        for arm in run_arms(config)
    }


@pytest.mark.parametrize("search", SAMPLERS, ids=str)
def test_points_depend_on_the_samplers_seed_and_on_nothing_else_that_is_random(search: dict[str, Any]) -> None:
    first, again, other = (points(study(trials=8, seed=seed, **search))["main"] for seed in (3, 3, 4))
    assert first == again
    assert all(point not in other for point in first)


def test_the_baseline_is_one_of_the_trials() -> None:
    for search in SAMPLERS:
        found = points(study(trials=8, **search))
        assert [len(found[name]) for name in ("baseline", "main")] == [1, 7]


def test_each_point_of_a_replicated_design_has_every_seed_of_the_study() -> None:
    config = study(mode="design", sampler="sobol", trials=12, replicates=3)
    seeds = rules.run_seeds(config)
    assert len(set(seeds)) == 3
    for arm in points(config).values():
        assert [point.pop("training.seed") for point in arm] == list(seeds) * (len(arm) // 3)
        assert all(arm[i] == arm[i - i % 3] for i in range(len(arm)))
