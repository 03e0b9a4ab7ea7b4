"""Published scores: what is shipped of them, and which stand beside a study."""

from __future__ import annotations

from typing import Any

import pytest

from study.question import catalogue, literature, suites
from study.question.checks import check
from study.question.config import StudyConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.tasks import definition

OWN = {"name": "mine", "where": "a thesis, table 2", "values": {"en": 80.0, "sw": 66.0}}
AVERAGE = {"name": "mine", "where": "a thesis, table 2", "average": 70.0, "languages": ["en", "sw"]}
XLM_R = "FacebookAI/xlm-roberta-base"


def study(*overrides: str, recipe: str = "xtreme_r_xnli") -> StudyConfig:
    return catalogue.study_config(recipe, overrides)


def test_what_is_shipped_is_of_known_tasks_and_encoders_and_names_its_place() -> None:
    from trainables.model.catalogue import entries

    rows = literature.shipped()
    assert {row.task for row in rows} <= set(definition.catalogue())
    assert {row.encoder for row in rows} <= set(entries())
    assert all(row.where and row.confidence and row.metric and row.source_language == "en" for row in rows)
    keys = [(row.name, row.task, row.encoder, row.metric) for row in rows]
    assert len(set(keys)) == len(keys)


def test_a_printed_mean_is_that_of_its_values_unless_the_row_says_why() -> None:
    for row in literature.shipped():
        if row.average is not None:
            slip = any("swapped" in told or "slip" in told for told in row.differs)
            assert slip or abs(row.mean - row.average) < 0.1, row


def test_an_average_alone_is_over_languages_of_its_task() -> None:
    """XTREME's numbers of languages, which XTREME-R has more of in three tasks."""
    averages = [row for row in literature.shipped() if not row.values]
    counts = {str(row.task): len(set(row.mean_over)) for row in averages}
    assert counts == {
        "udpos": 33, "panx": 40, "xquad": 11, "mlqa": 7, "tydiqa": 9, "xnli": 15, "pawsx": 7, "tatoeba": 36
    }  # fmt: skip
    for row in averages:
        known = definition.catalogue()[str(row.task)].codes
        assert known is not None and set(row.mean_over) <= set(known)
    base = {(r.task, r.metric): r.mean for r in averages if r.name == "chi2021" and r.encoder == XLM_R}
    assert base["udpos", "f1"] == 75.6 and base["tydiqa", "exact_match"] == 38.3 and len(base) == 10


def test_a_study_has_what_is_published_of_its_task_and_encoder() -> None:
    assert [row.name for row in literature.of_study(study())] == ["conneau2020", "chi2021"]
    other = study("trial.encoder.name_or_path=microsoft/mdeberta-v3-base")
    assert [row.name for row in literature.of_study(other)] == ["he2021"]
    assert literature.of_study(study("reference=[]")) == ()
    assert literature.of_study(study("trial.task.source_language=de")) == ()
    assert literature.of_study(study(recipe="quickstart")) == ()


def test_one_s_own_values_stand_beside_too() -> None:
    config = study().model_copy(update={"reference": ("conneau2020", literature.Published.model_validate(OWN))})
    assert [row.name for row in literature.of_study(config)] == ["conneau2020", "mine"]
    check(config)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("conneau2019", "reference: conneau2019 has nothing of xnli, xlm-roberta-base, but: xnli, FacebookAI/xlm-mlm"),
        ("conneau2021", "reference: no such publication is shipped, did you mean 'conneau2020'? (got \"conneau2021\")"),
        ({**OWN, "task": "mlqa"}, "reference[0]: mine is of another task (got mlqa, the encoder)"),
        (
            {**OWN, "encoder": "google/rembert"},
            "reference[0]: mine is of another encoder (got the task, google/rembert)",
        ),
        ([OWN, {**OWN, "values": {"de": 70.0}}], "reference: mine has several rows of one metric"),
        (["conneau2020", "conneau2020"], "reference: conneau2020 has several rows of one metric"),
        ({**OWN, "values": {"en": 0.8}}, "reference[0].values: must be in percent"),
        ({**AVERAGE, "average": 0.7}, "reference[0].average: must be in percent"),
    ],
)
def test_what_is_named_and_does_not_agree_is_refused(given: Any, line: str) -> None:
    config = StudyConfig.model_validate(
        {**study().model_dump(), "reference": given if isinstance(given, list) else [given]}
    )
    with pytest.raises(UserError) as error:
        check(config)
    assert any(each.startswith(line) for each in error.value.lines)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"languages": ["en"]}, "give values by language, or an average and the languages that it is over"),
        ({"average": 70.0}, "give values by language, or an average and the languages that it is over"),
        ({"values": {"en": 80.0}, "languages": ["en", "sw"]}, "languages are those of values, where these are given"),
    ],
)
def test_a_row_has_values_or_an_average_and_its_languages(given: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        validate(literature.Published, {"name": "mine", "where": "here", **given})


def test_of_what_a_suite_names_each_member_has_what_agrees_with_it() -> None:
    members = suites.expand(suites.asked("xtreme_r"))
    assert {name for name, config in members.items() if literature.of_study(config)} == {
        "xnli", "mlqa", "udpos", "panx", "xquad", "tydiqa"
    }  # fmt: skip
    assert suites.expand(suites.asked("xtreme_r", ["trial.encoder.name_or_path=offline:e5-small"]))
    with pytest.raises(UserError, match="no such publication is shipped"):
        suites.expand(suites.asked("xtreme_r", ["reference=[nobody1999]"]))
    with pytest.raises(UserError, match=r"reference\[0\]\.task: must be named in a suite"):
        suites.expand(suites.asked("xtreme_r", ["reference=[{name: a, where: b, values: {en: 80}}]"]))
    with pytest.raises(UserError, match=r"reference\[0\]: a agrees with no member of the suite .got xlni, the encoder"):
        suites.expand(suites.asked("xtreme_r", ["reference=[{name: a, where: b, task: xlni, values: {en: 80}}]"]))
