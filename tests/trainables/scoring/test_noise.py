"""Noised texts from the files to the scores: prepared once, the same for every trial, batch and worker."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables import tiny
from tests.trainables.team import together
from trainables.augmentation.noise import alphabet
from trainables.config import EvaluationConfig, TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point, load_config
from trainables.materials.keys import materials_key
from trainables.materials.materials import Materials, load, prepared
from trainables.materials.noised import key_of, noised_rows, without_layout
from trainables.model.pretrained import load_tokenizer
from trainables.scoring.evaluation import evaluate
from trainables.scoring.noise import area, noise_scores
from trainables.tasks.base import Row
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.retrieval import Retrieval
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging
from trainables.training.loop import fit
from trainables.training.trial import start

WORDS = {
    "en": ["the", "cat", "dog", "sat", "ran", "far", "away", "home", "again"],
    "de": ["die", "Katze", "der", "Hund", "saß", "lief", "weit", "weg", "wieder"],
    "el": ["Η", "γάτα", "ο", "σκύλος", "κάθισε", "έτρεξε", "μακριά"],
}
ROWS = 30
NOISE = [
    {"kind": "character", "rate": [0.2, 0.6], "examples_per_language": 12},
    {"kind": "word_drop", "rate": [0.5], "examples_per_language": 5},
    {"kind": "casing_accents", "examples_per_language": 999},
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrialConfig:
    """A tiny encoder of characters, and a task in three languages whose label is whether a text has many words."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "own.yaml").write_text("shape: classification\nlabels: [few, many]\nfiles: '{split}.{language}.jsonl'\n")
    draw = random.Random(0)
    for language, words in WORDS.items():
        for split in ("train", "validation", "test"):
            texts = [" ".join(draw.choices(words, k=draw.randint(1, 8))) for _ in range(ROWS)]
            lines = [json.dumps({"text": t, "label": "many" if t.count(" ") > 3 else "few"}) for t in texts]
            (folder / f"{split}.{language}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return TrialConfig.model_validate(
        {
            "task": {"name": str(folder / "own.yaml"), "max_length": 100},
            "encoder": {"name_or_path": str(tiny.write(folder / "encoder", "xlm-roberta"))},
            "training": {"budget": {"steps": 4}, "learning_rate": 1e-3},
            "evaluation": {"noise": NOISE, "every": 2},
        }
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path_factory.getbasetemp() / "noise-cache"))


def noised(config: EvaluationConfig, shape: Any, rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    return {name: found for name, _, found in noised_rows(config, shape, rows)}


def evaluation(*noise: Mapping[str, Any]) -> EvaluationConfig:
    return EvaluationConfig.model_validate({"noise": noise})


TEXTS = Classification(("few", "many"), pair=False)


def test_noised_rows_are_nested_and_depend_on_their_own_texts_alone() -> None:
    rows = [{"text": f"{a} {b} {c}", "label": 0} for a in WORDS["de"] for b in WORDS["de"] for c in WORDS["de"][:3]]
    given = evaluation({"kind": "character", "examples_per_language": 999})
    found = noised(given, TEXTS, {"de": rows})
    assert list(found) == ["character_0/de", "character_0.05/de", "character_0.1/de", "character_0.2/de"]
    assert found["character_0/de"] == rows
    before = [set[tuple[int, str]]() for _ in rows]
    for rate in (0.05, 0.1, 0.2):
        after = []
        for own, row in zip(rows, found[f"character_{rate}/de"], strict=True):
            pairs = zip(own["text"].split(), row["text"].split(), strict=True)
            after.append({(k, word) for k, (one, word) in enumerate(pairs) if one != word})
            assert set(row["text"].lower()) <= {" ", *alphabet(own["text"] for own in rows)}
            assert row["label"] == own["label"]
        assert all(one <= other for one, other in zip(before, after, strict=True))
        before = after
        share = sum(map(len, after)) / (3 * len(rows))
        assert rate / 2 < share < rate * 1.5
    backwards = noised(given, TEXTS, {"de": rows[::-1]})
    assert {k: v[::-1] for k, v in backwards.items()} == found


def test_letters_of_the_keyboard_are_beside_those_of_the_text() -> None:
    rows = [{"text": "fff fff fff", "label": 0}]
    given = evaluation({"kind": "character", "rate": [1.0], "letters": "keyboard"})
    assert set(noised(given, TEXTS, {"de": rows})["character_1/de"][0]["text"]) <= set(" fdegtvcr")
    assert noised(given, TEXTS, {"sw": rows}) == {
        key.replace("de", "sw"): found
        for key, found in noised(evaluation({"kind": "character", "rate": [1.0]}), TEXTS, {"de": rows}).items()
    }
    assert without_layout(given, ["de", "sw", "th"]) == ["sw", "th"]
    assert without_layout(evaluation({"kind": "character"}), ["sw"]) == []


def test_the_texts_of_all_columns_are_noised_and_labels_stay() -> None:
    given = evaluation({"kind": "character", "rate": [1.0]}, {"kind": "casing_accents"})
    choice = {"premise": "The soup was", "question": "Why?", "choices": ["A cook", "A cook", "Salt"], "label": 1}
    found = noised(given, MultipleChoice(("0", "1", "2"), 3), {"en": [choice]})
    (row,) = found["character_1/en"]
    assert (row["label"], row["question"], len(row["choices"])) == (1, "Why?", 3)
    for column in ("premise", "choices"):
        assert row[column] != choice[column]
    assert row["choices"][0] != row["choices"][1]  # words are numbered over all texts of a column
    tagged = {"tokens": ["São", "Paulo", "!", "3"], "tags": [1, 2, 0, 0]}
    found = noised(given, Tagging(("O", "B-LOC", "I-LOC")), {"pt": [tagged]})
    assert found["casing_accents_1/pt"] == [{"tokens": ["sao", "paulo", "!", "3"], "tags": [1, 2, 0, 0]}]
    (row,) = found["character_1/pt"]
    assert len(row["tokens"]) == 4 and row["tokens"][2:] == ["!", "3"] and row["tags"] == tagged["tags"]


def test_the_trimmed_vocabulary_keeps_every_piece_of_a_noised_text(config: TrialConfig) -> None:
    trimmed = load(config)
    whole = load(apply_point(config, {"encoder.trim_vocabulary": False}))
    tokenizer = load_tokenizer(config.encoder)
    kept = trimmed.kept
    assert kept is not None
    names = [f"{kind}/{k}" for k in ("de", "el", "en") for kind in
             ("character_0", "character_0.2", "character_0.6", "word_drop_0", "word_drop_0.5", "casing_accents_0",
              "casing_accents_1")]  # fmt: skip
    noised = trimmed.noised["validation"]
    assert list(noised) == names
    for name in names:
        own, other = noised[name], whole.noised["validation"][name]
        assert np.array_equal(kept[own.ids], other.ids) and np.array_equal(own.offsets, other.offsets)
        assert tokenizer.unk_token_id not in other.ids
        language = name.partition("/")[2]
        clean, rows = trimmed.evaluation["validation"][language], trimmed.rows["validation"][language]
        assert [own.item_labels(j).tolist() for j in range(len(own))] == [[rows[r]["label"]] for r in own.rows]
        if name.partition("/")[0].endswith("_0"):
            assert [own.sequence(j).tolist() for j in range(len(own))] == [clean.sequence(r).tolist() for r in own.rows]
    assert [len(noised[f"{kind}/el"]) for kind in ("character_0.6", "word_drop_0.5", "casing_accents_1")] == [12, 5, 30]
    assert set(noised["word_drop_0/el"].rows) < set(noised["character_0/el"].rows)


def test_materials_without_noise_are_those_of_before(config: TrialConfig) -> None:
    without = apply_point(config, {"evaluation.noise": []})
    fewer = apply_point(config, {"evaluation.noise": [{**NOISE[0], "examples_per_language": 3}]})
    keys = {materials_key(each, ("validation",)) for each in (config, without, fewer)}
    assert len(keys) == 3
    assert load(without).noised == {} and prepared(without) != prepared(config)


def by_hand(trained: Any, materials: Materials, name: str, language: str) -> tuple[float, int]:
    """Accuracy on noised rows, scored as if they were a language of their own, one in a batch."""
    own = {language: materials.noised["validation"][f"{name}/{language}"]}
    alone = replace(materials, evaluation={"validation": own}, _memory={})
    scores, _, _ = evaluate(trained.model, alone, "validation", None, EvaluationConfig(token_budget=64), Group())
    return scores["accuracy"][language], scores["accuracy"].counts[language]


def test_noise_is_scored_at_the_end_alike_by_any_workers_and_batches(config: TrialConfig, tmp_path: Path) -> None:
    materials = load(config)
    trial = start(config, materials, Group(), tmp_path)
    earlier, last = fit(trial)
    assert list(earlier.scores) == ["accuracy"]
    assert list(last.scores) == ["accuracy"] + [
        f"noise_accuracy_{name}"
        for name in ("character_0", "character_0.2", "character_0.6", "character_area", "word_drop_0", "word_drop_0.5",
                     "casing_accents_0", "casing_accents_1")
    ]  # fmt: skip
    curve = [last.scores[f"noise_accuracy_character_{rate}"] for rate in ("0", "0.2", "0.6")]
    for language in WORDS:
        for name in ("character_0", "character_0.6", "word_drop_0.5", "casing_accents_1"):
            found = last.scores[f"noise_accuracy_{name}"]
            assert (found[language], found.counts[language]) == by_hand(trial, materials, name, language)
        none, some, much = (each[language] for each in curve)
        expected = (0.2 * (none + some) / 2 + 0.4 * (some + much) / 2) / 0.6
        assert last.scores["noise_accuracy_character_area"][language] == pytest.approx(expected)
        assert last.scores["noise_accuracy_casing_accents_0"][language] == last.scores["accuracy"][language]
    assert len({each[k] for each in last.scores.values() for k in WORDS}) > 2, "something is at stake"

    def work(group: Group) -> dict[str, Any]:
        given = config.evaluation.model_copy(update={"token_budget": 64 * group.world})
        return noise_scores(trial.model, materials, "validation", given, group)

    scores = {name: each for name, each in last.scores.items() if name != "accuracy"}
    for world in (1, 2):
        assert all(found == scores for found in together(world, work))


def test_area_is_the_mean_height() -> None:
    assert area([0.0, 0.1, 0.2], [0.7, 0.7, 0.7]) == pytest.approx(0.7)
    assert area([0.0, 0.05, 0.2], [1.0, 0.0, 0.0]) == pytest.approx(0.125)


def test_the_letters_of_a_group_come_from_unlabelled_validation_texts(config: TrialConfig) -> None:
    point = {"augmentation.method": "character_noise", "augmentation.alphabet": "script:Grek",
             "augmentation.probability": 0.5, "augmentation.copies": 1}  # fmt: skip
    materials = load(apply_point(config, point))
    kept = materials.kept
    assert kept is not None
    letters = set("".join(load_tokenizer(config.encoder).convert_ids_to_tokens(kept[materials.train.ids])))
    greek = {c for c in letters if "\u0370" <= c <= "\u03ff"}
    assert greek and greek <= set("".join(WORDS["el"]).lower())


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (SpanAnswering("squad"), "character", "only for classification, multiple choice and tagging"),
        (Retrieval("pairs", "accuracy"), "casing_accents", "only for classification, multiple choice and tagging"),
        (Tagging(("O", "X")), "word_drop", "a word that is left out takes its tag along"),
    ],
)
def test_labels_that_cannot_be_carried_over_are_refused_in_one_line(
    config: TrialConfig, shape: Any, kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.tasks.task.task_shape", lambda task: shape)
    with pytest.raises(UserError) as caught:
        load(apply_point(config, {"evaluation.noise": [{"kind": kind}]}))
    (line,) = caught.value.lines
    assert line.startswith(f"evaluation.noise[0].kind: {message}") and line.endswith(f"(got {kind!r})")


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (
            "[{kind: character}, {kind: character}]",
            "evaluation.noise: must have each kind once, further ones under a name of their own (got character, char",
        ),
        ("[{kind: character, rate: [0.0]}]", "evaluation.noise[0].rate[0]: must be more than 0"),
        ("[{kind: word_drop, letters: keyboard}]", "evaluation.noise[0]: word_drop reads no letters, kind character"),
        ("[{kind: character, rate: []}]", "evaluation.noise[0].rate: "),
        ("[{kind: typos}]", "evaluation.noise[0].kind: must be 'character', 'word_drop',"),
    ],
)
def test_mistakes_in_the_configuration_are_one_line(noise: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(TrialConfig, None, [f"evaluation.noise={noise}"])
    assert len(caught.value.lines) == 1 and caught.value.lines[0].startswith(message), caught.value.lines


def test_names_of_noised_rows() -> None:
    assert key_of("word_drop", 0.05, "pt-BR") == "word_drop_0.05/pt-BR"
