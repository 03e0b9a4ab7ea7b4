"""Data as it is published: labels under other numbers, stray quotes, files that are absent, keys that nobody reads."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.tasks.test_task import own_task, write
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.definition import catalogue
from trainables.tasks.task import load_task

WEATHER: dict[str, Any] = {
    "shape": "classification",
    "labels": ["other", "weather"],
    "splits": {
        "train": [{"split": "train", "languages": "source", "carve": "rest"}],
        "validation": [{"split": "train", "languages": "source", "carve": "held"}],
        "test": [{"split": "test", "languages": "targets"}],
    },
}


def own(folder: Path, **changes: Any) -> TaskConfig:
    return own_task(folder, {**WEATHER, **changes})


def train_rows(config: TaskConfig) -> Sequence[Mapping[str, Any]]:
    return load_task(config, ("train",)).rows["train"]["en"]


def refusal(config: TaskConfig, *splits: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_task(config, splits or ("train",))
    return caught.value.lines


# Borrowed rows


XNLI = [{"premise": "a", "hypothesis": "b", "label": i} for i in range(3)]
"""As published: 0 entailment, 1 neutral, 2 contradiction."""


def borrowing(
    folder: Path, task: str = "xnli", labels: Sequence[str] = (), mapped: Mapping[str, str] | None = None
) -> TaskConfig:
    (folder / task).mkdir(parents=True)
    splits = {"train": [{"task": task, "split": "train", "languages": "source", "labels": mapped or {}}]}
    columns = {"text": "premise", "text_pair": "hypothesis"}
    config = own_task(folder, {"shape": "classification", "columns": columns, "labels": list(labels), "splits": splits})
    return config.model_copy(update={"data_dir": folder / "own"})


@pytest.fixture
def with_xnli(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path


def test_borrowed_labels_are_mapped_by_name(with_xnli: Path) -> None:
    config = borrowing(with_xnli, labels=["contradiction", "entailment", "neutral"])
    write(with_xnli / "xnli", "train.en.jsonl", XNLI)
    assert [row["label"] for row in train_rows(config)] == [1, 2, 0]


def test_borrowed_classes_may_be_merged(with_xnli: Path) -> None:
    merged = {"neutral": "not_entailment", "contradiction": "not_entailment"}
    config = borrowing(with_xnli, labels=["not_entailment", "entailment"], mapped=merged)
    write(with_xnli / "xnli", "train.en.jsonl", XNLI)
    assert [row["label"] for row in train_rows(config)] == [1, 0, 0]


def test_a_borrowed_class_that_the_task_lacks_is_refused_before_reading(with_xnli: Path) -> None:
    (line,) = refusal(borrowing(with_xnli, labels=["entailment", "not_entailment"]))
    assert line.startswith("task.name: own: splits.train[0].labels: 'neutral' is no label of this task")
    assert "labels: {neutral: entailment}" in line


@pytest.mark.parametrize(("task", "words"), [("squad", "SpanAnswering"), ("siqa", "MultipleChoice")])
def test_a_shape_that_cannot_be_adopted_is_refused(with_xnli: Path, task: str, words: str) -> None:
    (line,) = refusal(borrowing(with_xnli, task, labels=["yes", "no"]))
    assert line.startswith("task.name: own: splits.train[0].task: must be of this task's shape") and words in line


def test_single_texts_cannot_borrow_pairs(tmp_path: Path) -> None:
    part = {"task": "xnli", "split": "train", "languages": "source"}
    (line,) = refusal(own(tmp_path, labels=["entailment", "neutral", "contradiction"], splits={"train": [part]}))
    assert "Classification of text (got Classification of text and text_pair)" in line


def test_borrowed_tags_are_mapped_by_name(with_xnli: Path) -> None:
    tags = ["X", "VERB", "NOUN", *(t for t in catalogue()["udpos"].labels if t not in ("X", "VERB", "NOUN"))]
    splits = {"train": [{"task": "udpos", "split": "train", "languages": "source"}]}
    config = own_task(with_xnli, {"shape": "tagging", "labels": tags, "splits": splits})
    write(with_xnli / "udpos", "train.en.jsonl", [{"tokens": ["it", "rains"], "pos_tags": ["NOUN", "VERB"]}])
    rows = train_rows(config.model_copy(update={"data_dir": with_xnli / "own"}))
    assert [tags[tag] for tag in rows[0]["tags"]] == ["NOUN", "VERB"]


def test_an_unknown_task_in_a_part_is_named(tmp_path: Path) -> None:
    (line,) = refusal(own(tmp_path, splits={"train": [{"task": "xnly", "split": "train"}]}))
    assert "splits.train[0]: unknown task, did you mean 'xnli'? (got 'xnly')" in line


# Labels that are numbers


@pytest.mark.parametrize(
    ("labels", "values", "numbers"),
    [
        (["1", "2", "3"], [1, 2, 3], [0, 1, 2]),
        ([1, 2, 3], [1, "2", 3.0], [0, 1, 2]),
        (["-1", "0", "1"], [-1, 0, 1], [0, 1, 2]),
        (["-1", "0", "1"], ["-1", "0", "1.0"], [0, 1, 2]),
        (["no", "yes"], [0, "1", 1.0, "1.0", "yes"], [0, 1, 1, 1, 1]),
        (["0", "1"], [0, 1, "0", "1.0"], [0, 1, 0, 1]),
    ],
)
def test_a_number_that_names_a_label_is_that_label(
    labels: list[Any], values: list[Any], numbers: list[int], tmp_path: Path
) -> None:
    config = own(tmp_path, labels=labels, splits={})
    write(tmp_path, "train.en.jsonl", [{"text": "x", "label": value} for value in values])
    assert [row["label"] for row in train_rows(config)] == numbers


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_formats_agree_on_labels_that_are_numbers(ending: str, tmp_path: Path) -> None:
    config = own(tmp_path, labels=["1", "2", "3"], splits={})
    if ending == "jsonl":
        write(tmp_path, "train.en.jsonl", [{"text": "x", "label": n} for n in (1, 2, 3)])
    else:
        mark = "," if ending == "csv" else "\t"
        (tmp_path / f"train.en.{ending}").write_text(f"text{mark}label\n" + "".join(f"x{mark}{n}\n" for n in (1, 2, 3)))
    assert [row["label"] for row in train_rows(config)] == [0, 1, 2]


def test_positions_where_names_are_numbers_are_refused_once(tmp_path: Path) -> None:
    config = own(tmp_path, labels=["1", "2", "3"], splits={})
    write(tmp_path, "train.en.jsonl", [{"text": "x", "label": n} for n in (0, 1, 2, 0, 1, 2)])
    (line,) = refusal(config)
    assert "train.en.jsonl:1: label must be one of 1, 2, 3, which are names; if the data has positions" in line


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("²", "must be one of no, yes"),
        (1.5, "must be one of no, yes"),
        (float("nan"), "must be one of no, yes"),
        ("-1", "is blank: these rows are published without their labels"),
        (-1.0, "is blank"),
    ],
)
def test_what_is_no_label_is_named(value: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, "train.en.jsonl", [{"text": "x", "label": value}])
    (line,) = refusal(own(tmp_path, labels=["no", "yes"], splits={}))
    assert words in line


def test_a_label_that_looks_alike_is_told_apart(tmp_path: Path) -> None:
    written = unicodedata.normalize("NFD", "météo")
    write(tmp_path, "train.en.jsonl", [{"text": "x", "label": written}])
    (line,) = refusal(own(tmp_path, labels=["autre", unicodedata.normalize("NFC", "météo")], splits={}))
    assert "looks like 'météo' but is composed otherwise" in line


# Files


def test_a_quote_in_a_tsv_is_text(tmp_path: Path) -> None:
    lines = ["text\tlabel", *(f"Sentence {i}.\tother" for i in range(40))]
    lines += ['"Rain again, he said.\tweather', "Open the door.\tother", "Close the door.\tother"]
    lines += ['It ends here"\tother']
    (tmp_path / "train.en.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = train_rows(own(tmp_path, splits={}))
    assert len(rows) == 44 and rows[40] == {"text": '"Rain again, he said.', "label": 1}


@pytest.mark.parametrize(("quoting", "text"), [(None, 'a "b"'), (True, 'a "b"'), (False, '"a ""b"""')])
def test_quotes_of_a_tsv_are_its_headers_or_as_is_said(quoting: bool | None, text: str, tmp_path: Path) -> None:
    header = "text\tlabel" if quoting is not None else '"text"\t"label"'
    (tmp_path / "train.en.tsv").write_text(f'{header}\n"a ""b"""\tother\n', encoding="utf-8")
    assert train_rows(own(tmp_path, quoting=quoting, splits={})) == [{"text": text, "label": 0}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.en.tsv", '"text"\t"label"\n"a\t"other"\n', "2: not valid TSV in quotes"),
        ("train.en.tsv", "text\tlabel\na\tb\tother\n", "2: must have as many cells as the header, 2 (got 3)"),
        ("train.en.csv", "text,label,label\na,other,weather\n", "1: must have different columns (got 'label' twice)"),
        ("train.en.tsv", "text\tlabel\tlabel\na\tb\tc\n", "1: must have different columns (got 'label' twice)"),
        (
            "train.en.jsonl",
            '{"text": "a", "label": 0, "label": 1}\n',
            "1: must be one JSON object (got the key 'label'",
        ),
    ],
)
def test_rows_that_would_be_lost_are_errors(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    (line,) = refusal(own(tmp_path, splits={}))
    assert f"{name}:{words}" in line


def test_a_chapter_in_a_cell_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.en.csv").write_text(f"text,label\n{'a ' * 100_000},other\n", encoding="utf-8")
    assert len(train_rows(own(tmp_path, splits={}))[0]["text"]) == 200_000


def test_half_a_surrogate_pair_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "train.en.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "\\ud83d", "label": 0}\n')
    (line,) = refusal(own(tmp_path, splits={}))
    assert r"train.en.jsonl:2: 'text' must be Unicode text (got half of a surrogate pair, '\ud83d')" in line


def test_one_language_twice_in_a_path_is_one_language(tmp_path: Path) -> None:
    files = "{language}/{split}.{language}.jsonl"
    for code in ("en", "sw"):
        write(tmp_path / code, f"train.{code}.jsonl", [{"text": code, "label": 0}])
        write(tmp_path / code, f"test.{code}.jsonl", [{"text": code, "label": 0}])
    write(tmp_path / "en", "test.sw.jsonl", [{"text": "of neither", "label": 0}])
    task = load_task(own(tmp_path, files=files, splits={}), ("train", "test"))
    assert {code: [row["text"] for row in rows] for code, rows in task.rows["test"].items()} == {
        "en": ["en"],
        "sw": ["sw"],
    }


@pytest.mark.parametrize("files", ["{split}.{language}.{part}.jsonl", "{language}.*", "{split}.jsonl"])
def test_patterns_that_cannot_work_are_refused(files: str, tmp_path: Path) -> None:
    (line,) = refusal(own(tmp_path, files=files))
    assert "files: must be a path with {split} and {language} in it, and no other placeholder" in line


# What is not there


def test_no_target_file_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    config = own(tmp_path)
    write(tmp_path, "train.en.jsonl", [{"text": f"{i}", "label": i % 2} for i in range(40)])
    write(tmp_path, "tset.sw.jsonl", [{"text": "x", "label": 0}])
    (line,) = refusal(config, "train", "validation")
    assert "has rows in no language but the source; looked for" in line and "there are own.yaml, " in line
    assert "test.{language}.*" in line and "tset.sw.jsonl" in line and "target_languages: []" in line
    load_task(config.model_copy(update={"target_languages": ()}), ("train", "validation"))
    write(tmp_path, "test.sw.jsonl", [{"text": "x", "label": 0}])
    assert list(load_task(config, ("train", "validation")).rows["train"]) == ["en"]


def test_a_file_that_is_not_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "train.en.docx").write_text("a\tB\n")
    (line,) = refusal(own(tmp_path, splits={}))
    assert "found, but .docx is not read: .jsonl" in line


def test_a_task_in_one_language_is_one(shared_data: Path) -> None:
    assert load_task(TaskConfig(name="copa", data_dir=shared_data), ("train", "validation")).target_languages == ()


# Keys that nobody reads


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"options": {"metric": "map_at_20"}},
            "options.metric: classification has none, known: parsed (got 'map_at_20')",
        ),
        (
            {"columns": {"text": "a", "text_par": "b"}},
            "columns.text_par: classification has none, did you mean 'text_pair'?",
        ),
        (
            {"shape": "span", "labels": [], "options": {"normalization": "mlqa"}},
            "options.normalization: span has none, did you mean 'normalisation'? (got 'mlqa')",
        ),
    ],
)
def test_keys_that_nobody_reads_are_refused(changes: dict[str, Any], line: str, tmp_path: Path) -> None:
    (found,) = refusal(own(tmp_path, splits={}, **changes))
    assert found.startswith(f"task.name: own: {line}")


def test_a_language_without_rules_is_refused_before_reading(tmp_path: Path) -> None:
    config = own_task(tmp_path, {"shape": "span", "options": {"normalisation": "mlqa"}})
    for name in ("train.en", "validation.en", "validation.sw"):
        (tmp_path / f"{name}.jsonl").write_text("no row")
    (line,) = refusal(config, "validation")
    assert line.startswith("options.normalisation: mlqa has rules for ar, de, en, es, hi, vi, zh (got 'sw')")


# Languages


def languages(folder: Path, spelt: Sequence[str], source: str = "en", split: str = "test", **changes: Any) -> list[str]:
    """The languages that a task evaluates whose files are spelt so."""
    for name in spelt:
        write(folder, f"{split}.{name}.jsonl", [{"text": name, "label": 0}])
    write(folder, f"train.{source}.jsonl", [{"text": "x", "label": 0}])
    targets = changes.pop("targets", "all")
    config = own(folder, **changes).model_copy(update={"source_language": source, "target_languages": targets})
    return list(load_task(config, ("train", split)).rows[split])


@pytest.mark.parametrize(
    ("spelt", "codes"),
    [
        (["twi_Latn", "aka_Latn", "fat"], ["ak", "fat", "tw"]),
        (["toba_batak", "de-muc", "de-ba", "ca-valencia"], ["ca-valencia", "de-ba", "de-muc", "toba_batak"]),
        (["quy", "quz"], ["quy", "quz"]),
        (["kzj", "dtp"], ["dtp", "kzj"]),
        (["ks_Arab", "ks_Deva"], ["ks", "ks-Deva"]),
        (["swh_Latn", "prs_Arab", "pes_Arab"], ["fa", "prs", "sw"]),
    ],
)
def test_what_the_data_calls_two_languages_stays_two(spelt: list[str], codes: list[str], tmp_path: Path) -> None:
    assert languages(tmp_path, spelt) == codes


def test_a_target_is_found_by_the_name_that_its_file_has(tmp_path: Path) -> None:
    assert languages(tmp_path / "a", ["twi_Latn", "aka_Latn", "fat"], targets=("twi_Latn",)) == ["tw"]
    assert languages(tmp_path / "b", ["quy", "quz"], targets=("quz",)) == ["quz"]
    assert languages(tmp_path / "c", ["swh", "yor"], targets=("sw", "yor")) == ["sw", "yo"]


def test_declared_languages_may_be_spelt_as_published(tmp_path: Path) -> None:
    assert languages(tmp_path / "a", ["yor", "lug", "hau"], languages=["en", "yor", "lug"]) == ["lg", "yo"]
    assert languages(tmp_path / "b", ["yo-file"], languages={"eng": "en", "yor": "yo-file"}) == ["yo"]


def test_one_language_may_be_spelt_otherwise_in_another_split(tmp_path: Path) -> None:
    splits = {"test": [{"split": "test"}]}
    assert languages(tmp_path, ["eng_Latn", "swh_Latn"], splits=splits) == ["en", "sw"]


def test_a_message_has_the_users_own_spelling(tmp_path: Path) -> None:
    write(tmp_path, "train.lin.jsonl", [{"text": "x", "label": 0}])
    write(tmp_path, "test.sw.jsonl", [{"text": "x", "label": 0}])
    config = own(tmp_path).model_copy(update={"source_language": "lin", "target_languages": ("yor",)})
    with pytest.raises(UserError, match=r"has test rows only in sw; .*\(got 'yor'\)"):
        load_task(config, ("train", "test"))
