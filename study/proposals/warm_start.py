"""Learning from another study: its ended trials, copied into our ledger, are history to our sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces import load
from search_spaces.dimensions import Point, Space
from study.proposals import ranking
from study.proposals.frozen import distributions_json
from study.question import encoders, rules
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.record import StudyRecord, TrialRecord
from trainables.config import TrialConfig
from trainables.errors import UserError, shown
from trainables.loading import apply_point, validate


def borrow(config: StudyConfig, ledger: Ledger, record: StudyRecord, other: StudyRecord) -> int:
    """Copy the ended trials of `other` that are points of our space into our ledger, each once; returns how many.

    `record` is ours, with its fingerprints; it takes in what is copied. Raises `UserError` as `check` does.
    """
    check(config, record.fingerprints, other)
    theirs = validate(StudyConfig, other.config)
    space = load(config.search.space or {})
    known = {(t.attributes["uuid"], t.number) for t in record.borrowed}
    count = 0
    for trial in other.trials.values():
        is_ended = trial.phase == "run" and trial.state in ("COMPLETE", "PRUNED")
        if not is_ended or (other.uuid, trial.number) in known:
            continue
        point = _as_point(config, space, ranking.trial_config(theirs, trial))
        if point is not None:
            copy = {"study": theirs.name, "uuid": other.uuid, **_copy(trial, point, space)}
            record.apply(ledger.append("borrowed", **copy))
            count += 1
    return count


def check(config: StudyConfig, fingerprints: Mapping[str, str], other: StudyRecord) -> None:
    """Raise `UserError` listing every difference if data (by our fingerprints) or base configuration are not the same.

    Scores would not compare.
    """
    theirs = validate(StudyConfig, other.config)
    if config.search.arms:
        raise UserError(f"{theirs.name}: arms have searches of their own, which learn from no other study")
    if config.search.space is None or config.search.mode != "search":
        raise UserError(f"{theirs.name}: only a search can learn from another study (got mode {config.search.mode})")
    if differences := [*_differences(config, load(config.search.space), fingerprints, theirs, other)]:
        raise UserError(*differences)


def _copy(trial: TrialRecord, point: Point, space: Space) -> dict[str, Any]:
    """A trial's fields of a `borrowed` event."""
    return {
        "trial": trial.number,
        "point": point,
        "distributions": distributions_json({d.path: d.distribution for d in space.searched if d.path in point}),
        "outcome": trial.state,
        "evaluations": [r.evaluation.to_json() for r in trial.reports if r.split == "validation"],
    }


def _as_point(config: StudyConfig, space: Space, trial: TrialConfig) -> Point | None:
    """The point of our space at which a trial of ours would be just this one, or None."""
    data = trial.model_dump(mode="json")
    point: Point = {}
    for dimension in space.dimensions:
        if dimension.active(point):
            value = data
            for name in dimension.path.split("."):
                value = value[name] if value is not None else None
            if not dimension.contains(value):
                return None
            point[dimension.path] = value
    return point if apply_point(config.trial, point) == trial else None


def _named(config: StudyConfig, fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints with that of an only encoder called by its name too."""
    (only, *more), name = encoders.settings(config), "encoder"
    if not more:
        name = encoders.fingerprint_name(apply_point(config.trial, only))
    return {name if key == "encoder" else key: value for key, value in fingerprints.items()}


def _differences(
    config: StudyConfig, space: Space, fingerprints: Mapping[str, str], theirs: StudyConfig, other: StudyRecord
) -> Iterator[str]:
    known, others = _named(config, fingerprints), _named(theirs, other.fingerprints)
    for name in sorted({*known, *others}):
        mine, their = known.get(name), others.get(name)
        # Encoders that one of both has alone: whether a trial is a point of our space is asked of each.
        if mine != their and not (name.startswith("encoder") and None in (mine, their)):
            yield f"{theirs.name}: its {name} is another, fingerprint {shown(their)} (ours is {shown(mine)})"
    for path, value in rules.difference(config.trial, theirs.trial).items():
        if path not in space:  # what is searched is compared trial by trial
            yield f"{theirs.name}: trial.{path} is another, {shown(value)}"
