"""Shipped studies: each is sound with its own task, and with every shipped search space."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import search_spaces
from study.planning import preflight
from study.question import catalogue, checks, doses, suites
from study.question.config import StudyConfig
from tests.conftest import REPOSITORY
from trainables import alignment, augmentation
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.tasks.definition import complete
from trainables.tasks.plan import Plan

RECIPES = [name for name, _ in catalogue.recipes()]


def languages_of(config: StudyConfig, split: str) -> tuple[str, ...]:
    """Those of the data; of what has no data on the hub, those that its definition names."""
    plan = Plan.of(config.trial.task)
    try:
        return tuple(plan.sources("test" if split == "test" else "validation"))
    except UserError as error:
        if not error.lines[0].startswith("task.data_dir: "):
            raise
        return (plan.source, *(plan.code_of(code) for code in plan.definition.codes if code != plan.source))


def with_space(config: StudyConfig, name: str) -> StudyConfig:
    """The same study over another space, with two levels of whatever is continuous if it is a grid."""
    levels = {d.path: (d.at(0.2), d.at(0.8)) for d in search_spaces.load(name).dimensions if d.levels is None}
    is_grid = config.search.sampler == "grid"
    alone = {"arms": {}, "optional_arms": (), "left_out": {}}  # which are parts of the space that it had
    search = config.search.model_copy(update={"space": name, "levels": levels if is_grid else {}, **alone})
    return config.model_copy(update={"search": search})


def studies_of(recipe: str) -> dict[str, StudyConfig]:
    """The study that a recipe is, or those of its members, by the name that each must have."""
    asked = suites.asked(recipe)
    if isinstance(asked, StudyConfig):
        return {recipe: asked}
    return {f"{recipe}.{member}": config for member, config in suites.expand(asked).items()}


STUDIES = {name: config for recipe in RECIPES for name, config in studies_of(recipe).items()}


@pytest.mark.parametrize("name", STUDIES)
def test_a_recipe_is_sound_with_its_task_and_every_space(name: str) -> None:
    config = STUDIES[name]
    assert config.name == name
    assert config.question
    evaluated, tested = languages_of(config, "validation"), languages_of(config, "test")
    checks.check(config, evaluated, tested)
    assert preflight._methods(config) == []
    for space in search_spaces.names():
        checks.check(with_space(config, space), evaluated, tested)


@pytest.mark.parametrize("recipe", ["alternatives_intents", "alternatives_xtreme_r"])
def test_optional_arms_are_sound_where_all_is_installed(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And left out where the task cannot have them alone."""
    monkeypatch.setattr(augmentation, "check_resource", lambda *_: None)
    monkeypatch.setattr(alignment, "check", lambda *_: None)
    for name, config in studies_of(recipe).items():
        assert preflight._methods(config) == [], name
        checks.check(config, languages_of(config, "validation"), languages_of(config, "test"))
        reasons = {arm: why for arm, why in config.search.left_out.items() if not arm.startswith("syntax")}
        single = config.trial.task.name in ("intents", "xnli", "xcopa")
        assert reasons.keys() == (set() if single else {"ear"}), name
        assert single or "serves tasks with one answer an example" in reasons["ear"]


def test_the_quickstart_is_the_first_of_a_family() -> None:
    family = {"quickstart", "huang2021_pawsx", "huang2021_xnli", "ding2022_pawsx", "ding2022_xnli"}
    assert family | {"xtreme_r_xcopa", "xtreme_r_panx"} <= set(RECIPES)


def test_the_alternatives_are_the_same_in_one_study_and_in_the_suite_but_for_syntax() -> None:
    """Which only some tasks of the suite can have, each for itself; here none, for want of heads."""
    arms = STUDIES["alternatives_intents"].search.arms
    suite = {name: study for name, study in STUDIES.items() if name.startswith("alternatives_xtreme_r.")}
    syntax = {"syntax_augmented": {"syntax.kind": "augmented"}, "syntax_gate": {"syntax.kind": "gate"}}
    assert len(suite) == 7 and {"segmentation", "sharpness", "dropout"} <= arms.keys()
    assert all(study.search.arms == {**arms, **syntax} for study in suite.values())
    left_out = {name: study.search.left_out["syntax_gate"] for name, study in suite.items()}
    assert left_out["alternatives_xtreme_r.udpos"].startswith(
        "syntax.kind: needs dependency heads of the training texts"
    )
    assert left_out["alternatives_xtreme_r.xquad"].startswith("syntax.kind: only for tagging")


def test_a_space_in_a_file_becomes_part_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("perturbation.epsilon: [0.1, 0.2]\n")
    (tmp_path / "study.yaml").write_text("name: mine\nsearch: {space: space.yaml}\n")
    config = catalogue.study_config(str(tmp_path / "study.yaml"))
    assert config.search.space == {"perturbation.epsilon": [0.1, 0.2]}


def test_dimensions_of_a_space_and_its_size() -> None:
    rows = dict(catalogue.space("adversarial"))
    assert rows["perturbation.epsilon"] == "0.03 to 0.6 (log)"
    assert "decades" in rows["in all"]


def test_the_folder_of_a_local_encoder_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["trial.encoder.name_or_path=xlm-roberta-base"]
    assert catalogue.study_config("quickstart", given).trial.encoder.name_or_path == "xlm-roberta-base"
    (tmp_path / "xlm-roberta-base").mkdir()
    found = catalogue.study_config("quickstart", given).trial.encoder.name_or_path
    assert found == str(tmp_path / "xlm-roberta-base")


def test_what_a_tasks_file_says_becomes_part_of_the_configuration(tmp_path: Path) -> None:
    """So that objectives and reports know it where the file is not; what the study itself says goes before."""
    facts = "facts: {xx: {name: Mine, groups: [hills]}, yo: {groups: [hills]}}"
    (tmp_path / "task.yaml").write_text(f"shape: classification\nlabels: [a, b]\nwords: fused\n{facts}\n")
    (tmp_path / "study.yaml").write_text("name: mine\ntrial: {task: {name: task.yaml, facts: {yo: {name: Own}}}}\n")
    task = catalogue.study_config(str(tmp_path / "study.yaml")).trial.task
    assert (task.words, task.own["xx"].name, task.own["yo"].name, task.own["yo"].groups) == ("fused", "Mine", "Own", ())
    assert validate(StudyConfig, {"name": "x", "trial": {"task": task.model_dump(mode="json")}}).trial.task == task
    assert catalogue.study_config("quickstart").trial.task.words is None


def test_tasks_say_what_their_entry_was_held_against() -> None:
    rows = dict(catalogue.tasks())
    assert rows["nusax"].endswith("(checked: files)")
    assert rows["belebele"].endswith("(checked: never)")


@pytest.mark.parametrize(
    ("file", "study", "message"),
    [
        ("{sw: {}, swh: {}}", "{}", "facts: 'sw' and 'swh' are one language"),
        (
            "{xx: {variant_of: yy}}",
            "{yy: {variant_of: de}}",
            "facts: xx: variant_of must be a language that is no variant",
        ),
    ],
)
def test_facts_of_a_file_that_do_not_add_up_are_refused(file: str, study: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(f"shape: classification\nlabels: [a, b]\nfacts: {file}\n")
    task = TaskConfig.model_validate({"name": str(tmp_path / "task.yaml"), "facts": yaml.safe_load(study)})
    with pytest.raises(UserError, match=message):
        complete(task)


def test_facts_of_the_study_go_before_those_of_the_file_however_spelt(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("shape: classification\nlabels: [a, b]\nfacts: {swh: {name: File}}\n")
    task = TaskConfig.model_validate({"name": str(tmp_path / "task.yaml"), "facts": {"sw": {"name": "Study"}}})
    assert {code: known.name for code, known in complete(task).own.items()} == {"sw": "Study"}
    assert complete(complete(task)) == complete(task)


def test_the_documentation_has_every_method_with_its_dose_and_its_settings() -> None:
    """The table of docs/methods.md is of today, and a method's ranges are those of the spaces that search it."""
    page = (REPOSITORY / "docs" / "methods.md").read_text(encoding="utf-8")
    assert doses.markdown() in page, "python -m study.question.doses docs/methods.md"
    rows = {row[0]: row for row in doses.rows()[1:]}
    assert rows["`sam`"][2:] == ["6", "none", "`rho` 0.05; 0.005 to 2 (log)", "`weights`"]
    assert rows["`synonyms`"][4].startswith("`augmentation.copies` 3; 3, 10; `augmentation.probability` 1; 0.1 to 1")
    lacking = [name for name, row in rows.items() if row[5] == "–"]
    assert lacking == ["`ear`"], "which has no space: it needs copies, and single answers"


def test_what_a_search_among_all_languages_costs_is_said() -> None:
    told = dict(catalogue.tasks())
    assert "candidates cut" in told["mewslix"]
    assert "550,218 candidates are encoded an evaluation of test" in told["mewslix"]
    assert "candidates" not in told["xnli"]


def test_every_shipped_method_but_none_and_ear_has_a_dose_with_its_unit() -> None:
    """`ear` has three weights, none of which is how much of it there is; layers of syntax are there or not."""
    listed = dict(catalogue.methods())
    assert "(supervision: syntax)" in listed["syntax.kind=gate"]
    for name, words in listed.items():
        assert ("; dose: " in words) == (name not in ("none", "ear", "syntax.kind=augmented", "syntax.kind=gate")), name
    assert listed["character_noise"].endswith("(supervision: none; dose: augmentation.probability, share of words)")
    assert listed["sam"].endswith("; dose: relative_weight_norm, length of the weights' step, over theirs)")
