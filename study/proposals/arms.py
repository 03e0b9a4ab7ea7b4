"""Where a phase's trials come from: the baseline, the search or design itself or its arms' own, control (b)'s own, a
plan to confirm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from search_spaces import load
from search_spaces.dimensions import Point, Space
from study.proposals.designs import design
from study.proposals.frozen import distributions_json
from study.proposals.proposer import Bounded, Fixed, Proposed, Proposer
from study.proposals.search import Search
from study.question import arms as treatments
from study.question import rules
from study.question.config import StudyConfig
from study.record.record import TrialRecord

PERTURBING = ("perturbation.", "augmentation.", "alignment.", "syntax.")
"""Paths of the knobs that control (b) does without."""


@dataclass(frozen=True)
class Planned:
    """A trial of the fixed design of `confirm`."""

    point: Point
    kind: str
    control: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Arm:
    """A source of trials: ``baseline``, ``main`` (the search or design itself), ``control`` or ``confirm``."""

    name: str
    proposer: Proposer
    treatment: str | None = None
    """Of a study whose arms are searched apart: which of them."""
    turn: int = 0
    """Those of a lower one come first; among equals the one that has most left, so that they go on abreast."""


def run_arms(config: StudyConfig, begun: Iterable[TrialRecord] = ()) -> list[Arm]:
    """A baseline for each encoder, search or design, and control (b)'s own if the study tunes it.

    `begun` are trials of an earlier process: a study keeps the baselines that it began with.
    """
    space = load(config.search.space) if config.search.space is not None else None
    baseline = _replicated(config, [Proposed("baseline", point) for point in rules.baselines(config)])
    known = [trial.point for trial in begun if trial.kind == "baseline"]
    if known != [proposed.point for proposed in baseline[: len(known)]]:
        baseline = [Proposed("baseline", point) for point in known]  # as before each encoder had one
    arms = [Arm("baseline", Fixed(baseline))]
    if space is None:
        is_perturbed = rules.unperturbed(config, config.trial) != config.trial
        single = _replicated(config, [Proposed("single", {})]) if is_perturbed else []
        return [*arms, Arm("main", Fixed(single))]
    left = config.search.trials - len(baseline)
    searches = treatments.spaces(config)
    if config.search.arms:
        sizes = _sizes(config, left, len(searches))
        for (name, own), trials in zip(searches.items(), sizes, strict=True):
            arms.append(Arm("main", _bounded(config, own, trials, arm=name), name, 1))
    else:
        arms.append(Arm("main", _proposer(config, space, left, None), turn=1))
    others = space.without(PERTURBING)
    if config.protocol.tune_controls and others.searched:
        if config.search.arms:
            arms.append(Arm("control", _bounded(config, others, left, "b"), turn=1))
        else:
            arms.append(Arm("control", _proposer(config, others, left, "b"), turn=2))
    return arms


def is_complete(config: StudyConfig, trials: Sequence[TrialRecord]) -> bool:
    """Whether the arms have all their trials, given all of phase `run`, the baseline among them."""
    known = [arm.proposer for arm in run_arms(config, trials) if isinstance(arm.proposer, Bounded)]
    for proposer in known:
        search = proposer.inner
        assert isinstance(search, Search)
        points = [t.point for t in trials if t.kind != "baseline" and search.made(t.control, t.attributes)]
        if proposer.left(points):
            return False
    return True


def _sizes(config: StudyConfig, trials: int, arms: int) -> list[int]:
    """Trials of each arm: as many as control (b) where all are tuned as hard, else its share of them."""
    if treatments.tuned_alike(config):
        return [trials] * arms
    return [trials // arms + (number < trials % arms) for number in range(arms)]


def _bounded(
    config: StudyConfig, space: Space, trials: int, control: str | None = None, arm: str | None = None
) -> Bounded:
    search = _proposer(config, space, trials, control, arm)
    return Bounded(search, partial(treatments.left, config, trials, trials if space.points is None else space.points))


def _proposer(config: StudyConfig, space: Space, trials: int, control: str | None, arm: str | None = None) -> Proposer:
    """The search or the design over a space, of equal size for the study itself and for control (b)."""
    search, name = config.search, "search" if control is None else f"control {control}"
    name = name if arm is None else f"arm {arm}"
    extra = {} if control is None and arm is None else rules.off(config)
    if search.mode == "search":
        return Search(
            name,
            space,
            search,
            trials,
            control=control,
            extra=extra,
            enqueue=search.enqueue if control is None else (),
            every=config.trial.evaluation.every,
            steps=config.trial.training.budget.steps,
            arm=arm,
        )
    levels = {k: v for k, v in search.levels.items() if k in space}
    points = design(space, search.sampler, trials // search.replicates, search.seed, levels)
    planned = [
        Proposed(
            "design" if control is None else "control",
            {**extra, **point},
            distributions_json({d.path: d.distribution for d in space.searched if d.path in point}),
            control=control,
        )
        for point in points
    ]
    return Fixed(_replicated(config, planned))


def _replicated(config: StudyConfig, planned: Sequence[Proposed]) -> list[Proposed]:
    """Each point under each training seed of the study."""
    seeds = rules.run_seeds(config)
    if len(seeds) == 1:
        return list(planned)
    return [replace(p, point={**p.point, "training.seed": seed}) for p in planned for seed in seeds]


def confirm_arm(plan: Sequence[Planned]) -> Arm:
    """The design of `confirm`, in its order."""
    planned = [Proposed(p.kind, p.point, {}, p.attributes, p.control) for p in plan]
    return Arm("confirm", Fixed(planned))
