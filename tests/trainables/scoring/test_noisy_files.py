"""Noisy copies of evaluated rows that files have: scored beside their clean twins, and held against them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trainables import tiny
from tests.trainables.team import together
from trainables.config import EvaluationConfig, TrialConfig
from trainables.distributed import Group
from trainables.errors import UserError
from trainables.loading import apply_point, load_config
from trainables.materials.fitting import check
from trainables.materials.keys import materials_key
from trainables.materials.materials import fingerprints, load, prepare
from trainables.model.encoder import Model
from trainables.scores import LanguageScores
from trainables.scoring.evaluation import evaluate
from trainables.scoring.noise import noise_scores
from trainables.training.trial import start

LABELS = ("few", "many")
CLEAN = [("the cat sat", 0), ("a dog ran far away", 1), ("the dog", 0), ("it sat there again and again", 1)]
TYPOS = {  # rate -> language -> texts; Greek has one rate, German has none
    "0.1": {"en": ["teh cat sat", "a dog ran far away", "the dog", "it sat there again adn again"],
            "el": ["η γτα", "ο σκύλος", "ετρεξε", "κάθισε μακριά"]},
    "0.3": {"en": ["teh cat st", "a dg ran far awya", "the dgo", "it sat thre agian adn again"]},
}  # fmt: skip
OTHERS = {"de": ["die Katze", "der Hund", "er lief weit weg", "saß"], "el": ["η γάτα", "ο σκύλος", "έτρεξε", "κάθισε"]}


def write(path: Path, texts: Sequence[str], labels: Sequence[int]) -> None:
    lines = (json.dumps({"text": text, "label": LABELS[n]}) for text, n in zip(texts, labels, strict=True))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    """A task in three languages with typos beside it: of its validation split, and unusable ones of its test split."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.yaml").write_text(
        "shape: classification\nlabels: [few, many]\nfiles: '{split}.{language}.jsonl'\n"
    )
    labels = [label for _, label in CLEAN]
    for split in ("train", "validation", "test"):
        for language, texts in {"en": [text for text, _ in CLEAN], **OTHERS}.items():
            write(tmp_path / f"{split}.{language}.jsonl", texts, labels)
    for rate, languages in TYPOS.items():
        for language, texts in languages.items():
            write(tmp_path / f"validation.typos_{rate}.{language}.jsonl", texts, labels)
    write(tmp_path / "test.typos_0.1.en.jsonl", ["one"], [0])
    return TrialConfig.model_validate(
        {
            "task": {"name": str(tmp_path / "own.yaml")},
            "encoder": {"name_or_path": str(tiny.write(tmp_path / "encoder", "xlm-roberta"))},
            "evaluation": {"noise": [noise()]},
        }
    )


def noise(**others: Any) -> dict[str, Any]:
    own = {"kind": "files", "name": "typos", "rate": [0.1, 0.3], "files": "{split}.typos_{rate}.{language}.jsonl"}
    return own | others


def with_noise(config: TrialConfig, **others: Any) -> TrialConfig:
    return apply_point(config, {"evaluation.noise": [noise(**others)]})


def as_own_rows(config: TrialConfig, texts: Mapping[str, Sequence[str]], model: Model) -> LanguageScores:
    """Scores of a model on texts that are a task's own rows, one in a batch."""
    folder = Path(config.task.name).parent
    for language, own in texts.items():
        write(folder / f"validation.{language}.jsonl", own, [label for _, label in CLEAN])
    plain = apply_point(config, {"evaluation.noise": [], "encoder.trim_vocabulary": False})
    materials = load(plain.model_copy(update={"task": plain.task.model_copy(update={"target_languages": ("el",)})}))
    return evaluate(model, materials, "validation", None, EvaluationConfig(token_budget=64), Group())[0]["accuracy"]


def test_noisy_rows_are_scored_as_rows_of_their_own_beside_their_clean_twins(
    config: TrialConfig, tmp_path: Path
) -> None:
    whole = apply_point(config, {"encoder.trim_vocabulary": False})
    materials = load(whole)
    model = start(whole, materials, Group(), tmp_path).model

    def work(group: Group) -> dict[str, LanguageScores]:
        return noise_scores(model, materials, "validation", config.evaluation, group)

    for world in (1, 2):
        found, *others = together(world, work)
        assert all(other == found for other in others)
        assert {name: scores.languages for name, scores in found.items()} == {
            "noise_accuracy_typos_0": ("el", "en"),
            "noise_accuracy_typos_0.1": ("el", "en"),
            "noise_accuracy_typos_0.3": ("en",),
            "noise_accuracy_typos_area": ("en",),
        }
        assert set(found["noise_accuracy_typos_0.1"].counts.values()) == {len(CLEAN)}
    clean = evaluate(model, materials, "validation", None, EvaluationConfig(), Group())[0]["accuracy"]
    for rate, texts in (("0.1", TYPOS["0.1"]), ("0.3", TYPOS["0.3"])):
        expected = as_own_rows(config, texts, model)
        assert {k: found[f"noise_accuracy_typos_{rate}"][k] for k in texts} == {k: expected[k] for k in texts}
    assert {k: found["noise_accuracy_typos_0"][k] for k in ("el", "en")} == {k: clean[k] for k in ("el", "en")}
    none, some, much = (found[f"noise_accuracy_typos_{rate}"]["en"] for rate in ("0", "0.1", "0.3"))
    area = (0.1 * (none + some) / 2 + 0.2 * (some + much) / 2) / 0.3
    assert found["noise_accuracy_typos_area"]["en"] == pytest.approx(area)


def test_rows_are_those_of_the_files_and_test_files_stay_closed_until_test_is_read(config: TrialConfig) -> None:
    materials = load(config)
    assert [row["text"] for row in materials.noisy_rows["validation"]["typos_0.3/en"]] == TYPOS["0.3"]["en"]
    assert materials.noisy_rows["validation"]["typos_0/en"] == materials.rows["validation"]["en"]
    with pytest.raises(UserError, match=r"^evaluation\.noise\[0\]\.files: must have the 4 clean rows of test in en"):
        load(config, ("validation", "test"))


def test_noisy_rows_have_their_trees_as_clean_ones_do(config: TrialConfig, tmp_path: Path) -> None:
    for pattern in ("train.en", "validation.en", "validation.typos_0.1.en", "validation.typos_0.3.en"):
        path = tmp_path / f"{pattern}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        parsed = [row | {"heads": list(range(len(row["text"].split())))} for row in rows]
        path.write_text("\n".join(map(json.dumps, parsed)), encoding="utf-8")
    rows = load(apply_point(config, {"syntax.kind": "gate"})).noisy_rows["validation"]
    assert all("heads" in row for name in ("typos_0/en", "typos_0.1/en", "typos_0.3/en") for row in rows[name])
    assert not any("heads" in row for row in load(config).noisy_rows["validation"]["typos_0.1/en"])


def test_a_file_written_anew_is_another_content(config: TrialConfig, tmp_path: Path) -> None:
    keys, sums = materials_key(config, ("validation",)), fingerprints(prepare(config))
    write(tmp_path / "validation.typos_0.3.en.jsonl", [t.upper() for t in TYPOS["0.3"]["en"]], [0, 1, 0, 1])
    assert materials_key(config, ("validation",)) != keys
    assert fingerprints(prepare(config))["data"] != sums["data"]
    without = fingerprints(prepare(apply_point(config, {"evaluation.noise": []})))
    assert without["encoder"] == sums["encoder"] and without["data"] != sums["data"]


def test_clean_twins_may_be_files_too_or_none(config: TrialConfig, tmp_path: Path) -> None:
    rows = ["one cat", "two cats and some dogs", "three", "four of them and more", "five"]
    for kind in ("clean", "noisy"):
        write(tmp_path / f"validation.{kind}.en.jsonl", [text.replace("a", "A") for text in rows], [0, 1, 0, 1, 0])
    given = {"files": "{split}.noisy.{language}.jsonl", "rate": None, "examples_per_language": 3}
    with pytest.raises(UserError, match=r"clean rows .* clean names their files, or is null \(got 5 rows\)"):
        load(with_noise(config, **given))
    found = load(with_noise(config, **given, clean="{split}.clean.{language}.jsonl")).noisy_rows["validation"]
    assert {name: len(rows) for name, rows in found.items()} == {"typos_0/en": 3, "typos_1/en": 3}
    assert list(load(with_noise(config, **given, clean=None)).noised["validation"]) == ["typos_1/en"]


def test_rows_that_are_not_parallel_are_named(config: TrialConfig, tmp_path: Path) -> None:
    write(tmp_path / "validation.typos_0.3.en.jsonl", TYPOS["0.3"]["en"], [0, 0, 1, 1])
    with pytest.raises(UserError, match=r"got another label in 2 of 4: rows 2, 3\)$"):
        load(config)
    write(tmp_path / "validation.clean.el.jsonl", OTHERS["el"], [0, 1, 0, 1])
    with pytest.raises(UserError, match=r"^evaluation\.noise\[0\]\.clean: must have the clean rows of en, validation"):
        load(with_noise(config, clean="{split}.clean.{language}.jsonl"))
    with pytest.raises(UserError, match=r"^evaluation\.noise\[0\]\.files: must name files; looked for .*typing"):
        check(with_noise(config, files="{split}.typing_{rate}.{language}.jsonl"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{kind: files}", "files must be a path with {split} and {language} in it (got none)"),
        ("{kind: files, files: 'a.{language}'}", "files must be a path with {split} and {language} in it (got a.{"),
        ("{kind: files, files: '{split}.{language}.{rate}'}", "rate must say what stands for {rate} in files"),
        ("{kind: files, files: '{split}.{language}', rate: [0.1, 0.2]}", "rate must say what stands for {rate} in"),
        ("{kind: files, files: '{split}.{language}', clean: x}", "clean must be a path with {split} and {language}"),
        ("{kind: character, files: x}", "character reads no files, kind files does (got x)"),
    ],
)
def test_mistakes_in_the_configuration_are_one_line(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(TrialConfig, None, [f"evaluation.noise=[{given}]"])
    (line,) = caught.value.lines
    assert line.startswith(f"evaluation.noise[0]: {message}"), line


PUBLISHED = {
    "xnli": {"0.05": ("de", "en", "es", "fr", "hi", "tr")},
    "panx": {"0.05": ("hi",), "0.1": ("es", "fr", "tr"), "0.2": ("de",)},
}
"""Test files with typing errors as their authors made them: task -> rate -> languages."""


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_files_are_scored_in_all_their_languages(
    task: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each language at the rate that it has files of, beside their clean twins, which are no rows of the task's."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    folder, rates = shared_data / "noise" / task, PUBLISHED[task]
    typos = {
        "rate": [float(rate) for rate in rates],
        "files": f"{folder}/{{split}}_typos_{{rate}}.{{language}}.jsonl",
        "clean": f"{folder}/{{split}}_clean.{{language}}.jsonl",
        "examples_per_language": 10,
    }
    languages = sorted({code for codes in rates.values() for code in codes})
    own = tmp_path / "data" / task
    own.mkdir(parents=True)
    for path in (shared_data / task).glob("*.jsonl"):  # some rows of the task's own, which are not what is looked at
        if path.stem.partition(".")[2] in ("en", *languages):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            (own / path.name).write_text("".join(lines[:20]), encoding="utf-8")
    config = TrialConfig.model_validate(
        {
            "task": {"name": task, "data_dir": own.parent, "target_languages": [c for c in languages if c != "en"]},
            "encoder": {"name_or_path": str(tiny.write(tmp_path / "encoder", "xlm-roberta"))},
            "evaluation": {"noise": [noise(**typos)]},
        }
    )
    materials = load(config, ("test",))
    rows = materials.noisy_rows["test"]
    changed = {key for key in rows if rows[key] != rows[f"typos_0/{key.partition('/')[2]}"]}
    assert changed == {f"typos_{rate}/{code}" for rate, codes in rates.items() for code in codes}
    model = start(config, materials, Group(), tmp_path).model
    found = noise_scores(model, materials, "test", config.evaluation, Group())
    by_rate: dict[str, list[LanguageScores]] = {}
    for name, scores in found.items():
        by_rate.setdefault(name.rpartition("_")[2], []).append(scores)
    for rate, codes in {"0": tuple(languages), **rates}.items():
        assert by_rate[rate]
        for scores in by_rate[rate]:
            assert scores.languages == codes and set(scores.counts.values()) == {10}
