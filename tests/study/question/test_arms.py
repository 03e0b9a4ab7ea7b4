"""Arms as data: what they hold of a space, what is refused, and which are left out where words, pairs or trees lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.planning import doctor
from study.question import arms, checks
from study.question.catalogue import in_full
from study.question.config import StudyConfig
from trainables.errors import UserError
from trainables.loading import validate

SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
    "perturbation.method": ["none", "adversarial", "sam"],
    "perturbation.epsilon": {"type": "float", "low": 0.1, "high": 0.4, "when": {"perturbation.method": "adversarial"}},
    "augmentation.method": ["none", "synonyms"],
}


def study(named: dict[str, Any], tune: bool | str = "all", **more: Any) -> StudyConfig:
    search = {"space": SPACE, "trials": 4, "arms": named, **more.pop("search", {})}
    return validate(StudyConfig, {"name": "x", "search": search, "protocol": {"tune_controls": tune}, **more})


RADIUS = {"radius": {"perturbation.method": "adversarial"}}


def test_an_arm_holds_its_part_of_the_space() -> None:
    sharp = study({**RADIUS, "sharp": {"perturbation.method": "sam"}})
    spaces = arms.spaces(sharp)
    assert {name: [d.path for d in space.searched] for name, space in spaces.items()} == {
        "radius": ["training.learning_rate", "perturbation.epsilon"],
        "sharp": ["training.learning_rate"],
    }
    assert spaces["radius"]["augmentation.method"].choices == ("none",)
    assert not spaces["radius"].conditional


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (study({"radius": {"perturbation.methods": "adversarial"}}), "radius: perturbation.methods: must be a dim"),
        (study({"radius": {"perturbation.method": "vat"}}), "radius: perturbation.method: the dimension takes none"),
        (study({"none": {"perturbation.method": "none"}}), "none: must be a treatment; the unperturbed arm is control"),
        (study({"none": {}}), "none: must pin something; the unperturbed arm is control"),
        (study({**RADIUS, "twin": RADIUS["radius"]}), "twin: pins what radius does"),
        (
            study({"wide": {"perturbation.epsilon": 0.2}}),
            "wide: perturbation.epsilon: the arm has none of it, .* when perturbation.method is adversarial .got 0.2",
        ),
        (
            study({**RADIUS, "sharp": {"perturbation.method": "sam"}}, False, search={"trials": 2}),
            "search.trials: must be at least 3, arms share what the baselines leave .got 2 for 2 arms",
        ),
        (study({"The Radius": RADIUS["radius"]}), "a name is of lower-case letters"),
        (study(RADIUS, search={"patience": 2}), "search.patience: arms have as many trials as each other"),
        (study(RADIUS, search={"mode": "design", "sampler": "sobol"}), "search.arms: each has a search of its own"),
        (study(RADIUS, search={"optional_arms": ["radios"]}), "must name an arm, did you mean 'radius'"),
        (study({}, "forward_equivalents"), "protocol.tune_controls: needs search.arms"),
        (
            study(RADIUS, "forward_equivalents", trial={"training": {"budget": {"epochs": 2}}}),
            "needs trial.training.budget in steps or forward_equivalents .got 2 epochs",
        ),
        (
            study(RADIUS, search={"space": {k: v for k, v in SPACE.items() if k != "augmentation.method"}
                                  | {"augmentation.method": "synonyms"}}),
            "radius: augmentation.method: must be named, the space has no .none.",
        ),
    ],
)  # fmt: skip
def test_what_is_no_arm_is_one_line(config: StudyConfig, line: str) -> None:
    with pytest.raises(UserError, match=line):
        checks.check(config)


def test_an_optional_arm_without_its_words_or_pairs_is_left_out_and_says_why(tmp_path: Path) -> None:
    words, pairs = tmp_path / "words.json", tmp_path / "pairs"
    space = {**SPACE, "alignment.objective": ["none", "word_l2"]}
    named = {
        **RADIUS,
        "synonyms": {"augmentation.method": "synonyms"},
        "aligned": {"alignment.objective": "word_l2"},
    }
    trial = {"augmentation": {"resource": str(words)}, "alignment": {"pairs": str(pairs)}}

    def loaded(optional: list[str]) -> StudyConfig:
        return in_full(study(named, trial=trial, search={"space": space, "optional_arms": optional}))

    missing = loaded(["synonyms", "aligned"])
    assert arms.names(missing) == ["radius"]
    assert missing.search.left_out["synonyms"].startswith("augmentation.resource: cannot be read")
    assert missing.search.left_out["aligned"].startswith("alignment.pairs: must be a folder or file of sentence pairs")
    checks.check(missing)
    assert doctor.brief(missing)[0].startswith("arm synonyms is left out: augmentation.resource: cannot be read")
    words.write_text('{"dog": ["hound"]}', encoding="utf-8")
    pairs.mkdir()
    assert loaded(["synonyms", "aligned"]).search.left_out == {}
    assert arms.names(loaded([])) == list(named)


@pytest.mark.parametrize(
    ("shape", "heads", "kind", "left_out"),
    [
        ("tagging", True, "bert", {}),
        ("tagging", True, "modernbert", {"augmented": "syntax.kind: augmented adds to the keys and values"}),
        ("tagging", False, "bert", dict.fromkeys(["augmented", "gate"], "syntax.kind: needs dependency heads of the")),
        ("span", True, "bert", dict.fromkeys(["augmented", "gate"], "syntax.kind: only for tagging and for")),
    ],
)
def test_an_optional_arm_with_syntax_is_left_out_where_rows_task_or_encoder_do_not_serve(
    shape: str, heads: bool, kind: str, left_out: dict[str, str], tmp_path: Path
) -> None:
    """Named as an arm that is not optional, it is kept: the study is refused then."""
    head = "2\t_\t_\t_" if heads else "_\t_\t_\t_"
    (tmp_path / "train.en.conllu").write_text(
        f"1\tab\t_\tX\t_\t_\t{head}\n2\tc\t_\tX\t_\t_\t{head.replace('2', '0')}\n\n"
    )
    (tmp_path / "task.yaml").write_text(
        json.dumps({"shape": shape} | ({"labels": ["X", "Y"]} if shape == "tagging" else {}))
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    both = {"augmented": {"syntax.kind": "augmented"}, "gate": {"syntax.kind": "gate"}}
    trial = {"task": {"name": str(tmp_path / "task.yaml")}, "encoder": {"name_or_path": str(tmp_path)}}
    space = {**SPACE, "syntax.kind": ["none", "augmented", "gate"]}

    def loaded(optional: list[str]) -> StudyConfig:
        return in_full(study({**RADIUS, **both}, trial=trial, search={"space": space, "optional_arms": optional}))

    found = loaded(list(both)).search.left_out
    assert found.keys() == left_out.keys(), found
    assert all(found[name].startswith(words) for name, words in left_out.items())
    assert arms.names(loaded([])) == ["radius", "augmented", "gate"]


def test_an_optional_arm_whose_second_mask_would_be_the_first_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "modernbert", "mlp_dropout": 0.0, "classifier_dropout": 0.1}')
    named, trial = {"masks": {"perturbation.method": "rdrop"}}, {"encoder": {"name_or_path": str(tmp_path)}}
    space = {**SPACE, "perturbation.method": ["none", "rdrop", "adversarial"]}

    def left_out(**more: Any) -> dict[str, str]:
        search = {"space": {**space, **more}, "optional_arms": ["masks"]}
        return in_full(study({**RADIUS, **named}, trial=trial, search=search)).search.left_out

    assert left_out()["masks"].startswith("encoder.dropout: two dropout masks need more than 0")
    assert left_out(**{"encoder.dropout": [0.1, 0.2]}) == {}


def test_what_a_trial_of_an_arm_costs() -> None:
    """In trainings of the unperturbed base, whose step is 3 passes; an aligned encoder is paid for once."""
    trial = {"training": {"budget": {"steps": 10}}, "alignment": {"pairs": "django", "steps": 5}}
    config = study(RADIUS, search={"space": {**SPACE, "alignment.objective": ["none", "word_l2"]}}, trial=trial)
    assert arms.cost(config, {"perturbation.method": "adversarial", "perturbation.ascent_steps": 3}) == 3.0
    assert arms.cost(config, {"training.budget.steps": 20}) == 2.0
    assert arms.cost(config, {"syntax.kind": "augmented"}) == pytest.approx(1.0155, abs=1e-4)
    aligned = {"alignment.objective": "word_l2"}
    assert arms.aligning(config, [aligned, aligned]) == 1.0
    assert arms.aligning(config, [aligned, {**aligned, "alignment.steps": 10}]) == 3.0
    assert arms.aligning(config, [{"alignment.objective": "linear_map"}, {}]) == 0.0
