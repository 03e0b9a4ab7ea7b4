"""A task's file proposed for a folder: it loads, and says what the folder says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.planning import placing, proposal
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.plan import SPLITS, Plan
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


@pytest.mark.parametrize("pair", ["en-de", "de-en", "sw-fr", "fr-sw", "yo-ht", "ht-yo"])
def test_of_two_languages_in_a_name_the_first_is_meant_whatever_order_a_set_has(pair: str, tmp_path: Path) -> None:
    found = placing.place(tree(tmp_path, f"train.{pair}.tsv", f"test.{pair}.tsv", content="a\tb\n"), lambda path: "")
    assert found.patterns == (f"{{split}}.{{language}}-{pair[3:]}.*",) and found.source == pair[:2]


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


TABLE, DEV = "text\tlabel\na b\tyes\nc d\tno\n", {"validation": [{"split": "dev"}]}


@pytest.mark.parametrize(
    ("names", "proposed", "left"),
    [
        (["train.tsv", "dev.tsv", "test.tsv", "sw/test.tsv"], {"language": "en", "splits": DEV}, []),
        (["train.tsv", "dev.tsv", "test.sw.tsv", "test.yo.tsv"],
         {"files": ["{split}.{language}.*", "{split}.tsv"], "language": "en", "splits": DEV}, []),
        (["multinli.train.en.tsv", "en.dev", "sw.dev", "sw.test"], {"splits": DEV}, []),
        (["train.sw.tsv", "test.sw.tsv", "test.yo.tsv"], {"splits": {"validation": []}}, []),
        (["train.en.tsv", "dev.sw.tsv"],
         {"splits": {"validation": [{"split": "dev", "languages": "targets"}], "test": []}}, []),
        (["train.en.tsv", "dev.en.tsv", "test.en.tsv"], {"languages": ["en"]}, []),
        (["train.en.tsv", "dev.en.tsv", "validation.sw.tsv"],
         {"splits": {"validation": [{"split": "dev"}, {"split": "validation"}], "test": []}}, []),
        (["en/train.tsv", "en/test.tsv", "sw/test.tsv", "notes/test.tsv"], {"languages": ["en", "sw"]},
         ["notes/test.tsv"]),
        (["en/train.tsv", "en/test.tsv", "sw/test.tsv", "test.tsv", "all.tsv"], {"files": "{language}/{split}.*"},
         ["all.tsv", "test.tsv"]),
        (["train.en.tsv.gz", "test.sw.tsv.gz", "dev.tsv.gz"], {"language": "en"}, []),
    ],
)  # fmt: skip
def test_what_is_written_loads_and_says_what_it_leaves_out(
    names: list[str], proposed: dict[str, Any], left: list[str], tmp_path: Path
) -> None:
    folder = tree(tmp_path / "data", *names, content=TABLE)
    for path in (path for path in folder.rglob("*.gz")):
        path.write_bytes(gzip.compress(TABLE.encode()))
    source, told = proposal.write(folder, tmp_path / "own.yaml")
    text = (tmp_path / "own.yaml").read_text()
    said = yaml.safe_load(text)
    assert sorted(told) == left and all(name in text for name in left)
    if "files" in proposed:
        said["files"] = [f.removeprefix("data/") for f in said["files"]] if isinstance(said["files"], list) else (
            said["files"].removeprefix("data/"))  # fmt: skip
    assert {key: said[key] for key in proposed} == proposed
    plan = Plan.of(TaskConfig(name=str(tmp_path / "own.yaml"), source_language=source))
    task = load_task(plan.config, [split for split in SPLITS if plan.parts(split)])
    assert sum(len(rows) for found in task.rows.values() for rows in found.values()) == 2 * (len(names) - len(left))


def test_a_rare_label_is_proposed_and_what_cannot_load_leaves_no_file(tmp_path: Path) -> None:
    many = "text\tlabel\n" + "a\tyes\nb\tno\n" * 1500 + "c\trare\n"
    folder = tree(tmp_path / "data", "train.en.tsv", "test.sw.tsv", content=many)
    assert proposal.propose(folder)["labels"] == ["no", "rare", "yes"]
    tree(folder, "test.swh.tsv", content=TABLE)
    with pytest.raises(UserError, match=r"what .* says does not load: .*a second file of test in 'sw'"):
        proposal.write(folder, tmp_path / "own.yaml")
    assert not (tmp_path / "own.yaml").exists()
