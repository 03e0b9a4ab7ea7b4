"""A study as it lies on disk, and whether it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from study.proposals import ranking
from study.proposals.spending import is_spent, unfinished
from study.question import rules
from study.question.config import StudyConfig
from study.record import manifest, roots
from study.record.lines import Reading, begun_as
from study.record.place import Place
from study.record.record import StudyRecord, TrialRecord
from trainables.errors import UserError
from trainables.loading import validate

Condition = Literal["running", "finished", "unfinished"]


@dataclass(frozen=True)
class Study:
    """A study as it was found on disk."""

    place: Place
    config: StudyConfig
    reading: Reading
    condition: Condition

    @property
    def name(self) -> str:
        """Under its root."""
        return self.place.name

    @property
    def record(self) -> StudyRecord:
        """What its ledger added up to when it was read last."""
        return self.reading.record

    @property
    def trials(self) -> list[TrialRecord]:
        """In the order they were asked."""
        return list(self.record.trials.values())

    @cached_property
    def choice(self) -> ranking.Choice | None:
        """What ranks first by the selection rule; None where no trial beside the baseline is complete."""
        try:
            return ranking.choose(self.config, self.record)
        except UserError:
            return None


def find(root: Path, name: str, reading: Reading | None = None) -> Study:
    """The study `name` under `root`; `reading` has what is known of its ledger already. Raises `UserError`, with the
    near name, where there is none."""
    place = roots.place(root, name)
    roots.refresh(root, name)
    if begun_as(place.ledger) is None:
        if place.manifest.is_file():
            words = ", ".join(_members(root, name))
            raise UserError(f"{name}: must be one study, this is a suite; its studies are {words}")
        roots.refresh(root)
        if (suite := name.rpartition(".")[0]) and name in _members(root, suite):
            raise UserError(f"{name}: has not begun; study resume {suite} begins it")
        if place.ledger.is_file():
            raise UserError(f"{name}: has not begun, its ledger does not say yet what is asked; study run begins it")
        near = roots.known(root, name, roots.names(root))
        raise UserError(f"{name}: no such study under {roots.shown(root)}{near}")
    reading = reading or Reading(place.ledger)
    record = reading.update()
    config = validate(StudyConfig, record.config)
    condition: Condition = (
        "running" if roots.is_owned(place) else "finished" if is_finished(config, record) else "unfinished"
    )
    return Study(place, config, reading, condition)


def _members(root: Path, suite: str) -> list[str]:
    """The studies of a suite; none where there is no such suite."""
    design = manifest.read(roots.place(root, suite))
    return [] if design is None else [f"{suite}.{member['name']}" for member in design["suite"]["members"]]


def is_finished(config: StudyConfig, record: StudyRecord) -> bool:
    """Whether phase `run` has met its budget and nothing of it is left under way."""
    trials = [t for t in record.trials.values() if t.phase == "run"]
    if not trials or unfinished(config, record):
        return False
    if config.search.arms:
        from study.proposals.arms import is_complete

        return is_complete(config, trials) or is_spent(config, record)
    asked = sum(t.control is None for t in trials)
    # The points of a design are all asked before the first trial starts, however many they are.
    enough = config.search.mode == "design" or (asked >= planned(config) and len(trials) - asked >= tuned(config))
    return enough or is_spent(config, record)


def tuned(config: StudyConfig) -> int:
    """Trials of control (b)'s own search."""
    if not config.protocol.tune_controls:
        return 0
    from study.proposals.arms import run_arms

    return sum(arm.proposer.remaining() for arm in run_arms(config) if arm.name == "control")


def planned(config: StudyConfig) -> int:
    """Trials that the configuration asks for, control (b)'s own search apart; arms of equal cost may turn out to have
    fewer. A grid is as large as it is."""
    if config.search.arms or (config.search.space is not None and config.search.sampler == "grid"):
        from study.proposals.arms import run_arms

        return sum(arm.proposer.remaining() for arm in run_arms(config) if arm.name != "control")
    if config.search.space is not None:
        return config.search.trials
    return 1 if rules.unperturbed(config, config.trial) == config.trial else 2
