"""Which aligned encoders the trials of a study begin from: known before the first trial where they can be listed."""

from __future__ import annotations

from search_spaces.dimensions import Space
from study.question import arms, encoders
from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point

PREFIX = "alignment."
"""What the paths of alignment's settings begin with."""


def choices(config: StudyConfig) -> list[TrialConfig]:
    """The base under every alignment that a trial may begin from, each encoder's own; trials that align nothing apart.

    None where `endless` names something. Raises `UserError` for a space that is none, and for choices that do not go
    together.
    """
    if endless(config):
        return []
    found: list[TrialConfig] = []
    for space in arms.spaces(config).values() or [Space("", "", ())]:
        for setting in encoders.settings(config):
            for point in space.part(PREFIX).grid():
                aligned = {path: value for path, value in point.items() if path.startswith(PREFIX)}
                try:
                    trial = apply_point(config.trial, {**setting, **aligned})
                except UserError as error:
                    raise UserError(*(f"search.space: {line}" for line in error.lines)) from None
                if trial.alignment.objective != "none" and trial not in found:
                    found.append(trial)
    return found


def endless(config: StudyConfig) -> list[str]:
    """Settings of alignment that are searched without a list of values: a trial may ask for an encoder of its own."""
    paths = (
        d.path for space in arms.spaces(config).values() for d in space.part(PREFIX).dimensions if d.levels is None
    )
    return list(dict.fromkeys(path for path in paths if path.startswith(PREFIX)))
