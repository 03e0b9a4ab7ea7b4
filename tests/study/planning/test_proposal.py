"""A task's file proposed for a folder: it loads, and says what the folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.planning import proposal
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.task import load_task

SENTENCES = "EU B-ORG\nrejects O\n\nLondon B-LOC\n\n"
PAIR = {"premise": "a", "hypothesis": "b"}
SQUAD = {"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": []}]}]}]}


def tree(folder: Path, *names: str, content: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def as_lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("names", "content", "proposed"),
    [
        (
            ["NER/en.train", "NER/en.dev", "NER/de.test"],
            SENTENCES,
            {"shape": "tagging", "files": "NER/{language}.{split}", "labels": ["O", "B-LOC", "B-ORG"]}
            | {"splits": {"validation": [{"split": "dev"}]}},
        ),
        (
            ["train.eng_Latn.tsv", "test.swh_Latn.tsv"],
            "category\theadline\turl\nsports\ta, b\thttp\nnews\tb c\thttp\n",
            {"shape": "classification", "files": "{split}.{language}.*", "labels": ["news", "sports"]}
            | {"columns": {"text": "headline", "label": "category"}, "splits": {"validation": []}},
        ),
        (
            ["en/train.json", "sw/test.json"],
            json.dumps([{**PAIR, "label": 1}, {**PAIR, "label": 0}]),
            {"shape": "classification", "files": "{language}/{split}.*", "labels": ["0", "1"]}
            | {"columns": {"text": "premise", "text_pair": "hypothesis"}, "splits": {"validation": []}},
        ),
        (
            ["en.train", "de.test"],
            "a query\ttitle\tbody\tGood\nother query\tt\tb\tBad\nthird\tu\tc\tBad\n",
            {"shape": "classification", "files": "{language}.{split}", "labels": ["Bad", "Good"]}
            | {"header": ["column1", "column2", "column3", "column4"], "splits": {"validation": []}}
            | {"columns": {"text": "column1", "label": "column4", "text_pair": ["column2", "column3"]}},
        ),
        (["train.en.json", "test.de.json"], json.dumps(SQUAD), {"shape": "span", "files": "{split}.{language}.*"}),
        (
            ["xquad.de.json", "xquad.en.json"],
            json.dumps(SQUAD),
            {"files": "xquad.{language}.*", "splits": {"train": [], "validation": []}},
        ),
        (
            ["en.valid.conll"],
            "# id = 1\n1\tOpen\tO\n2\tDoor\tB-it\n\n1\tGo\tO\n",
            {"columns": {"tokens": "column2"}, "labels": ["O", "B-it"]},
        ),
        (["test.de.jsonl"], as_lines({"source": "a", "target": "b"}), {"shape": "retrieval"}),
    ],
)
def test_what_a_folder_says(names: list[str], content: str, proposed: dict[str, Any], tmp_path: Path) -> None:
    found = proposal.propose(tree(tmp_path, *names, content=content))
    assert {key: found[key] for key in proposed} == proposed


def test_the_proposed_task_loads(tmp_path: Path) -> None:
    folder = tree(tmp_path / "data", "NER/en.train", "NER/de.test", "README.md", content=SENTENCES)
    proposal.write(folder, tmp_path / "ner.yaml")
    assert yaml.safe_load((tmp_path / "ner.yaml").read_text())["files"] == "data/NER/{language}.{split}"
    task = load_task(TaskConfig(name=str(tmp_path / "ner.yaml"), source_language="en"), ("train",))
    assert task.rows["train"]["en"][0]["tokens"] == ["EU", "rejects"]
    with pytest.raises(UserError, match="--write-yaml: is there already"):
        proposal.write(folder, tmp_path / "ner.yaml")


@pytest.mark.parametrize(
    ("names", "content", "words"),
    [
        (["train.jsonl"], "", "no file has a language's code in its name"),
        (["train.en.jsonl"], "", "has no rows to tell a task by"),
        (["train.en.jsonl"], as_lines({"id": 1}), "its columns tell no task, there are id"),
    ],
)
def test_what_says_nothing_is_refused(names: list[str], content: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        proposal.propose(tree(tmp_path, *names, content=content))
