"""The file of a suite, its members as studies, and whether they are selected alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study.question import catalogue, suites
from study.question.config import StudyConfig, SuiteConfig
from tests.conftest import REPOSITORY
from trainables.errors import UserError
from trainables.languages import normalize
from trainables.loading import validate
from trainables.tasks import definition as tasks

PIVOTS: dict[str, Any] = {"selection": "pivot_validation", "pivots": ["de", "fr"]}


def suite(*members: dict[str, Any], **more: Any) -> SuiteConfig:
    data: dict[str, Any] = {
        "suite": {"name": "many", "members": list(members), **more.pop("suite", {})},
        "trial": {"perturbation": {"method": "adversarial"}, "training": {"learning_rate": 2e-4}},
        "search": {"space": "adversarial", "trials": 4},
        "protocol": PIVOTS,
    }
    return validate(SuiteConfig, data | more)


def test_a_member_is_what_all_share_with_its_overrides_laid_over() -> None:
    overrides = {"trial.training.learning_rate": 1e-5, "search.trials": 9, "trial.task.name": "xnli"}
    asked = suite({"name": "a"}, {"name": "b", "overrides": overrides}, question="Does it?")
    members = suites.expand(asked)
    assert list(members) == ["a", "b"]
    assert [config.name for config in members.values()] == ["many.a", "many.b"]
    assert [config.question for config in members.values()] == ["Does it?"] * 2
    rates = [config.trial.training.learning_rate for config in members.values()]
    assert (rates, [config.search.trials for config in members.values()]) == ([2e-4, 1e-5], [4, 9])
    assert members["b"].trial.task.name == "xnli"
    assert suites.one(asked, "b") == members["b"]


def test_every_mistake_of_every_member_comes_at_once_with_its_name() -> None:
    asked = suite(
        {"name": "a", "overrides": {"trial.training.learning_rate": -1.0, "search.trails": 3}},
        {"name": "b", "overrides": {"scaling.gpus_per_worker": 1, "search.max_hours": 2.0}},
        {"name": "c", "overrides": {"protocol.primary_endpoint": "worst_language"}},
        {"name": "d"},
        {"name": "d"},
        suite={"endpoint": "target_mean"},
    )
    with pytest.raises(UserError) as error:
        suites.expand(asked)
    lines = error.value.lines
    assert [line.partition(":")[0] for line in lines] == ["suite.members", "a", "a", "b", "b", "c"]
    assert "trial.training.learning_rate" in lines[1] or "trial.training.learning_rate" in lines[2]
    assert any("unknown key 'trails', did you mean 'trials'?" in line for line in lines)
    assert any(line.startswith("b: scaling.gpus_per_worker: all members share one cluster") for line in lines)
    assert any("the suite's is target_mean" in line for line in lines)


def test_the_suites_endpoint_is_every_members() -> None:
    members = suites.expand(suite({"name": "a"}, {"name": "b"}, suite={"endpoint": "worst_language"}))
    assert {config.protocol.primary_endpoint for config in members.values()} == {"worst_language"}


def test_what_is_wrong_with_the_suites_endpoint_is_said_of_it_once() -> None:
    """And with what only one member lacks, of that one."""
    both = [{"name": "a"}, {"name": "b", "overrides": {"protocol.groups": {"few": ["de", "es"]}}}]
    with pytest.raises(UserError) as error:
        suites.expand(suite(*both, suite={"endpoint": "low_resource"}))
    assert error.value.lines == [
        "suite.endpoint: unknown reduction, did you mean 'low_resource_mean'? (got 'low_resource')"
    ]
    with pytest.raises(UserError) as error:
        suites.expand(suite(*both, suite={"endpoint": "group:few"}))
    assert [line.split(":")[:2] for line in error.value.lines] == [["a", " suite.endpoint"], ["b", " suite.endpoint"]]
    with pytest.raises(UserError, match=r"a: protocol\.primary_endpoint: unknown"):
        suites.expand(suite({"name": "a", "overrides": {"protocol.primary_endpoint": "best"}}, {"name": "b"}))


def test_an_endpoint_over_members_of_unequal_footing_is_refused_or_labelled() -> None:
    other: dict[str, Any] = {"protocol.selection": "target_validation", "protocol.pivots": []}
    members = [{"name": "a"}, {"name": "b", "overrides": other}]
    with pytest.raises(UserError, match=r"selection pivot_validation \(a\), target_validation \(b\)"):
        suites.expand(suite(*members, suite={"endpoint": "target_mean"}))
    labelled = suite(*members, suite={"endpoint": "target_mean", "footing": "labelled"})
    assert "not on equal footing" in suites.pooled_label(labelled, suites.expand(labelled))
    nothing_over_all = suites.expand(suite(*members))
    assert list(suites.differences(nothing_over_all)) == ["selection"]


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        ({"protocol.pivots": ["es", "fr"]}, []),  # tasks have different languages
        ({"search.objectives": [{"reduce": "source"}]}, ["objectives"]),
        ({"trial.evaluation.checkpoint": "average", "trial.evaluation.every": 10}, ["checkpoint"]),
    ],
)
def test_what_makes_footing_unequal(overrides: dict[str, Any], differs: list[str]) -> None:
    members = suites.expand(suite({"name": "a"}, {"name": "b", "overrides": overrides}))
    assert list(suites.differences(members)) == differs


def test_files_that_members_name_lie_beside_the_suites_own(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("perturbation.epsilon: {type: float, low: 0.1, high: 0.2}\n")
    overrides = {"search.space": "./space.yaml", "trial.task.data_dir": "../data"}
    data = {"suite": {"name": "x", "members": [{"name": "a", "overrides": overrides}]}, "search": {"trials": 3}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(data))
    asked = suites.asked(str(tmp_path / "suite.yaml"), ["trial.training.seed=7"])
    assert isinstance(asked, SuiteConfig)
    (member,) = asked.suite.members
    assert member.overrides["search.space"] == {"perturbation.epsilon": {"type": "float", "low": 0.1, "high": 0.2}}
    assert member.overrides["trial.task.data_dir"] == str(tmp_path / "../data")
    assert asked.trial.training.seed == 7


def test_an_argument_can_be_about_one_member_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid over what the file has for it; its relative paths are the caller's, and so are files of spaces."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "narrow.yaml").write_text("perturbation.epsilon: {log_uniform: [0.1, 0.2]}")
    of_areas = "suite.members.areas."
    arguments = ["search.trials=5", "trial.task.data_dir=all", f"{of_areas}trial.task.data_dir=areas"]
    arguments += [f"{of_areas}search.trials=2", f"{of_areas}search.trials=1", f"{of_areas}priority=3"]
    asked = suites.asked("intents_suite", [*arguments, f"{of_areas}search.space=./narrow.yaml"])
    intents, areas = asked.suite.members if isinstance(asked, SuiteConfig) else ()
    assert (intents.overrides, intents.priority, areas.priority) == ({}, 0, 3)
    assert areas.overrides == {
        "trial.task.name": "intents_areas",
        "trial.task.data_dir": str(tmp_path / "areas"),
        "search.trials": 1,
        "search.space": {"perturbation.epsilon": {"log_uniform": [0.1, 0.2]}},
    }
    short = suites.asked("intents_suite", ["search.trials=5", f"{of_areas}search.trials=2"])
    assert isinstance(short, SuiteConfig)
    assert {name: config.search.trials for name, config in suites.expand(short).items()} == {"intents": 5, "areas": 2}


def test_what_is_wrong_with_such_arguments_comes_at_once() -> None:
    arguments = ["suite.members.arias.search.trials=1", "suite.members.areas=3", "suite.members.areas.at_once=0"]
    with pytest.raises(UserError) as error:
        suites.asked("intents_suite", arguments)
    assert error.value.lines == [
        "suite.members.arias.search.trials: the suite has no such member, did you mean 'areas'? (got 'arias')",
        "suite.members.areas: name a path of it, as suite.members.areas.trial.task.data_dir=… (got 3)",
        "suite.members.areas.at_once: must be at least 1 (got 0)",
    ]
    asked = suites.asked("intents_suite", ["suite.members.areas.search.trails=1", "suite.members.areas.name=b"])
    assert isinstance(asked, SuiteConfig)
    with pytest.raises(UserError, match=r"areas: name: a member's study is named SUITE\.MEMBER"):
        suites.expand(asked)


@pytest.mark.parametrize("name", [n for n, _ in catalogue.recipes() if catalogue.is_suite(catalogue.recipe_path(n))])
def test_shipped_suites_ask_for_what_there_is(name: str) -> None:
    """Every member a study of its own, on a task of the catalogue and languages that this has."""
    asked = suites.asked(name)
    assert isinstance(asked, SuiteConfig) and asked.suite.name == name
    members = suites.expand(asked)
    assert len(members) >= 2
    for member in members.values():
        definition = tasks.catalogue()[member.trial.task.name]
        wanted = member.trial.task.target_languages
        known = {normalize(code) for code in definition.codes or ()}
        assert not known or wanted == "all" or {normalize(code) for code in wanted} <= known
        assert asked.suite.endpoint == member.protocol.primary_endpoint or name == "intents_suite"


def test_the_shipped_suite_is_one_and_a_study_is_none() -> None:
    asked = suites.asked("intents_suite")
    assert isinstance(asked, SuiteConfig)
    assert [config.trial.task.name for config in suites.expand(asked).values()] == ["intents", "intents_areas"]
    study = suites.asked("quickstart")
    assert isinstance(study, StudyConfig)
    assert suites.chosen(study, None) is study
    with pytest.raises(UserError, match="quickstart is a study and no suite"):
        suites.chosen(study, "intents")
    with pytest.raises(UserError, match="no such member, did you mean 'areas'"):
        suites.chosen(asked, "area")


@pytest.mark.parametrize("whose", ["", "suite.members.pos."])
def test_a_method_that_the_space_lays_over_is_refused(whose: str) -> None:
    file, given = str(REPOSITORY / "docs" / "example_suite.yaml"), f"{whose}trial.perturbation.method=sam"
    with pytest.raises(UserError, match=r"^trial.perturbation.method: search.space holds it at adversarial in every"):
        suites.asked(file, [given])
    suites.asked(file, [given, "search.space=null"])


def test_the_example_of_a_suite_makes_sense_without_its_data() -> None:
    members = suites.expand(
        suites.asked(str(REPOSITORY / "docs" / "example_suite.yaml"), ["trial.task.data_dir=/nowhere"])
    )
    assert len(members) == len({config.trial.task.name for config in members.values()}) == 6
    assert {config.search.replicates for config in members.values()} == {2}
    assert {config.trial.training.budget.steps for config in members.values()} == {40}
