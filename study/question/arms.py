"""The arms of a study: treatments that are each tuned by a search of their own, as hard as any other.

An arm is part of the study's search space: what it pins is data (`search.arms`), the rest of the space that is left by
that is what it searches. Whatever else the study's space says of treatments (`rules.off`) is off in an arm unless it
says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces import load
from search_spaces.dimensions import Point, Space
from study.question import rules
from study.question.config import EQUAL_COST, StudyConfig
from trainables import alignment
from trainables.config import PerturbationConfig, TrialConfig
from trainables.errors import UserError, shown, suggestion
from trainables.loading import apply_point
from trainables.materials import weights

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def names(config: StudyConfig) -> list[str]:
    """The arms that are run: those that were not left out."""
    return [name for name in config.search.arms if name not in config.search.left_out]


def spaces(config: StudyConfig) -> dict[str, Space]:
    """What each arm searches, its pins among it; of a study without arms the whole space, under no name."""
    if config.search.space is None:
        return {}
    whole = load(config.search.space)
    if not config.search.arms:
        return {"": whole}
    return {name: whole.pinned(pins(config, whole, name)) for name in names(config)}


def pins(config: StudyConfig, space: Space, name: str) -> Point:
    """The dimensions that an arm holds: what it names, and all other treatments off."""
    others = {path: value for path, value in rules.off(config).items() if path in space}
    return {**others, **config.search.arms[name]}


# How hard each is tuned


def effort(config: StudyConfig) -> str:
    """How hard each is tuned, in words."""
    match config.protocol.tune_controls:
        case "all":
            return "each has as many trials as control (b)"
        case "forward_equivalents":
            return "each has as many trials as cost what control (b)'s do, to the nearest and one at least"
        case _:
            return "they share the trials"


def tuned_alike(config: StudyConfig) -> bool:
    """Whether each has trials of its own, as control (b) has; else they share them."""
    return config.protocol.tune_controls in ("all", EQUAL_COST)


def left(config: StudyConfig, trials: int, most: int, asked: Sequence[Point]) -> int:
    """Trials that a search has left, given the points it has proposed; `most` is how many points there are for it.

    `trials` is what each has by number. Under ``tune_controls: forward_equivalents`` that is how many unperturbed ones
    it may cost, to the nearest trial and one at least: an upper bound until the last.
    """
    if config.protocol.tune_controls != EQUAL_COST or not asked:
        return max(0, min(trials, most) - len(asked))
    paid = [cost(config, {**rules.off(config), **point}) for point in asked]
    spent = sum(paid) + aligning(config, asked)
    return max(0, min(min(trials, most) - len(asked), round((trials - spent) / (sum(paid) / len(paid)))))


def cost(config: StudyConfig, point: Point) -> float:
    """Training cost of a trial, in trainings of the unperturbed base; the alignment that it begins from apart."""
    trial = apply_point(config.trial, point)
    return _passes(trial) / _passes(rules.unperturbed(config, config.trial))


def aligning(config: StudyConfig, points: Sequence[Point]) -> float:
    """What the aligned encoders of some trials cost, in trainings of the unperturbed base: each is made once.

    A linear map counts nothing: how many pairs there are is not known before they are read.
    """
    trials = [apply_point(config.trial, {**rules.off(config), **point}).alignment for point in points]
    made = {each for each in trials if each.objective not in ("none", "linear_map")}
    passes = sum(each.steps * alignment.passes(each) for each in made)
    return passes / _passes(rules.unperturbed(config, config.trial))


def _passes(trial: TrialConfig) -> float:
    """Forward-equivalents of a training whose budget is not in epochs."""
    try:
        passes = weights.passes(trial)
    except UserError:  # it fails as a trial
        passes = weights.passes(trial.model_copy(update={"perturbation": PerturbationConfig()}))
    assert passes is not None, "how many steps an epoch has is not known"
    return passes


# What cannot be


def without_missing(config: StudyConfig) -> StudyConfig:
    """The same, those of the optional arms left out whose words, sentence pairs or trees are not here, and why.

    Also those whose method, or syntax, does not go with the study's task or encoder: members of a suite have different
    ones.
    """
    if not config.search.optional_arms:
        return config
    from trainables import augmentation
    from trainables.materials import fitting, idle
    from trainables.materials.parsed import check_heads

    missing: dict[str, str] = {}
    for name in config.search.optional_arms:
        try:
            trial = apply_point(config.trial, {**rules.BASELINE, **config.search.arms.get(name, {})})
            misfits, varies = fitting.task_problems(trial), _varies(config, idle.READ)
        except UserError:
            continue  # reported by the checks
        try:
            if misfits:
                raise UserError(*misfits)
            augmentation.check_resource(trial.augmentation, trial.task.source_language)
            if trial.alignment.objective != "none":
                alignment.check(trial.alignment)
            if trial.syntax.kind != "none":
                check_heads(trial)
                weights.check_syntax(trial)
            if not varies:
                idle.check(trial)
        except UserError as error:
            missing[name] = "; ".join(error.lines)
    search = config.search.model_copy(update={"left_out": {**config.search.left_out, **missing}})
    return config.model_copy(update={"search": search})


def _varies(config: StudyConfig, paths: tuple[str, ...]) -> bool:
    """Whether the space has a dimension whose path begins as one of these; of one that is none nothing is known."""
    try:
        space = None if config.search.space is None else load(config.search.space)
    except UserError:
        return True  # reported by the checks
    return space is not None and any(d.path.startswith(paths) for d in space.dimensions)


def problems(config: StudyConfig, space: Space | None) -> Iterator[str]:
    """What is wrong with a study's arms."""
    search, tuned = config.search, config.protocol.tune_controls
    if not search.arms:
        if tuned == EQUAL_COST:
            yield f"protocol.tune_controls: needs search.arms, whose cost is to be equal (got {tuned!r})"
        if search.optional_arms:
            yield f"search.optional_arms: needs search.arms (got {shown(list(search.optional_arms))})"
        return
    if search.mode != "search" or space is None:
        yield f"search.arms: each has a search of its own: needs mode search and a space (got mode {search.mode})"
        return
    if not names(config):
        yield f"search.arms: must leave one at least (got {shown(search.left_out)} left out)"
    shared = search.trials - len(rules.baselines(config))
    if not tuned_alike(config) and shared < len(names(config)):
        rule = f"must be at least {search.trials - shared + len(names(config))}, arms share what the baselines leave"
        yield f"search.trials: {rule} (got {search.trials} for {len(names(config))} arms)"
    for key, value in (("patience", search.patience), ("enqueue", search.enqueue)):
        if value:
            yield f"search.{key}: arms have as many trials as each other, and points of their own (got {shown(value)})"
    if tuned == EQUAL_COST and config.trial.training.budget.epochs is not None:
        rule = f"protocol.tune_controls: {EQUAL_COST} needs trial.training.budget in steps or forward_equivalents"
        yield f"{rule} (got {config.trial.training.budget.epochs:g} epochs)"
    for name in search.optional_arms:
        if name not in search.arms:
            yield f"search.optional_arms: must name an arm{suggestion(name, list(search.arms))} (got {name!r})"
    for name, values in search.arms.items():
        found = list(_arm_problems(config, space, name, values))
        yield from (f"search.arms.{name}: {problem}" for problem in found)


def _arm_problems(config: StudyConfig, space: Space, name: str, values: Mapping[str, Any]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"a name is of lower-case letters, digits and underscores (got {name!r})"
    if not values:
        yield "must pin something; the unperturbed arm is control (b) (got {})"
    wrong = False
    for path, value in values.items():
        if path not in space:
            near = suggestion(path, [d.path for d in space.dimensions])
            yield f"{path}: must be a dimension of the space{near} (got {shown(value)})"
        elif not space[path].contains(value):
            yield f"{path}: the dimension takes {space[path].describe()} (got {shown(value)})"
        else:
            continue
        wrong = True
    for path, value in pins(config, space, name).items() if not wrong else ():
        if not space[path].contains(value):
            yield f"{path}: must be named, the space has no {shown(value)} (got {space[path].describe()})"
            wrong = True
    held = space.pinned(pins(config, space, name)) if not wrong else space
    for path, value in values.items():
        if path in space and path not in held:
            yield f"{path}: the arm has none of it, the dimension takes {space[path].describe()} (got {shown(value)})"
            wrong = True
    if values and not wrong:
        base, off = config.trial, rules.off(config)
        try:
            if apply_point(base, {**off, **values}) == apply_point(base, off):
                yield f"must be a treatment; the unperturbed arm is control (b) (got {shown(dict(values))})"
        except UserError as error:
            yield from error.lines
    twins = [other for other, theirs in config.search.arms.items() if theirs == values]
    if twins.index(name):
        yield f"pins what {twins[0]} does (got {shown(dict(values))})"
