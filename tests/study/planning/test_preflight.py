"""What is said of a study before it starts: of its encoders, the base's and those that the space chooses among."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.planning import preflight
from study.question.config import StudyConfig
from tests.trainables.model import tiny_families
from trainables.errors import UserError


def test_languages_that_an_encoder_is_told_and_does_not_know_are_one_line(tmp_path: Path) -> None:
    told = {"lang2id": {"en": 0, "de": 1}, "id2lang": {"0": "en", "1": "de"}, "n_langs": 2}
    folder = tiny_families.write(tmp_path / "encoder", "xlm with languages", **told)
    task = {"source_language": "en", "target_languages": ["de", "fi"], "max_length": 32}
    trial = {"task": task, "encoder": {"name_or_path": str(folder)}}
    study = StudyConfig.model_validate({"name": "told", "trial": trial})
    with pytest.raises(UserError) as caught:
        preflight.tested(study)
    (line,) = (line for line in caught.value.lines if line.startswith("trial.task."))
    assert line.startswith("trial.task.target_languages: ") and line.endswith("knows de, en (got fi)")
