"""Where a task's rows are: patterns, several files of a language, a column that says it, and the hub beside them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.tasks.test_task import hub_like, own_task, write
from tests.trainables.tasks.test_wild_data import WEATHER, refusal
from trainables.config import TaskConfig
from trainables.tasks.definition import Hub, catalogue
from trainables.tasks.plan import Plan
from trainables.tasks.store import OnHub
from trainables.tasks.task import load_task, task_key

CLASSES: dict[str, Any] = {"shape": "classification", "labels": ["other", "weather"]}


def texts(config: TaskConfig, split: str = "test", column: str = "text") -> dict[str, list[Any]]:
    rows = load_task(config, (split,)).rows[split]
    return {code: [row[column] for row in found] for code, found in rows.items()}


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "label": 0, **more}


def tree(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="")


def lines(*found: str) -> str:
    return "".join(json.dumps(row(text)) + "\n" for text in found)


def test_two_treebanks_of_a_language_are_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    sentence = "1\t{}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n"
    tree(
        tmp_path / "data",
        {
            "UD_English-GUM/en_gum-ud-test.conllu": sentence.format("gum"),
            "UD_English-EWT/en_ewt-ud-test.conllu": sentence.format("ewt"),
            "UD_Yoruba-YTB/yo_ytb-ud-test.conllu": sentence.format("ytb"),
            "UD_Yoruba-YTB/LICENSE.txt": "",
        },
    )
    for files in (
        "data/**/{language}_*-ud-{split}.conllu",
        f"{tmp_path}/data/*/{{language}}_*-ud-{{split}}.*",
        "~/data/*/{language}_*-ud-{split}.*",
    ):
        config = own_task(tmp_path, {"shape": "tagging", "labels": ["NOUN", "VERB"], "files": files})
        assert texts(config, column="tokens") == {"en": [["ewt"], ["gum"]], "yo": [["ytb"]]}
    before = task_key(config)
    tree(tmp_path / "data", {"UD_Yoruba-YTB/yo_other-ud-test.conllu": sentence.format("other")})
    assert task_key(config) != before


def test_several_patterns_and_names_without_an_ending(tmp_path: Path) -> None:
    tree(tmp_path, {"XNLI/multinli.train.en.tsv": "text\tlabel\na\tother\n", "XNLI/en.test": "text\tlabel\nb\tother\n"})
    tree(tmp_path, {"XNLI/sw.test": "text\tlabel\nc\tother\n"})
    patterns = ["XNLI/multinli.{split}.{language}.tsv", "XNLI/{language}.{split}"]
    config = own_task(tmp_path, {**CLASSES, "files": patterns})
    assert texts(config) == {"en": ["b"], "sw": ["c"]} and texts(config, "train") == {"en": ["a"]}


def test_a_source_without_test_rows_is_not_scored_on_test(tmp_path: Path) -> None:
    """Of the two layouts that researchers have of a source language's training rows alone."""
    shapes = {
        "beside": ({"multinli.train.en.tsv": "a", "en.dev": "b", "sw.dev": "c", "sw.test": "d"},
                   {"files": ["multinli.{split}.{language}.tsv", "{language}.{split}"]}),
        "nameless": ({"train.tsv": "a", "dev.tsv": "b", "dev.sw.tsv": "c", "test.sw.tsv": "d"},
                     {"files": ["{split}.tsv", "{split}.{language}.tsv"], "language": "en"}),
    }  # fmt: skip
    for name, (files, about) in shapes.items():
        tree(tmp_path / name, {file: f"text\tlabel\n{text}\tother\n" for file, text in files.items()})
        config = own_task(tmp_path / name, {**CLASSES, **about, "splits": {"validation": [{"split": "dev"}]}})
        assert [texts(config, split) for split in ("train", "validation", "test")] == [
            {"en": ["a"]}, {"en": ["b"], "sw": ["c"]}, {"sw": ["d"]}
        ]  # fmt: skip
        for targets in ((), ("en", "sw")):  # it is all there is to test, or asked for by name
            (line,) = refusal(config.model_copy(update={"target_languages": targets}), "test")
            assert line.startswith("task.source_language: own has test rows only in sw; looked for ")
        (tmp_path / name / next(file for file, text in files.items() if text == "b")).unlink()
        (line,) = refusal(config, "validation")
        assert line.startswith("task.source_language: own has validation rows only in sw; looked for ")


def test_names_may_lack_what_the_definition_says(tmp_path: Path) -> None:
    tree(tmp_path, {"train.jsonl": lines("a"), "test.jsonl": lines("b"), "test.sw.jsonl": lines("c")})
    config = own_task(tmp_path, {**CLASSES, "files": ["{split}.jsonl", "{split}.{language}.jsonl"], "language": "eng"})
    assert texts(config) == {"en": ["b"], "sw": ["c"]} and texts(config, "train") == {"en": ["a"]}
    alone = own_task(tmp_path, {**CLASSES, "files": "{split}.jsonl", "languages": ["en"]})
    assert texts(alone.model_copy(update={"target_languages": ()})) == {"en": ["b"]}
    tested = {"train": [], "validation": [], "test": [{"split": "test"}]}
    one = own_task(tmp_path, {**CLASSES, "files": "test.{language}.jsonl", "splits": tested})
    tree(tmp_path, {"test.en.jsonl": lines("d")})
    assert texts(one) == {"en": ["d"], "sw": ["c"]}


@pytest.mark.parametrize(
    "names", [("test.de.csv", "test.de.jsonl"), ("test.de.json", "test.de.ndjson"), ("test.de.jsonl", "test.deu.jsonl")]
)
def test_two_forms_of_a_file_and_two_names_of_a_language_are_refused(names: Sequence[str], tmp_path: Path) -> None:
    tree(tmp_path, {name: lines("a") for name in ("test.en.jsonl", *names)})
    (line,) = refusal(own_task(tmp_path, {**CLASSES, "languages": {"en": "en", "de": "deu"}}), "test")
    assert f"{names[1]}: a second file of test in 'de', beside {names[0]}" in line


def test_of_two_forms_the_one_whose_ending_says_it_is_read(tmp_path: Path) -> None:
    tree(tmp_path, {"test.en.jsonl": lines("a"), "test.en.txt": "notes", "test.sw.jsonl": lines("b"), "test.sw.md": ""})
    assert texts(own_task(tmp_path, CLASSES)) == {"en": ["a"], "sw": ["b"]}


def test_a_column_says_the_language(tmp_path: Path) -> None:
    table = "language\ttext\tlabel\n" + "".join(
        f"{c}\t{t}\tother\n" for c, t in [("en", "a"), ("swh", "b"), ("en", "c")]
    )
    tree(tmp_path, {"xnli.test.tsv": table, "xnli.train.tsv": "language\ttext\tlabel\nen\td\tother\n"})
    about = {**CLASSES, "files": "xnli.{split}.tsv", "language_column": "language", "languages": ["en", "swh"]}
    config = own_task(tmp_path, about)
    assert texts(config) == {"en": ["a", "c"], "sw": ["b"]} and texts(config, "train") == {"en": ["d"]}
    tree(tmp_path, {"xnli.test.tsv": table + "sw \te\tother\n"})
    (line,) = refusal(config, "test")
    assert line.endswith(':5: language must be one of the task\'s languages, en, swh (got "sw ")')
    one = own_task(tmp_path, {**about, "languages": ["en"]}).model_copy(update={"target_languages": ()})
    assert texts(one, "train") == {"en": ["d"]}
    (line,) = refusal(own_task(tmp_path, {**about, "languages": []}), "test")
    assert "languages: must be named where a language_column says them" in line


def squad(*questions: Mapping[str, Any]) -> str:
    return json.dumps({"data": [{"title": "", "paragraphs": [{"context": "he came", "qas": list(questions)}]}]})


def asked(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "question": name, "answers": [{"text": "he", "answer_start": 0}], **more}


def test_ids_may_begin_with_the_language(tmp_path: Path) -> None:
    tree(tmp_path, {"tydiqa-goldp-test.json": squad(asked("english-1"), asked("swahili-2"))})
    about = {"shape": "span", "files": "tydiqa-goldp-{split}.json", "language_column": "id"}
    config = own_task(tmp_path, {**about, "languages": {"en": "english-", "sw": "swahili-"}})
    assert texts(config, column="question") == {"en": ["english-1"], "sw": ["swahili-2"]}


PUBLISHED: dict[str, dict[str, str]] = {
    "xquad": {"xquad.ar.json": squad(asked("ar")), "xquad.en.json": squad(asked("en"))},
    "mlqa": {
        "MLQA_V1/test/test-context-ar-question-ar.json": squad(asked("ar")),
        "MLQA_V1/test/test-context-ar-question-de.json": squad(asked("no")),
        "MLQA_V1/test/test-context-en-question-en.json": squad(asked("en")),
        "MLQA_V1/dev/dev-context-en-question-en.json": squad(asked("dev")),
    },
    "tydiqa": {"tydiqa-goldp-v1.1-dev.json": squad(asked("english-1"), asked("arabic-1"), asked("swahili-2"))},
    "squad": {"train-v1.1.json": squad(asked("train")), "dev-v1.1.json": squad(asked("dev"))},
}


def test_files_of_the_catalogue_are_found_as_they_were_published(tmp_path: Path) -> None:
    for name, files in PUBLISHED.items():
        tree(tmp_path / name, files)

    def asks(name: str, split: str, *targets: str) -> dict[str, list[Any]]:
        return texts(TaskConfig(name=name, data_dir=tmp_path, target_languages=targets), split, "question")

    assert asks("xquad", "test", "ar") == {"ar": ["ar"], "en": ["en"]}
    assert asks("mlqa", "test", "ar") == {"ar": ["ar"], "en": ["en"]} and asks("mlqa", "validation")["en"] == ["dev"]
    assert asks("tydiqa", "test", "ar", "sw") == {"ar": ["arabic-1"], "en": ["english-1"], "sw": ["swahili-2"]}
    assert asks("squad", "validation") == {"en": ["dev"]} and asks("squad", "train") == {"en": ["train"]}
    # Files under the usual names go before them.
    tree(tmp_path / "xquad", {"validation.en.json": squad(asked("usual"))})
    assert asks("xquad", "test") == {"en": ["usual"]}


def test_xglue_has_copies_of_three_tasks(tmp_path: Path) -> None:
    """Headerless dev and test files of XNLI beside MultiNLI, whose label is spelt otherwise; a quote is text."""
    pairs = "id\tsentence1\tsentence2\tlabel\n1\t{0}\tb\t1\n"
    folder = tmp_path / "xglue_full_dataset"
    tree(
        folder,
        {
            "XNLI/multinli.train.en.tsv": 'premise\thypo\tlabel\n"a\tb\tcontradictory\nc\td\tneutral\n',
            "XNLI/en.dev": "e\tf\tcontradiction\n",
            "XNLI/de.dev": "g\th\tcontradictory\r\n",
            "XNLI/de.test": "i\tj\tentailment",
            "PAWSX/en/train.tsv": pairs.format("en train"),
            "PAWSX/en/dev_2k.tsv": pairs.format("en dev"),
            "PAWSX/de/dev_2k.tsv": pairs.format("de dev"),
            "PAWSX/de/translated_train.tsv": pairs.format("no"),
            "MLQA/squad1.1/train-v1.1.json": squad(asked("train")),
            "MLQA/MLQA_V1/dev/dev-context-en-question-en.json": squad(asked("en dev")),
            "MLQA/MLQA_V1/dev/dev-context-de-question-de.json": squad(asked("de dev")),
            "MLQA/MLQA_V1/dev/dev-context-de-question-en.json": squad(asked("no")),
            "NER/en.dev": "Ada B-PER\n",
        },
    )
    for inside in (folder, folder / "XNLI"):
        task = load_task(TaskConfig(name="xnli", data_dir=inside, target_languages=("de",)), ("train", "validation"))
        assert task.rows["train"]["en"] == [
            {"text": '"a', "text_pair": "b", "label": 2},
            {"text": "c", "text_pair": "d", "label": 1},
        ]
        assert [task.rows["validation"][k][0]["label"] for k in ("en", "de")] == [2, 2]
    xnli = TaskConfig(name="americasnli", data_dir=folder, target_languages=())
    assert texts(xnli, "validation") == {"en": ["e"]}, "a task that borrows them finds them too"
    pawsx = TaskConfig(name="pawsx", data_dir=folder)
    assert texts(pawsx, "validation") == {"en": ["en dev"], "de": ["de dev"]} and texts(pawsx, "train")["en"] == [
        "en train"
    ]
    mlqa = TaskConfig(name="mlqa", data_dir=folder)
    assert texts(mlqa, "validation", "question") == {"en": ["en dev"], "de": ["de dev"]}
    assert texts(mlqa, "train", "question") == {"en": ["train"]}


@pytest.mark.parametrize("name", ["test.aym.tsv", "aym.test", "dev.en.tsv"])
def test_a_borrowers_own_files_are_not_what_it_borrows(name: str, tmp_path: Path) -> None:
    tree(tmp_path, {name: "premise\thypothesis\tlabel\na\tb\tneutral\n"})
    config = TaskConfig(name="americasnli", data_dir=tmp_path, target_languages=())
    assert isinstance(Plan.of(config).store("xnli"), OnHub)


def test_where_all_layouts_were_looked_for_is_said(tmp_path: Path) -> None:
    tree(tmp_path, {"xquad/README.md": "", "squad/train-v1.1.json": squad(asked("train"))})
    config = TaskConfig(name="xquad", data_dir=tmp_path)
    (line,) = refusal(config, "test")
    assert "xquad/validation.{language}.* or **/xquad.{language}.json; there are README.md" in line
    (line,) = refusal(own_task(tmp_path, {**CLASSES, "layouts": [{"files": "a.{language}.json"}]}), "test")
    assert "layouts[0].files: must be a path with {split} and {language} in it" in line


def test_questions_without_an_answer_are_refused_or_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    impossible = {"id": "n", "question": "n", "answers": [], "is_impossible": True}
    tree(tmp_path, {"test.en.json": squad(asked("a"), impossible, impossible), "test.sw.json": squad(asked("b"))})
    (line,) = refusal(own_task(tmp_path, {"shape": "span"}), "test")
    assert line.startswith(
        f"{tmp_path}/test.en.json:data[0].paragraphs[0].qas[1]: has no answer, as questions of SQuAD"
    )
    assert "`unanswerable: drop` leaves them out" in line
    with caplog.at_level(logging.WARNING):
        rows = texts(own_task(tmp_path, {"shape": "span", "unanswerable": "drop"}), column="question")
    assert rows == {"en": ["a"], "sw": ["b"]}
    assert [record.getMessage() for record in caplog.records] == [
        "own, test in en: 2 questions without an answer were left out"
    ]


def test_paragraphs_of_squads_form_with_sentences_are_lareqas(tmp_path: Path) -> None:
    paragraph = {"context": "He came. She left.", "sentence_breaks": [[0, 8], [9, 18]]}
    paragraph["qas"] = [{"id": "1", "question": "Who?", "answers": [{"text": "He", "answer_start": 0}]}]
    tree(tmp_path, {f"test.{c}.json": json.dumps({"data": [{"paragraphs": [paragraph]}]}) for c in ("en", "de")})
    options = {"rows": "paragraphs", "score": "map_at_20"}
    config = own_task(tmp_path, {"shape": "retrieval", "options": options, "splits": {"test": [{"split": "test"}]}})
    assert set(load_task(config, ("test",)).rows["test"]) == {"en", "de"}


def test_files_whose_lines_belong_together(tmp_path: Path) -> None:
    tree(tmp_path, {f"tatoeba.{c}-eng.{e}": f"{e} 1\r\n{e} 2" for c in ("afr", "swh") for e in (c, "eng")})
    tree(tmp_path, {"newstest-ref.afr.txt": "x\ny\n", "newstest-src.eng.txt": "1\n2\n"})
    about = {"shape": "retrieval", "splits": {"train": [], "validation": [], "test": [{"split": "test"}]}}
    about["splits"]["test"][0]["languages"] = "targets"  # type: ignore[index]
    pair = {"query": "tatoeba.{language}-eng.{language}", "candidate": "tatoeba.{language}-eng.eng"}
    found = texts(own_task(tmp_path, {**about, "files": pair}), column="queries")
    assert {code: [q[0]["text"] for q in queries] for code, queries in found.items()} == {
        "af": ["afr 1", "afr 2"],
        "sw": ["swh 1", "swh 2"],
    }
    shared = own_task(tmp_path, {**about, "files": {"query": "*-ref.{language}.txt", "candidate": "*-src.eng.txt"}})
    (rows,) = texts(shared, column="candidates").values()
    assert [candidates[0]["text"] for candidates in rows] == ["1", "2"]
    (tmp_path / "tatoeba.swh-eng.eng").unlink()
    (line,) = refusal(own_task(tmp_path, {**about, "files": pair}), "test")
    assert line.endswith("tatoeba.swh-eng.eng: must be one file, whose lines belong to tatoeba.swh-eng.swh (got 0)")


def test_texts_of_several_columns_are_joined(tmp_path: Path) -> None:
    about = {"shape": "classification", "labels": ["Bad", "Good"], "files": "xglue.qadsm.{language}.{split}"}
    about["header"] = ["query", "ad_title", "ad_description", "relevance_label"]
    about["columns"] = {"text": "query", "text_pair": ["ad_title", "ad_description"], "label": "relevance_label"}
    tree(tmp_path, {"xglue.qadsm.en.test": "q\tt\td\tGood\nq\tt\t\tBad\n", "xglue.qadsm.de.test": "q\tt\td\tGood\n"})
    config = own_task(tmp_path, about)
    assert texts(config, column="text_pair") == {"en": ["t d", "t"], "de": ["t d"]}
    about["columns"] = {**about["columns"], "text_pair": ["ad_title", "ad_text"]}
    assert "must have a column 'ad_text', did you mean 'ad_title'?" in refusal(own_task(tmp_path, about), "test")[0]


def test_ones_own_files_and_the_hub_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    xnli = catalogue()["xnli"]
    hub = Hub(id=hub_like(tmp_path / "repo"), config="{language}")
    monkeypatch.setattr(
        "trainables.tasks.plan.catalogue", lambda: {**catalogue(), "xnli": xnli.model_copy(update={"hub": hub})}
    )
    splits = {"train": [{"task": "xnli", "split": "train", "languages": "source"}], "test": [{"split": "test"}]}
    about = {"shape": "classification", "labels": list(xnli.labels), "columns": dict(xnli.columns), "splits": splits}
    own = {"premise": "p", "hypothesis": "h", "label": 0}
    for code in ("en", "yo"):
        write(tmp_path / "mine", f"test.{code}.jsonl", [own])
    config = own_task(tmp_path / "own", about).model_copy(update={"data_dir": tmp_path / "mine"})
    assert texts(config, "train") == {"en": ["a", "b"]} and texts(config) == {"en": ["p"], "yo": ["p"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"files": []}, "files: must name files"),
        ({"encoding": "utf-16"}, "encoding: must be one that keeps ASCII"),
        ({"encoding": "no-such"}, "encoding: must be one that keeps ASCII"),
        ({"header": ["a", "a"]}, "header: must be different"),
        ({"files": ["{split}.{language}.*", "{split}.*"]}, "without {language} where"),
        ({"format": "xlsx"}, "format: must be 'jsonl', 'json'"),
        ({"language_column": "l", "languages": ["en"]}, "language_column: is for files of several languages"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refusal(own_task(tmp_path, {**WEATHER, **changes}))[0]


def test_malformed_rows_of_several_files_come_at_once_but_not_all(tmp_path: Path) -> None:
    for code in ("bg", "de", "el", "en", "es", "fr", "sw"):
        tree(tmp_path, {f"test.{code}.tsv": "text\tlabel\n" + "a\n" * 9})
    named = [line.split(":")[0].split(".")[-2] for line in refusal(own_task(tmp_path, CLASSES), "test")]
    assert named == [code for code in ("bg", "de", "el", "en", "es") for _ in range(5)]
