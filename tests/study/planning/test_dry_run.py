"""What a suite would take, member by member, before it runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from study.planning import describe_suite, dry_run, needs
from study.planning.needs import Pace
from study.question.config import StudyConfig, SuiteConfig
from trainables.errors import UserError
from trainables.loading import validate


def suite(**more: Any) -> SuiteConfig:
    members = [{"name": "a"}, {"name": "b", "overrides": {"search.trials": 9, "trial.task.name": "intents_areas"}}]
    data: dict[str, Any] = {
        "suite": {"name": "many", "endpoint": "target_mean", "members": members},
        "trial": {"training": {"budget": {"steps": 10}}},
        "search": {"space": "adversarial", "trials": 4},
        "scaling": {"concurrent_trials": 1},
    }
    return validate(SuiteConfig, data | more)


def test_trials_hours_and_disk_stand_by_member_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "pace", lambda config, root: Pace(0.0, 3600.0, 1, 1))  # an hour a trial
    monkeypatch.setattr(needs, "_parameters", lambda config: 2**20)
    text = dry_run.words(suite(), tmp_path)
    assert re.search(r"a +intents +offline:e5-small +4 +4 +12 MiB\n", text)
    assert re.search(r"b +intents_areas +offline:e5-small +9 +9 +12 MiB\n", text)
    assert re.search(r"all +13 +13 +40 MiB\n", text)  # the weights of both, and of one trial that runs: 16 MiB
    assert "about 13.0 hours for all trials here" in text


def test_gpu_hours_are_those_of_all_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "pace", lambda config, root: Pace(0.0, 3600.0, 1, 1))
    monkeypatch.setattr(needs, "gpus", lambda: 2)
    scaling = {"gpus_per_worker": 1, "workers_per_trial": 2, "concurrent_trials": 1}
    text = dry_run.words(suite(scaling=scaling), tmp_path)
    assert "GPU-hours" in text
    assert re.search(r"all +13 +26 ", text)


def test_what_could_not_run_is_refused_with_its_members_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^protocol\.pivots: pivot_validation needs at least one language.*\)$"):
        dry_run.words(suite(protocol={"selection": "pivot_validation"}), tmp_path)  # every member: said once
    members = [{"name": "a", "overrides": {"trial.task.target_languages": ["de", "fr"]}}]
    with pytest.raises(UserError, match=r"^a: protocol\.primary_endpoint: the mean of a group needs 3 languages"):
        dry_run.words(suite(suite={"name": "many", "endpoint": "target_mean", "members": members}), tmp_path)


def test_what_is_not_known_is_no_number(tmp_path: Path) -> None:
    text = dry_run.words(validate(StudyConfig, {"name": "one"}), tmp_path)
    assert re.search(r"one +intents +offline:e5-small +1 +\? ", text)
    assert "known once a study of that encoder and task has run" in text


def test_a_study_alone_is_told_nothing_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk is what its description says; so is that of a suite's one member."""
    monkeypatch.setattr(needs, "_parameters", lambda config: 2**20)
    scaling, budget = {"concurrent_trials": 1}, {"training": {"budget": {"steps": 10}}}
    text = dry_run.words(validate(StudyConfig, {"name": "one", "trial": budget, "scaling": scaling}), tmp_path)
    assert text.startswith("study ") and "member" not in text and "all:" not in text
    assert re.search(r"one .* 28 MiB\n", text)  # the weights that stay, and of the trial that runs: 12 and 16 MiB
    assert "at most 28 MiB of checkpoints under" in text
    just_one = suite(suite={"name": "many", "members": [{"name": "a"}]})
    text = dry_run.words(just_one, tmp_path)
    assert text.startswith("member ") and "whichever" not in text and "at most 28 MiB of checkpoints under" in text


def test_what_is_missing_here_is_said_of_the_members_that_need_it(tmp_path: Path) -> None:
    """Which does not keep anybody from looking: the study may be for another machine."""
    members = [{"name": "a"}, {"name": "b", "overrides": {"trial.encoder.name_or_path": str(tmp_path / "none")}}]
    lacking = suite(suite={"name": "many", "members": members}, scaling={"gpus_per_worker": 64})
    text = dry_run.words(lacking, tmp_path)
    assert "missing here  scaling: one trial needs 64 GPUs, this machine has " in text
    assert re.search(r"\n +b: trial\.encoder\.name_or_path: must be .* no such folder\)", text)
    assert "missing here" not in dry_run.words(suite(), tmp_path)


def test_a_suite_is_described_with_what_selects_each_member(tmp_path: Path) -> None:
    text = describe_suite.words(suite(question="Does it?"), tmp_path)
    assert text.startswith("suite many\nDoes it?\n")
    assert "study many.b: task intents_areas, trained on en" in text
    assert text.count("Selected on: validation in the source language (en)") == 2
    assert "all members are selected by the same rules" in text
