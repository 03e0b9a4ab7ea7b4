"""Which encoders a study trains: the base's, or those that its space chooses among, each with settings of its own.

An encoder is its name and its revision. What of it is frozen, how its states are pooled and the like are knobs, as the
learning rate is; what a space *fixes* for one encoder (``when: {encoder.name_or_path: …}``) are settings of that one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from search_spaces import load
from search_spaces.dimensions import Dimension, Point, Space
from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.model.catalogue import pretraining_of
from trainables.pretraining import Lists

NAME, REVISION = "encoder.name_or_path", "encoder.revision"


def identity(trial: TrialConfig) -> tuple[str, str | None]:
    """Which encoder a trial trains."""
    return trial.encoder.name_or_path, trial.encoder.revision


def label(trial: TrialConfig) -> str:
    """The same in words: ``xlm-roberta-base``, ``FacebookAI/xlm-mlm-100-1280@refs/pr/2``."""
    name, revision = identity(trial)
    return f"{name}@{revision}" if revision else name


def fingerprint_name(trial: TrialConfig) -> str:
    """What the fingerprint of a trial's encoder is called where a study has several encoders."""
    return f"encoder {label(trial)}"


def labels(config: StudyConfig) -> list[str]:
    """All of the study's encoders in words, each once."""
    return list(dict.fromkeys(label(apply_point(config.trial, point)) for point in settings(config)))


def choices(config: StudyConfig) -> list[TrialConfig]:
    """The baselines, and the base under every choice of encoder, and of what is trained of it, that the space offers.

    Of a number that which needs most stands: the largest adapter, the fewest frozen layers. Raises `UserError` for a
    space that is none, and for choices that do not go together.
    """
    points = settings(config) + _points(config.search.space, lambda d: d.path.startswith("encoder."))
    points += [{k: v for k, v in point.items() if k.startswith("encoder.")} for point in config.search.enqueue]
    try:
        trials = [apply_point(config.trial, point) for point in points]
    except UserError as error:
        raise UserError(*(f"search.space: {line}" for line in error.lines)) from None
    return [trial for i, trial in enumerate(trials) if trial not in trials[:i]]


def settings(config: StudyConfig) -> list[Point]:
    """The points that turn the base into each of the study's encoders, with what the space fixes for it; each once.

    One empty point where nothing names an encoder. The base's own comes first if it is among them. Raises `UserError`
    for a space that is none.
    """
    base = identity(config.trial)
    points = _points(config.search.space, _belongs_to_an_encoder)
    points += [named for point in config.search.enqueue if (named := _named(point))]
    found: dict[tuple[Any, Any], Point] = {}
    for point in points:
        found.setdefault(_identity(point, base), point)
    return sorted(found.values(), key=lambda point: _identity(point, base) != base)


def setting_of(config: StudyConfig, trial: TrialConfig) -> Point:
    """The one of `settings` that is a trial's encoder; its name and revision alone where none is."""
    base, mine = identity(config.trial), identity(trial)
    known = next((point for point in settings(config) if _identity(point, base) == mine), None)
    return known if known is not None else {NAME: mine[0], REVISION: mine[1]}


def pretraining_lists(config: StudyConfig) -> Lists:
    """The published list of pretraining languages of each of the study's encoders; None for one that has none."""
    names = _names(json.dumps([config.search.space, config.search.enqueue], default=str))
    return tuple(dict.fromkeys(pretraining_of(name or config.trial.encoder.name_or_path) for name in names))


@lru_cache(maxsize=64)
def _names(asked: str) -> tuple[str | None, ...]:
    """Names of the encoders of a space and of enqueued points; None for the base's. It is asked for every score."""
    space, enqueued = json.loads(asked)
    try:
        points = _points(space, lambda d: d.path == NAME)
    except UserError:
        points = [{}]  # reported by the checks
    return tuple(point.get(NAME) for point in [*points, *(p for p in map(_named, enqueued) if p)])


def _named(point: Point) -> Point:
    return {path: value for path, value in point.items() if path in (NAME, REVISION)}


def _identity(point: Point, base: tuple[str, str | None]) -> tuple[Any, Any]:
    return point.get(NAME, base[0]), point.get(REVISION, base[1])


def _belongs_to_an_encoder(dimension: Dimension) -> bool:
    """Whether a dimension says which encoder it is, or is a setting of one."""
    if dimension.path in (NAME, REVISION):
        return True
    return dimension.kind == "fixed" and bool(dimension.when) and dimension.when.keys() <= {NAME, REVISION}


def _points(space: str | dict[str, Any] | None, wanted: Callable[[Dimension], bool]) -> list[Point]:
    """Every combination of the dimensions that are wanted, as the conditions of the space allow them; each once."""
    if space is None:
        return [{}]
    whole = load(space)
    paths = {d.path for d in whole.dimensions if wanted(d)}
    finite = tuple(replace(d, kind="categorical", choices=_values(d)) for d in whole.part(paths).dimensions)
    points = [{k: v for k, v in point.items() if k in paths} for point in Space("", "", finite).grid()]
    return [point for i, point in enumerate(points) if point not in points[:i]]


def _values(dimension: Dimension) -> tuple[Any, ...]:
    """The choices of a dimension; of a number the one that needs most, but where others depend on which it is."""
    if dimension.choices:
        return dimension.choices
    if not dimension.path.startswith("encoder.") and dimension.levels:
        return dimension.levels
    most = dimension.high if dimension.path.startswith("encoder.adapter.") else dimension.low
    return (most if dimension.kind == "float" else int(most),)
