"""Trained models of a study: which trial's, and where its weights are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.proposals import ranking
from study.question import encoders
from study.record.place import Place
from study.record.record import TrialRecord
from study.record.roots import store_errors
from study.views.found import Study
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials.materials import fingerprints, prepare
from trainables.scores import Split
from trainables.storage.scratch import scratch
from trainables.storage.shelf import Shelf

SCRATCH = "study-model"
"""How the temporary folders begin in which weights lie that come from an object store."""


def chosen(study: Study, number: int | None = None) -> TrialRecord:
    """The trial of that number, or the one that ranks first by the selection rule; of its replicates one with weights.

    Raises `UserError` where there is none, or it is not complete.
    """
    trials = study.record.trials
    if number is None:
        winner = ranking.choose(study.config, study.record).winner.numbers
        there = kept(study.place)
        return trials[next((n for n in winner if n in there), winner[0])]
    if number not in trials:
        known = f"its trials are 0 to {max(trials)}" if trials else "it has none yet"
        raise UserError(f"TRIAL: {study.name} has no such trial, {known} (got {number})")
    trial = trials[number]
    if trial.state != "COMPLETE":
        told = {"PRUNED": "was stopped early", "FAIL": "failed"}.get(trial.state, "is not finished")
        raise UserError(f"TRIAL: must be a completed trial of {study.name}, this one {told} (got {number})")
    return trial


def kept(place: Place) -> list[int]:
    """Trials that have weights, sorted."""
    folder = place.checkpoints
    if (store := place.stored(folder)) is not None:
        with store_errors(folder):
            names = list(store.folders())
    else:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(each) for each in names if each.isdigit())


@contextmanager
def weights(study: Study, trial: TrialRecord) -> Iterator[Path]:
    """The folder of a trial's checkpoints, brought here meanwhile where they are in a store.

    Raises `UserError` where they were not kept.
    """
    if trial.number not in (there := kept(study.place)):
        others = f"of trials {', '.join(map(str, there))}" if there else "of none"
        raise UserError(
            f"models.keep: a study keeps as many trained models, {study.name} has those {others} and not that of trial "
            f"{trial.number}; all keeps every one (got {study.config.models.keep})"
        )
    own = study.place.checkpoints / str(trial.number)
    store = study.place.stored(own)
    if store is None:
        yield own
        return
    with scratch(SCRATCH) as folder:
        with store_errors(folder):
            Shelf(store, folder / "checkpoints").fetch()
        yield folder / "checkpoints"


def splits(trial: TrialRecord) -> tuple[Split, ...]:
    """What a trial was given to score."""
    return ("validation",) if trial.phase == "run" else ("validation", "test")


def check_materials(study: Study, trial: TrialRecord, config: TrialConfig) -> None:
    """Raise `UserError` where data or encoder are no longer those that the study was made with."""
    first = apply_point(study.config.trial, encoders.settings(study.config)[0])
    for name, mine in fingerprints(prepare(config, splits(trial))).items():
        named = encoders.fingerprint_name(config) if name == "encoder" else name
        is_first = name != "encoder" or encoders.identity(config) == encoders.identity(first)
        found = [each.get(named, each.get(name) if is_first else None) for each in study.record.recorded]
        theirs = [each for each in found if isinstance(each, str)]
        if theirs and mine not in theirs:
            raise UserError(
                f"{study.name}: its {name} must be what it was when the study ran (got another fingerprint)"
            )
