"""Where a study's trials come from: how many there are of each kind, and what their points depend on."""

from __future__ import annotations

from typing import Any

import pytest

from study.proposals.arms import run_arms
from study.proposals.proposer import Feedback, Proposer
from study.question import rules
from study.question.config import StudyConfig
from study.record.record import TrialRecord
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


SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
    "perturbation.method": ["none", "adversarial", "random_perturbation"],
    "perturbation.epsilon": {
        "type": "float", "low": 0.1, "high": 0.4, "when": {"perturbation.method": "adversarial"},
    },
    "alignment.objective": ["none", "word_l2", "linear_map"],
}  # fmt: skip
ARMS = {
    "radius": {"perturbation.method": "adversarial"},
    "noise": {"perturbation.method": "random_perturbation"},
    "aligned": {"alignment.objective": "word_l2"},
    "both": {"alignment.objective": "linear_map", "perturbation.method": "adversarial"},
}


def compared(tune: bool | str, **search: Any) -> StudyConfig:
    """Four arms; a training of ten steps, an alignment as dear as two of them."""
    return validate(
        StudyConfig,
        {
            "name": "x",
            "trial": {
                "training": {"budget": {"steps": 10}},
                "alignment": {"pairs": "django", "steps": 10},
                "perturbation": {"ascent_steps": 1},
            },
            "search": {"space": SPACE, "arms": ARMS, "trials": 7, "sampler": "random", **search},
            "protocol": {"tune_controls": tune},
        },
    )


def asked(config: StudyConfig) -> dict[str, Points]:
    """Arm, or control, -> all points it proposes."""
    found: dict[str, Points] = {}
    for arm in run_arms(config):
        while arm.proposer.remaining():
            found.setdefault(arm.treatment or arm.name, []).append(arm.proposer.propose(0).point)
    return found


@pytest.mark.parametrize(
    ("tune", "sizes"),
    [
        (False, [2, 2, 1, 1]),
        (True, [2, 2, 1, 1, 6]),
        ("all", [6, 6, 6, 6, 6]),
        # Passes of a step: 5 with one ascent step, 3 with noise, 3 beside an alignment of 2 x 3 for each of ten steps.
        ("forward_equivalents", [4, 6, 4, 4, 6]),
    ],
)
def test_arms_are_tuned_as_hard_by_number_or_by_cost(tune: bool | str, sizes: list[int]) -> None:
    found = asked(compared(tune))
    assert list(found) == ["baseline", *ARMS, *(["control"] if tune else [])]
    assert [len(points) for points in found.values()] == [1, *sizes]


def test_an_arm_is_the_part_of_the_space_that_it_pins_with_other_treatments_off() -> None:
    off = {"perturbation.method": "none", "augmentation.method": "none", "alignment.objective": "none"}
    searched = {"radius": {"perturbation.epsilon"}, "both": {"perturbation.epsilon"}}
    for name, points in asked(compared("all")).items():
        for point in points if name in ARMS else ():
            drawn = {k: v for k, v in point.items() if off.keys().isdisjoint([k])}
            assert drawn.keys() == {"training.learning_rate"} | searched.get(name, set())
            assert {k: v for k, v in point.items() if k in off} == {**off, **ARMS[name]}


def test_a_resumed_arm_of_few_points_proposes_each_once() -> None:
    config = compared("all", space={**SPACE, "training.learning_rate": [1e-5, 2e-5, 3e-5, 4e-5]})

    def noise() -> Proposer:
        return next(arm.proposer for arm in run_arms(config) if arm.treatment == "noise")

    first, resumed = noise(), noise()
    before = [first.propose(number) for number in range(2)]
    for number, proposed in enumerate(before):
        resumed.restore(number, proposed)
        resumed.tell(number, Feedback("COMPLETE", (0.5,)))
    after = [resumed.propose(number) for number in range(2, 2 + resumed.remaining())]
    assert len({proposed.point["training.learning_rate"] for proposed in [*before, *after]}) == 4


ENCODERS = {"encoder.name_or_path": ["offline:e5-small", "xlm-roberta-base"], "perturbation.epsilon": [0.1, 0.2]}


@pytest.mark.parametrize("search", [{"trials": 8}, {"mode": "design", "sampler": "grid"}], ids=str)
def test_every_encoder_has_its_own_baseline_among_the_trials(search: dict[str, Any]) -> None:
    found = points(study(**{**search, "space": ENCODERS}))
    assert [p["encoder.name_or_path"] for p in found["baseline"]] == ENCODERS["encoder.name_or_path"]
    assert all(rules.BASELINE.items() <= p.items() for p in found["baseline"])
    assert len(found["main"]) == (6 if search.get("trials") else 4)


def test_a_study_keeps_the_baselines_that_it_began_with() -> None:
    """Of a ledger from before each encoder had one; but a plan that was cut off is completed."""
    config = study(space=ENCODERS, trials=8)
    for begun, planned in ((dict(rules.BASELINE), 1), (rules.baselines(config)[0], 2)):
        trial = TrialRecord(0, "run", "baseline", None, begun, {}, {}, asked=0.0)
        arms = {arm.name: arm.proposer.remaining() for arm in run_arms(config, [trial])}
        assert arms == {"baseline": planned, "main": 8 - planned}
