"""Which encoders a study has: out of its space, with the conditions that belong to each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.question import catalogue, encoders, objectives, rules, selection_problems
from study.question.checks import check
from study.question.config import StudyConfig
from trainables.errors import UserError
from trainables.loading import apply_point, validate

E5, XLMR, XLM, MBERT = "offline:e5-small", "xlm-roberta-base", "xlm-mlm-100-1280", "bert-base-multilingual-cased"
NAMES = "encoder.name_or_path"
SPACE: dict[str, Any] = {
    NAMES: [XLM, E5, MBERT],
    "encoder.revision": {"type": "fixed", "value": "refs/pr/2", "when": {NAMES: XLM}},
    "encoder.freeze_lower_layers": {"type": "int", "low": 2, "high": 6, "when": {NAMES: [E5, MBERT]}},
    "training.learning_rate": {"type": "fixed", "value": 1e-5, "when": {NAMES: XLM}},
    "perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.6, "log": True},
}


def study(space: Any = None, trial: dict[str, Any] | None = None, **search: Any) -> StudyConfig:
    base = {"perturbation": {"method": "adversarial"}, **(trial or {})}
    return validate(StudyConfig, {"name": "x", "trial": base, "search": {"space": space, **search}})


def test_each_encoder_has_a_baseline_with_what_the_space_fixes_for_it() -> None:
    off = dict(rules.BASELINE)
    own = {NAMES: XLM, "encoder.revision": "refs/pr/2", "training.learning_rate": 1e-5}
    # The base's own encoder comes first; what is searched of an encoder is a knob.
    assert rules.baselines(study(SPACE)) == [{NAMES: E5, **off}, {**own, **off}, {NAMES: MBERT, **off}]
    assert encoders.labels(study(SPACE)) == [E5, f"{XLM}@refs/pr/2", MBERT]
    assert rules.baselines(study("adversarial")) == rules.baselines(study()) == [off]


def test_conditions_hold_for_what_is_looked_at_before_a_study() -> None:
    frozen = {(t.encoder.name_or_path, t.encoder.freeze_lower_layers) for t in encoders.choices(study(SPACE))}
    assert frozen == {(E5, 2), (MBERT, 2), *((name, 0) for name in (E5, MBERT, XLM))}, "baselines too"
    # Under a condition on something else, the base's own is among them.
    methods = {
        "perturbation.method": ["adversarial", "none"],
        NAMES: {"type": "fixed", "value": XLMR, "when": {"perturbation.method": "none"}},
    }
    assert [t.encoder.name_or_path for t in encoders.choices(study(methods))] == [E5, XLMR]
    assert [point.get(NAMES) for point in encoders.settings(study(methods))] == [None, XLMR]


def test_an_enqueued_encoder_is_one_of_them() -> None:
    config = study("adversarial", enqueue=[{NAMES: XLMR, "perturbation.epsilon": 0.1}])
    assert encoders.labels(config) == [E5, XLMR]
    assert [t.encoder.name_or_path for t in encoders.choices(config)] == [E5, XLMR]


def test_a_trials_own_baseline_is_found() -> None:
    config = study(SPACE)
    trial = apply_point(config.trial, {NAMES: XLM, "encoder.revision": "refs/pr/2", "perturbation.epsilon": 0.3})
    mine = rules.baseline_of(config, trial)
    assert encoders.identity(mine) == (XLM, "refs/pr/2")
    assert (mine.training.learning_rate, mine.perturbation.method) == (1e-5, "none")
    assert encoders.setting_of(config, apply_point(trial, {NAMES: "other"}))[NAMES] == "other"


def test_a_study_needs_trials_beside_the_baselines_and_a_revision_for_each_encoder() -> None:
    def complaints(config: StudyConfig) -> list[str]:
        with pytest.raises(UserError) as caught:
            check(config)
        return caught.value.lines

    (line,) = complaints(study(SPACE, trials=3))
    assert (
        line
        == "search.trials: must be at least 4, the unperturbed baseline is one of them for each of 3 encoders (got 3)"
    )
    check(study(SPACE, trials=4))
    of_all = {name: each for name, each in SPACE.items() if name != "encoder.revision"}
    (line,) = complaints(study(of_all, {"encoder": {"revision": "abc"}}))
    assert line.startswith("trial.encoder.revision: is of one encoder") and line.endswith("(got 'abc')")


def test_unseen_is_about_the_studys_own_encoders() -> None:
    codes = ["en", "sw", "yo", "am", "wo", "lo"]

    def unseen(config: StudyConfig) -> tuple[str, ...]:
        return objectives.members_of("group:unseen", codes, config)

    one = {"encoder": {"name_or_path": MBERT}}
    assert unseen(study()) == unseen(study(None, {"encoder": {"name_or_path": XLMR}})) == ("wo", "yo")
    assert unseen(study(None, one)) == ("am", "lo", "wo")
    assert unseen(study({NAMES: [E5, MBERT]})) == ("wo",), "by all of them"
    assert objectives.members_of("group:unseen:XLM-R", codes, study(None, one)) == ("wo", "yo")
    assert "(wo, yo); by the pretraining list of XLM-R" in str(objectives.membership("group:unseen", codes, study()))
    unknown = study(None, {"encoder": {"name_or_path": "nobody/nothing"}}, objectives=[{"reduce": "group:unseen"}])
    assert unseen(unknown) == ()
    unknown = unknown.model_copy(
        update={"protocol": unknown.protocol.model_copy(update={"selection": "target_validation"})}
    )
    (line,) = selection_problems.problems(unknown, codes, codes)
    assert line.startswith("search.objectives[0].reduce: which languages the encoder was pretrained on is not known")


def test_folders_are_named_in_full_wherever_an_encoder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    conditional = "{type: int, low: 1, high: 2, when: {encoder.name_or_path: [two]}}"
    names = "{type: categorical, choices: [one, two, offline:e5-small]}"
    space = f"{{encoder.name_or_path: {names}, training.batch_size: {conditional}}}"
    config = catalogue.study_config(
        "quickstart",
        [f"search.space={space}", "search.enqueue=[{encoder.name_or_path: one}]", "trial.encoder.name_or_path=two"],
    )
    assert isinstance(config.search.space, dict)
    assert config.search.space[NAMES]["choices"] == [one, two, E5]
    assert config.search.space["training.batch_size"]["when"] == {NAMES: [two]}
    assert (config.search.enqueue[0][NAMES], config.trial.encoder.name_or_path) == (one, two)


@pytest.mark.parametrize(
    ("encoder", "target"), [(E5, "group:unseen"), (MBERT, "group:unseen:mBERT"), ("nobody/nothing", None)]
)
def test_target_languages_by_pretraining_say_by_whose(encoder: str, target: str | None) -> None:
    given = [f"trial.encoder.name_or_path={encoder}", "trial.task.target_languages=[de, 'group:unseen']"]
    if target is None:
        with pytest.raises(
            UserError, match=r"^trial.task.target_languages: must say .* unknown \(got 'group:unseen'\)$"
        ):
            catalogue.study_config("quickstart", given)
    else:
        assert catalogue.study_config("quickstart", given).trial.task.target_languages == ("de", target)
