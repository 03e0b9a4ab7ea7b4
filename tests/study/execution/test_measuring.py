"""What is measured of languages when a study begins, and what that may refuse; without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from study.execution import measuring
from study.question.config import StudyConfig
from tests.trainables.materials.test_materials import config as config
from tests.trainables.materials.test_materials import data as data
from tests.trainables.materials.test_materials import encoder as encoder
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.materials import vocabulary


def study(trial: TrialConfig, **more: Any) -> StudyConfig:
    given = trial.model_dump(mode="json", exclude_unset=True)
    return validate(StudyConfig, {"name": "x", "trial": given, **more})


def test_a_study_begins_with_what_its_own_rows_say(config: TrialConfig) -> None:
    begun = measuring.begun(study(config, measured={"en": {"fertility": 9.0}})).measured
    assert begun == vocabulary.measured(config) and begun["en"]["fertility"] == 1.0, "whatever stood there"


def test_what_was_measured_stays_when_the_test_split_is_opened(config: TrialConfig) -> None:
    known = {"en": {"fertility": 9.0, "overlap": 0.5}}
    opened = measuring.opened(study(config, measured=known)).measured
    assert opened == {**vocabulary.measured(config, ("validation", "test")), **known}


def test_a_group_that_turns_out_too_small_is_refused(config: TrialConfig) -> None:
    protocol = {"primary_endpoint": "group:fertility>1.5"}
    with pytest.raises(UserError, match=r"primary_endpoint: none of its languages is evaluated"):
        measuring.begun(study(config, protocol=protocol))
    with pytest.raises(UserError, match=r"primary_endpoint: the mean of a group needs 3 languages, it has de, sw"):
        measuring.begun(study(config, protocol={"primary_endpoint": "group:fertility<1.5"}))


def test_of_encoders_that_cut_otherwise_there_is_no_one_number(
    config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(trial: TrialConfig, splits: Any) -> dict[str, dict[str, float]]:
        return {"sw": {"fertility": float(trial.encoder.name_or_path), "overlap": 0.5}}

    monkeypatch.setattr(vocabulary, "measured", measured)
    space = {"encoder.name_or_path": ["1", "2"]}
    search = {"mode": "design", "sampler": "grid", "space": space}
    assert measuring.begun(study(config, search=search)).measured == {"sw": {"fertility": None, "overlap": 0.5}}
