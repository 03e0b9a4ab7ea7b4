"""`study data`: what is understood of a task's data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from study.cli import USER_ERROR, commands, execute
from study.planning import survey_words
from tests.conftest import REPOSITORY
from tests.trainables import tarball
from tests.trainables.tiny import characters

TAGS = {"shape": "tagging"}


@pytest.fixture(autouse=True)
def _small_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.planning.survey.load_tokenizer", lambda *_: characters())


@pytest.fixture
def task(tmp_path: Path) -> Path:
    def lines(*texts: str) -> str:
        return "".join(json.dumps({"text": text, "label": "b" if "x" in text else "a"}) + "\n" for text in texts)

    (tmp_path / "train.en.jsonl").write_text(lines("one", "two", "one", "x " * 200))
    (tmp_path / "validation.en.jsonl").write_text(lines("three", "x"))
    (tmp_path / "validation.toba_batak.jsonl").write_text(lines("two", "four", "four"))
    (tmp_path / "test.sw.tsv").write_text("text\tlabel\nthree\ta\nfive\tb\n")
    (tmp_path / "test.en.jsonl").write_text(lines("three", "x y"))
    (tmp_path / "own.yaml").write_text('{"shape": "classification", "labels": ["a", "b"]}')
    return tmp_path / "own.yaml"


def looked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert execute(commands, "study", ["data", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_all_that_is_understood_of_a_task(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = json.loads(looked(capsys, task, "--json", "--rows", "1"))
    assert found["rows"] == {"train": {"en": 4}, "validation": {"en": 2, "toba_batak": 3}, "test": {"en": 2, "sw": 2}}
    assert found["files"]["test"][0]["formats"] == {"jsonl": 1, "tsv": 1}
    assert found["files"]["train"][0]["columns"] == ["text", "label"]
    assert found["label_counts"]["validation"] == {"en": {"a": 1, "b": 1}, "toba_batak": {"a": 3, "b": 0}}
    assert found["languages"]["sw"]["name"] == "Swahili" and "low_resource" in found["languages"]["sw"]["groups"]
    assert found["tokens"]["train"]["en"]["longest_row"] == 3 and found["tokens"]["train"]["en"]["over"] == 1
    assert found["repeated"] == [
        {"split": "train", "language": "en", "also_in": "train", "rows": 1},
        {"split": "validation", "language": "toba_batak", "also_in": "validation", "rows": 1},
        {"split": "validation", "language": "toba_batak", "also_in": "train", "rows": 1},
        {"split": "test", "language": "en", "also_in": "validation", "rows": 1},
    ]
    assert found["in_no_group"] == ["toba_batak"]
    assert found["examples"]["sw"] == [{"split": "test", "text": "three", "label": "a"}]
    text = survey_words.words(found, None)
    assert "3 languages, 1 of them in no group: toba_batak" in text
    assert "without rows of some label: toba_batak (validation)" in text
    assert "en: 1 rows of test have the words of a row of validation" in text
    assert 'sw test: text "three"; label "a"' in text


def test_a_source_that_is_not_tested_is_said(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "test: no rows in en, which is not scored on it; its mean is that of the others"
    assert said not in looked(capsys, task)
    (task.parent / "test.en.jsonl").unlink()
    text = looked(capsys, task)
    assert said in text and "sw test: " in text


def test_whose_trees_are_known_is_said(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "one two", "label": "a", "heads": heads} for heads in ("2 0", "_ _")]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (task.parent / "train.en.jsonl").write_text(lines)
    found = json.loads(looked(capsys, task, "--json"))
    assert found["parsed"]["train"] == {"en": ["predicted", 1, 2]} and found["parsed"]["test"]["sw"] == ["none", 0, 2]
    text = survey_words.words(found, None)
    assert "parsed: predicted: en (train, 1 of 2 rows)" in text and "parsed: none: en (validation), " in text
    (task.parent / "train.en.jsonl").write_text(lines.replace("2 0", "2 1"))
    text = looked(capsys, task)
    assert "parsed: none, since heads are malformed:" in text and "train.en.jsonl:1: heads must be a tree" in text


def test_languages_are_what_the_task_and_the_encoder_make_them(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the facts of the task's own file, the source's script and distances, and the encoder's pretraining."""
    task.write_text(
        json.dumps(
            {
                "shape": "classification",
                "labels": ["a", "b"],
                "facts": {"toba_batak": {"name": "Toba Batak", "script": "Batk", "groups": ["batak"]}},
            }
        )
    )
    languages = json.loads(looked(capsys, task, "--json", "encoder.name_or_path=bert-base-multilingual-cased"))[
        "languages"
    ]
    assert languages["toba_batak"]["name"] == "Toba Batak"
    assert languages["toba_batak"]["groups"] == ["other_script", "batak"]
    assert languages["sw"]["groups"] == ["low_resource", "seen", "seen_mbert", "same_script"]
    assert languages["sw"]["distances"]["syntactic"] == pytest.approx(0.45, abs=0.1)
    assert not {"same_script", "other_script"} & set(languages["en"]["groups"]) and not languages["en"]["distances"]
    unlisted = json.loads(looked(capsys, task, "--json", "encoder.name_or_path=somebody/unknown"))["languages"]
    assert "seen" not in unlisted["sw"]["groups"] and "seen_mbert" in unlisted["sw"]["groups"]
    assert f"{languages['sw']['distances']['syntactic']:.2f}" in looked(capsys, task)


def test_how_words_are_cut_and_how_much_of_that_is_trained(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One token a letter and one for the blank before a word; trained on are n, o, e, t, w, x and the blank."""
    (task.parent / "validation.th.jsonl").write_text('{"text": "ต้น ot", "label": "a"}\n')
    text = looked(capsys, task)
    found = json.loads(looked(capsys, task, "--json"))["vocabulary"]
    assert found["toba_batak"]["fertility"] == pytest.approx((4 + 5 + 5) / 3)
    assert found["toba_batak"]["overlap"] == pytest.approx((4 + 2 + 2) / 14), "of four o and the blank"
    assert found["th"]["fertility"] is None and 0 < found["th"]["overlap"] < 1
    assert found["en"]["overlap"] < 1, "of validation"
    assert "4.67" in text and "0.57" in text


@pytest.mark.parametrize("name", tarball.TASKS)
def test_files_of_xglue_are_understood(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row is a query with its documents where that is what is scored; labels are named in any case."""
    tarball.write(tmp_path)
    found = json.loads(looked(capsys, name, f"task.data_dir={tmp_path}", "--json", "--rows", "1"))
    assert found["rows"]["validation"]["de"] == 2 and found["absent"].keys() == {"test"}
    assert set(found["files"]["validation"][0]["formats"]) == {"conll" if name.startswith("xglue") else "tsv"}
    (row,) = found["examples"]["de"]
    labels = {"xglue_ner": ["B-PER", "I-PER", "O"], "xglue_pos": ["NOUN", "VERB", "PUNCT"], "nc": "sports"}
    labels |= {"qadsm": "Good", "wpr": ["Perfect", "Bad", "Good"], "qam": "True"}
    assert row.get("label", row.get("tags")) == labels[name]


def test_a_split_without_files_is_said(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in task.parent.glob("validation.*"):
        path.unlink()
    assert "validation: no files; looked for" in looked(capsys, task)
    for path in task.parent.glob("*.??.*"):
        path.unlink()
    assert execute(commands, "study", ["data", str(task)]) == USER_ERROR
    assert "no rows of own; looked for" in capsys.readouterr().err


def test_what_is_malformed_is_lines(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (task.parent / "test.sw.tsv").write_text("text\tlabel\nthree\nfive\tc\n")
    assert execute(commands, "study", ["data", str(task)]) == USER_ERROR
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("test.sw.tsv:2: must have as many cells as the header, 2 (got 1)")
    assert second.endswith('test.sw.tsv:3: label must be one of a, b, or a number below 2 (got "c")')


@pytest.mark.parametrize(
    ("name", "content", "about", "expected"),
    [
        ("train.en.jsonl", b'{"text": "x", "label": "a"\n', {}, ":1: must be one JSON object (got "),
        ("train.en.json", b'[{"text": "x", "label": "a"}', {}, ": must be JSON (got "),
        ("train.en.tsv", b"a\ta\nb\n", {"header": ["text", "label"]}, ":2: must have as many cells as the header, 2"),
        ("train.en.csv", b'text,label\n"x,a\n', {}, ":2: not valid CSV (got "),
        ("train.en.jsonl.gz", b"\x1f\x8b\x08\x00", {}, ": cannot be read (got "),
        ("train.en.parquet", b"PAR1", {}, ": must be a Parquet file (got "),
        ("train.en.conll", b"one NN a\ntwo a\n", TAGS, ":2: must have as many columns as the first line, 3 (got 2)"),
        ("train.en.conllup", b"# global.columns = ID FORM UPOS\n1\tone\n", TAGS, ":2: must have the 3 columns named"),
    ],
)
def test_a_file_with_a_mistake_is_one_line_and_exit_status_2(
    name: str, content: bytes, about: dict[str, Any], expected: str, task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (task.parent / "train.en.jsonl").unlink()
    (task.parent / name).write_bytes(content)
    if about is TAGS:  # its other splits are no sentences
        for path in task.parent.glob("[vt][ae][ls]*.*"):
            path.unlink()
    task.write_text(json.dumps({"shape": "classification", "labels": ["a", "b"], **about}))
    assert execute(commands, "study", ["data", str(task)]) == USER_ERROR == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert f"{task.parent / name}{expected}" in line and captured.out == ""


def test_a_folder_is_looked_at_by_the_task_proposed_for_it(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(commands, "study", ["data", str(task.parent)]) == USER_ERROR
    assert "is a folder: --write-yaml" in capsys.readouterr().err
    found = json.loads(looked(capsys, task.parent, "--write-yaml", task.parent / "new.yaml", "--json"))
    assert found["task"] == "new" and found["labels"] == ["a", "b"] and found["rows"]["train"] == {"en": 4}


@pytest.mark.parametrize("name", ["names", "paragraphs", "questions", "choices", "translations"])
def test_tasks_of_every_shape_are_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(__file__).resolve().parents[2] / "data"
    assert "languages, " in looked(capsys, data / f"{name}.yaml")


def test_the_sample_of_the_documentation_is_what_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line; … stands for what is left out."""
    text = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8")
    sample = text.partition("$ study data tests/data/pairs.yaml --rows 1\n")[2].partition("```")[0].splitlines()
    monkeypatch.chdir(REPOSITORY)
    said = looked(capsys, "tests/data/pairs.yaml", "--rows", "1").splitlines()
    patterns = [re.escape(line).replace("…", ".*") for line in sample if line != "…"]
    assert len(patterns) > 4
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in said)] == []
