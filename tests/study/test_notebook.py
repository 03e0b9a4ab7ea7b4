"""`run_study`: a new study starts, an interrupted one goes on, a finished one is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import study
from study import launch
from study.question.config import StudyConfig
from study.record.lines import Reading
from study.record.place import Place
from trainables.errors import UserError

Event = dict[str, Any]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each study that is started is resumed."""
    seen: list[bool] = []

    def start(config: StudyConfig, place: Place, options: launch.Options, reading: Reading, **named: object) -> int:
        seen.append(bool(reading.record.trials))
        return 0

    monkeypatch.setattr(launch, "_execute", start)
    return seen


def test_a_finished_study_is_read(
    write_study: Callable[..., Path], events: list[Event], config: StudyConfig, starts: list[bool], capsys: Any
) -> None:
    frame = study.run_study(config, root=write_study(events))
    assert set(frame["trial"]) == {0, 1, 2}
    assert "Best trial 2" in capsys.readouterr().out
    assert starts == []


def test_an_interrupted_study_goes_on(
    write_study: Callable[..., Path], tmp_path: Path, events: list[Event], starts: list[bool]
) -> None:
    root, path = write_study(events[:8]), tmp_path / "small.yaml"
    path.write_text(json.dumps(events[0]["config"]))
    assert set(study.run_study(path, root=root)["trial"]) == {0}
    assert starts == [True]
    with pytest.raises(UserError, match=r"search.trials: the existing study has 4 \(got 9\)"):
        study.run_study(path, ["search.trials=9"], root)
    assert starts == [True]


def test_a_new_study_starts(tmp_path: Path, starts: list[bool]) -> None:
    with pytest.raises(UserError, match="no such study"):  # nothing was written by the start that was caught
        study.run_study("quickstart", ["name=new"], tmp_path)
    assert starts == [False]


def test_a_configuration_is_as_complete_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its space is part of it, and optional arms without their words are left out."""
    started: list[StudyConfig] = []
    monkeypatch.setattr(launch, "run", lambda config, options: started.append(config))
    space = tmp_path / "space.yaml"
    space.write_text("augmentation.method: [none, synonyms]\ntraining.learning_rate: {low: 1e-4, high: 1e-3}\n")
    search = {"space": str(space), "arms": {"words": {"augmentation.method": "synonyms"}}, "optional_arms": ["words"]}
    trial = {"augmentation": {"resource": str(tmp_path / "absent.tsv")}}
    config = StudyConfig.model_validate({"name": "new", "search": search, "trial": trial})
    with pytest.raises(UserError, match="no such study"):
        study.run_study(config, root=tmp_path)
    (complete,) = started
    assert isinstance(complete.search.space, dict) and list(complete.search.left_out) == ["words"]
