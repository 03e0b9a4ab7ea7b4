"""What is said of a study before it starts: of its encoders, the base's and those that the space chooses among."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.planning import describe, describe_suite, needs, preflight
from study.question import alignments, encoders
from study.question.config import StudyConfig
from study.reporting import source
from tests.trainables.model import tiny_families
from trainables.alignment import aligned
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.materials import weights


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


def searched(encoder: Path, space: dict[str, Any], **adapter: Any) -> StudyConfig:
    trial = {"encoder": {"name_or_path": str(encoder), "adapter": adapter}, "task": {"max_length": 32}}
    return validate(StudyConfig, {"name": "adapted", "trial": trial, "search": {"space": space}})


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_families.write(tmp_path_factory.mktemp("encoder"), "bert")


def test_adapters_are_searched_and_the_largest_is_what_is_asked_for(bert: Path) -> None:
    conditional = {"when": {"encoder.adapter.method": "lora"}}
    space: dict[str, Any] = {
        "encoder.adapter.method": ["none", "lora", "ia3", "bitfit"],
        "encoder.adapter.rank": {"type": "int", "low": 2, "high": 6, "log": True, **conditional},
        "encoder.adapter.alpha": {"type": "float", "low": 1.0, "high": 32.0, **conditional},
        "encoder.adapter.dropout": {"type": "categorical", "choices": [0.0, 0.1], **conditional},
        "encoder.freeze_lower_layers": [0, 1],
    }
    study = searched(bert, space)
    preflight.tested(study)
    trials = encoders.choices(study)
    found = [(t.encoder.adapter.method, t.encoder.adapter.rank, t.encoder.freeze_lower_layers) for t in trials]
    assert set(found) == {(m, 6 if m == "lora" else 8, f) for m in space["encoder.adapter.method"] for f in (0, 1)}
    assert found[0] == ("none", 8, 0), "the base, which the baseline is"
    assert len(found) == 2 * (3 + 2)
    only = searched(bert, {"encoder.adapter.rank": {"type": "int", "low": 2, "high": 6}}, method="lora")
    assert (needs.checkpoints(only) or 0) < 0.5 * (needs.checkpoints(study) or 0)
    assert next(describe._encoders(only, ())).endswith("trained by lora of rank 8, alpha 16, on its family's targets")


def test_a_knob_that_may_be_there_is_tried_with_and_without(bert: Path) -> None:
    """Of a condition on what is not the encoder's nothing is known here."""
    rank = {"type": "categorical", "choices": [2, 4], "when": {"perturbation.method": "adversarial"}}
    space = {"perturbation.method": ["none", "adversarial"], "encoder.adapter.rank": rank}
    space["encoder.freeze_lower_layers"] = [1]
    trials = [t.encoder for t in encoders.choices(searched(bert, space, method="lora"))]
    found = [(encoder.adapter.rank, encoder.freeze_lower_layers) for encoder in trials]
    assert found == [(8, 0), (8, 1), (2, 1), (4, 1)]


@pytest.mark.parametrize(
    ("space", "adapter", "line"),
    [
        ({"encoder.adapter.method": ["lora", "bitfit"], "encoder.adapter.rank": [2, 4]}, {},
         "search.space: encoder.adapter: bitfit reads no rank; in a space let it depend on the method (got 2)"),
        ({"encoder.adapter.rank": [0, 8]}, {"method": "lora"},
         "search.space: encoder.adapter.rank.choices: must be at least 1 (got 0)"),
        ({"encoder.freeze_lower_layers": [0, 2]}, {"method": "lora"},
         "trial.encoder.freeze_lower_layers: must leave a layer that an adapter can go to (got 2)"),
        ({"perturbation.epsilon": [0.1]}, {"method": "ia3", "targets": ["q"]},
         "trial.encoder.adapter.targets: must be ends of names of linear layers, of which bert encoders have "
         "attention.output.dense, attention.self.key, attention.self.query, attention.self.value, intermediate.dense, "
         'output.dense (got "q")'),
    ],
)  # fmt: skip
def test_adapters_that_cannot_be_are_one_line_before_anything_starts(
    bert: Path, tmp_path: Path, space: dict[str, Any], adapter: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        preflight.check(searched(bert, space, **adapter), tmp_path)
    assert caught.value.lines == [line]


def test_syntax_is_described_and_encoders_that_cannot_take_it_are_refused(tmp_path: Path) -> None:
    def study(**syntax: Any) -> StudyConfig:
        return validate(StudyConfig, {"name": "x", "trial": {"syntax": syntax}})

    words = describe.words(study(kind="augmented", delta=2), tmp_path)
    assert "augmented: paths of at most 2, weight of the probes 1" in words
    absent = validate(
        StudyConfig, {"name": "x", "trial": {"syntax": {"kind": "gate"}, "encoder": {"name_or_path": "no/where"}}}
    )
    assert "not known how many more forward-equivalents a clean step" in describe.words(absent, tmp_path)
    assert re.search(r"\d\.\d% more forward-equivalents a clean step; supervision: syntax", words)
    assert "gate: heads that see along paths of 1, any" in describe.words(
        study(kind="gate", deltas=[1, None]), tmp_path
    )
    assert "syntax " not in describe.words(validate(StudyConfig, {"name": "x"}), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "modernbert"}')
    config = validate(TrialConfig, {"encoder": {"name_or_path": str(tmp_path)}, "syntax": {"kind": "augmented"}})
    with pytest.raises(UserError, match=r"syntax.kind: augmented adds to the keys and values .*\(got modernbert\)"):
        weights.check_syntax(config)
    trial = {"encoder": {"name_or_path": str(tmp_path)}}
    searched = validate(StudyConfig, {"name": "x", "trial": trial, "search": {"space": {"syntax.kind": ["augmented"]}}})
    (line,) = preflight._mismatches(searched)
    assert line.startswith("search.space: syntax.kind: augmented adds to the keys and values")


def test_what_an_encoder_would_do_in_vain_is_one_line_unless_the_space_has_more_to_say(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "modernbert", "mlp_dropout": 0.0}')
    encoder = {"encoder.name_or_path": ["offline:e5-small", str(tmp_path)]}

    def lines(*spaces: dict[str, Any], **trial: Any) -> list[str]:
        search = {"space": {path: values for space in spaces for path, values in space.items()}} if spaces else {}
        return preflight._mismatches(validate(StudyConfig, {"name": "x", "trial": trial, "search": search}))

    masks = {"perturbation.method": ["none", "rdrop"]}
    (line,) = lines(masks, encoder)
    assert line.startswith(
        f"search.space: encoder.dropout: two dropout masks need more than 0, and {tmp_path} has none"
    )
    assert lines(masks) == lines(masks, encoder, {"encoder.dropout": [0.1, 0.2]}) == []
    frozen = {"freeze_embeddings": True, "freeze_lower_layers": 12}
    (line,) = lines(encoder=frozen, perturbation={"method": "mixout"})
    assert line.startswith("trial.encoder.freeze_lower_layers: with frozen embeddings must leave a layer to be trained")
    assert lines(encoder=frozen) == []


def test_every_alignment_that_a_space_offers_is_looked_for_and_those_without_end_are_said(tmp_path: Path) -> None:
    """A list of them is known before the first trial; where nothing is aligned, pairs need not be here."""

    def study(space: dict[str, Any] | None, **more: Any) -> StudyConfig:
        pairs = {"pairs": str(tmp_path / "absent"), "steps": 7}
        return validate(StudyConfig, {"name": "x", "trial": {"alignment": pairs}, "search": {"space": space, **more}})

    listed = {"alignment.objective": ["none", "word_l2", "linear_map"]}
    listed["alignment.anchor"] = {
        "type": "categorical",
        "choices": ["none", "parameters"],
        "when": {"alignment.objective": "word_l2"},
    }  # type: ignore[assignment]
    found = alignments.choices(study(listed))
    assert [(t.alignment.objective, t.alignment.anchor) for t in found] == [
        ("word_l2", "none"), ("word_l2", "parameters"), ("linear_map", "parameters"),
    ]  # fmt: skip
    preflight.tested(study(None))
    with pytest.raises(UserError, match=r"trial\.alignment\.pairs: must be a folder or file of sentence pairs"):
        preflight.tested(study(listed))
    arms = {"aligned": {"alignment.objective": "linear_map"}}
    assert [t.alignment.objective for t in alignments.choices(study(listed, arms=arms))] == ["linear_map"]
    endless = study({**listed, "alignment.temperature": {"type": "float", "low": 0.1, "high": 0.3}})
    assert alignments.choices(endless) == []
    assert "alignment.temperature has no list of values: encoders are aligned when" in describe.words(endless, tmp_path)


def test_words_of_other_resources_are_looked_for_where_the_space_says(tmp_path: Path) -> None:
    """With the file that it names, whatever is installed; a method that takes no words needs none."""
    words = tmp_path / "words.tsv"
    words.write_text("de\tlight\tLicht\n")

    def absent(base: str, **space: Any) -> list[str]:
        dimensions = {f"augmentation.{name}": value for name, value in space.items()}
        data = {"trial": {"augmentation": {"method": base}}, "search": {"space": dimensions or None}}
        return preflight.absent(validate(StudyConfig, {"name": "x", **data}))

    assert absent("none", method="code_switching", resource=str(words)) == []
    (line,) = absent("none", method="code_switching", resource=str(tmp_path / "none.tsv"))
    assert line.startswith("search.space: augmentation.resource: cannot be read")
    assert absent("none", method=["none", "character_noise"]) == [] == absent("character_noise")


def test_alignment_is_described_and_its_pairs_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "de.tsv").write_text("turn on the light\tmach das Licht an\n")

    def study(**alignment: Any) -> StudyConfig:
        data = {"objective": "sentence_contrastive", "steps": 1000, "pairs": str(tmp_path), **alignment}
        return validate(StudyConfig, {"name": "x", "trial": {"alignment": data}})

    words = describe.words(study(anchor="source_states"), tmp_path)
    assert f"alignment   sentence_contrastive, 1000 steps of 32 sentence pairs of {tmp_path}" in words
    assert "8,000 forward-equivalents, once for all trials that share it; supervision: parallel" in words
    assert "8 a step; about ? minutes (known once a study" in words and "in the cache" in words
    assert f"pairs of {tmp_path}, licence: unknown" in words and "de 1 pairs, those that are evaluated among" in words
    monkeypatch.setattr(needs, "pace", lambda config, root: needs.Pace(0.001, 0.1, 1, 1))
    assert "about 4 minutes (by what earlier studies took)" in describe.words(study(anchor="source_states"), tmp_path)
    assert "about 0 seconds (by what" in describe.words(study(objective="linear_map"), tmp_path)
    several = {"alignment.objective": ["sentence_contrastive", "word_l2"], "alignment.pairs_per_language": [1, 2]}
    searched = validate(
        StudyConfig, {"name": "x", "trial": {"alignment": {"pairs": str(tmp_path)}}, "search": {"space": several}}
    )
    said = describe.words(searched, tmp_path)
    assert (said.count(f"pairs of {tmp_path}, licence"), said.count(f"pairs of {tmp_path}: as above")) == (2, 2)
    monkeypatch.setattr(aligned, "COUNTED", 3)
    assert "  ? pairs, those that are evaluated among them" in describe.words(study(), tmp_path)
    assert "alignment " not in describe.words(validate(StudyConfig, {"name": "x"}), tmp_path)
    for alignment, rule in (
        ({"pairs": str(tmp_path / "absent")}, r"trial\.alignment\.pairs: must be a folder or file of sentence pairs"),
        ({"objective": "word_l2", "links": str(tmp_path / "absent")}, r"trial\.alignment\.links: must be a folder"),
    ):
        with pytest.raises(UserError, match=rule):
            preflight.tested(study(**alignment))


def test_a_suite_and_a_report_name_alignments_and_what_was_left_out() -> None:
    search = {"arms": {"a": {}, "b": {}}, "left_out": {"b": "no words"}}
    trial = {"alignment": {"objective": "word_l2", "pairs": "django"}}
    config = validate(StudyConfig, {"name": "x", "trial": trial, "search": search})
    lines = list(describe_suite._member(config))
    assert {"aligned before fine-tuning: word_l2 (django)", "arms left out: b, no words"} <= set(lines)
    reported = SimpleNamespace(config=config, trials=[], record=SimpleNamespace(openings=[]))
    rows = dict(source._protocol_rows(reported))  # type: ignore[arg-type]
    assert rows["aligned: word_l2"] == "sentence pairs of django; supervision: parallel; licence: BSD-3-Clause"


def test_a_metric_that_the_evaluation_does_not_have_is_one_line() -> None:
    """By its very name: a rate that is not scored, an area of one rate, a misspelt one."""
    evaluation = {"noise": [{"kind": "character", "rate": [0.1]}], "calibration": {}}

    def lines(metric: str) -> list[str]:
        given = {"name": "s", "question": "q", "trial": {"evaluation": evaluation}}
        config = validate(StudyConfig, {**given, "protocol": {"primary_metric": metric}})
        try:
            preflight.tested(config)
        except UserError as error:
            return error.lines
        return []

    for metric in ("noise_accuracy_character_0.1", "noise_brier_character_0", "calibration_error", "accuracy"):
        assert lines(metric) == []
    for metric in ("noise_accuracy_character_0.2", "noise_accuracy_character_area", "calibration_eror", "accuracies"):
        (line,) = lines(metric)
        assert line.startswith("protocol.primary_metric: is not measured by trial.evaluation"), line


def test_a_source_without_test_rows_is_said_and_only_what_needs_them_is_refused(tmp_path: Path) -> None:
    for name in ("train.en", "validation.en", "test.sw", "test.yo", "test.zu"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n')
    (tmp_path / "own.yaml").write_text('{"shape": "classification", "labels": ["a", "b"]}')

    def study(**changes: Any) -> StudyConfig:
        trial = {"task": {"name": str(tmp_path / "own.yaml")}, "evaluation": changes.pop("evaluation", {})}
        return validate(StudyConfig, {"name": "x", "trial": trial, **changes})

    assert preflight.tested(study()) == ("sw", "yo", "zu")
    words = describe.words(study(), tmp_path)
    assert "no test rows in en: confirm scores the targets alone, and has no transfer gap" in words
    why = "needs test rows in the source language, en, which has none"
    for endpoint in ("source", "transfer_gap", "mean_with_source"):
        with pytest.raises(UserError) as caught:
            preflight.tested(study(protocol={"primary_endpoint": endpoint}))
        assert caught.value.lines == [f"protocol.primary_endpoint: {why} (got {endpoint!r})"]
    with pytest.raises(UserError) as caught:
        preflight.tested(study(evaluation={"agreement": True}))
    assert caught.value.lines == [f"trial.evaluation.agreement: {why} (got true)"]
    (tmp_path / "test.en.jsonl").write_text('{"text": "x", "label": "a"}\n')
    assert preflight.tested(study(protocol={"primary_endpoint": "transfer_gap"})) == ("en", "sw", "yo", "zu")
    assert "no test rows" not in describe.words(study(), tmp_path)
