"""What a study takes its languages for beside what tables say: measured on its own rows, and kept with what it is."""

from __future__ import annotations

from collections.abc import Sequence

from study.question import checks, encoders
from study.question.config import StudyConfig
from trainables.conditions import MEASURED, is_measured
from trainables.languages import Measured
from trainables.loading import apply_point
from trainables.materials import vocabulary
from trainables.scores import Split
from trainables.tasks.plan import Plan


def begun(config: StudyConfig) -> StudyConfig:
    """A new study's configuration with what is measured of its languages, checked by that.

    Raises `UserError` where a group that is to be reduced turns out to be too small.
    """
    config = config.model_copy(update={"measured": _measured(config, ("validation",))})
    reduced = [config.protocol.primary_endpoint, *(objective.reduce for objective in config.search.objectives)]
    if any(is_measured(name.removeprefix("group:")) for name in reduced):
        plan = Plan.of(config.trial.task)
        checks.check(config, tuple(plan.sources("validation")), tuple(plan.sources("test")))
    return config


def opened(config: StudyConfig) -> StudyConfig:
    """A study's configuration with what is measured of languages that only its test split has; what was measured when
    it began stays."""
    return config.model_copy(
        update={"measured": {**_measured(config, ("validation", "test")), **(config.measured or {})}}
    )


def _measured(config: StudyConfig, splits: Sequence[Split]) -> Measured:
    """Where the study's encoders cut a language into different tokens, there is no one number for it."""
    trials = [apply_point(config.trial, point) for point in encoders.settings(config)]
    found = [vocabulary.measured(trial, splits) for trial in trials]
    return {code: {name: _agreed([each[code][name] for each in found]) for name in MEASURED} for code in found[0]}


def _agreed(values: Sequence[float | None]) -> float | None:
    return values[0] if len(set(values)) == 1 else None
