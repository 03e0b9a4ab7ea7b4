"""Mewsli-X: mentions with their candidates out of its files, and the search among those of all languages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables import texts
from trainables.batch import Encoded
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.materials.materials import Materials
from trainables.scoring.evaluation import score
from trainables.scoring.search import rankings
from trainables.scoring.sequences import sequences
from trainables.scoring.stream import planned
from trainables.tasks.definition import complete
from trainables.tasks.formats.mewslix import ENTITIES, read
from trainables.tasks.formats.reading import Reading
from trainables.tasks.formats.source import Source
from trainables.tasks.task import load_task, task_key

DESCRIBED = {"Q1": "en", "Q2": "fi", "Q3": "en", "Q4": "tr", "Q5": "fi", "Q6": "en", "Q7": "de"}
TEXT = "Rais alifika. Jiji la Lima {ni} kubwa."


def mention(name: str, entity: str, start: int, text: str) -> dict[str, Any]:
    """As google-research's scripts write it."""
    span = {"start": start, "end": start + len(text), "text": text}
    return {"example_id": name, "mention_span": span, "entity_id": entity, "metadata": {"bin_name": "bin04_1000-inf"}}


def context(language: str) -> dict[str, Any]:
    """An article."""
    return {
        "document_title": "t",
        "document_url": "u",
        "document_id": f"{language}-9",
        "language": language,
        "text": TEXT,
        "sentence_spans": [{"start": 0, "end": 13}, {"start": 14, "end": 38}],
    }


def entity(name: str) -> dict[str, Any]:
    """One of the candidates."""
    return {
        "entity_id": name,
        "title": name,
        "description": f"A  thing.\nNumber {name[1:]}. More.",
        "description_language": DESCRIBED[name],
        "description_url": "u",
        "sentence_spans": [{"start": 0, "end": 9}, {"start": 10, "end": 19}],
    }


def put(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The files in miniature: two mentions in Turkish, one in English."""
    folder = tmp_path / "mewslix"
    folder.mkdir()
    turkish = [mention("m1", "Q2", 22, "Lima"), mention("m2", "Q1", 0, "Rais")]
    english = [mention("m3", "Q4", 22, "Lima")]
    documents = [{"context": context("tr"), "mentions": turkish}, {"context": context("en"), "mentions": english}]
    put(folder / "wikinews_mentions-test.jsonl", documents)
    put(folder / ENTITIES, [entity(name) for name in DESCRIBED])
    for split, names in (("train", ("Q6", "Q3", "Q6")), ("dev", ("Q1", "Q3", "Q1"))):
        pairs = [
            {
                "contextual_mention": {"context": context("en"), "mention": mention(f"w{i}", name, 22, "Lima")},
                "entity": entity(name),
            }
            for i, name in enumerate(names)
        ]
        put(folder / f"wikipedia_pairs-{split}.jsonl", pairs)
    return tmp_path


def config(folder: Path, *targets: str) -> TaskConfig:
    return TaskConfig(name="mewslix", data_dir=folder, target_languages=targets or ("tr",))


def materials(folder: Path, tokenizer: Any) -> Materials:
    """Tokenised; nothing is trained here."""
    task = load_task(config(folder), ("test",))
    rows = task.rows["test"]
    encoded = {code: task.shape.encode(own, tokenizer, 64) for code, own in rows.items()}
    return replace(texts.write(task.shape, {"en": []}, {}), evaluation={"test": encoded}, rows={"test": rows})


def test_mentions_come_with_the_candidates_of_their_language_and_what_is_meant(published: Path) -> None:
    """German entities are none, where German is not evaluated, and Finnish ones only where they are meant."""
    task = load_task(config(published), ("train", "validation", "test"))
    turkish, english = task.rows["test"]["tr"], task.rows["test"]["en"]
    assert [row["queries"] for row in turkish] == [
        [{"text": "Lima: Jiji la { Lima } (ni) kubwa.", "targets": ["Q2"]}],
        [{"text": "Rais: { Rais } alifika.", "targets": ["Q1"]}],
    ]
    assert [[each["id"] for each in row["candidates"]] for row in turkish] == [["Q2", "Q4"], ["Q1"]]
    assert [[each["id"] for each in row["candidates"]] for row in english] == [["Q4", "Q1", "Q3", "Q6"]]
    assert turkish[0]["candidates"][0]["text"] == "A thing. Number 2."
    assert [row["queries"][0]["targets"] for row in task.rows["validation"]["en"]] == [["Q1"], ["Q3"], ["Q1"]]
    trained = task.rows["train"]["en"]
    assert trained[0]["candidates"] == trained[2]["candidates"] != trained[1]["candidates"]
    assert "candidates of the evaluated languages only" in complete(config(published)).title


def test_every_language_searches_the_candidates_of_all(published: Path, tokenizer: Any) -> None:
    found = materials(published, tokenizer)
    plan = planned(found, "test", None, 1024)
    own = sequences(found, "test", plan.items, 1024)
    names = ["Q1", "Q2", "Q3", "Q4", "Q6"]
    assert len(own) == len(names) + 2, "two mentions are equal"
    # The three mentions lie on the first candidate's vector, the candidates at growing angles.
    vectors = np.tile(np.asarray([[1.0, 0.0]], np.float32), (len(own), 1))
    for code, encoded in found.evaluation["test"].items():
        for item, number in zip(plan.items[code], own.numbers[code][:, 1], strict=True):
            if number >= 0:
                rows = found.rows["test"][code]
                name = rows[encoded.rows[item]]["candidates"][encoded.item_labels(item)[1]]["id"]
                angle = 0.1 * names.index(name)
                vectors[number] = [np.cos(angle), np.sin(angle)]
    answers = rankings(found, "test", plan.items, own, vectors)
    for code in ("en", "tr"):
        assert [each for each in answers[code] if each is not None] == [names] * (1 if code == "en" else 2)
    scores = score(found, "test", plan, answers)["map_at_20"]
    assert dict(scores.values) == {"en": pytest.approx(1 / 4), "tr": pytest.approx((1 / 2 + 1) / 2)}
    assert dict(scores.counts) == {"en": 1, "tr": 2}


def test_fewer_examples_have_fewer_candidates_but_always_what_is_meant(published: Path, tokenizer: Any) -> None:
    found = materials(published, tokenizer)
    plan = planned(found, "test", 1, 1024)
    encoded: Encoded = found.evaluation["test"]["tr"]
    (row,) = {int(encoded.rows[item]) for item in plan.items["tr"]}
    mine = found.rows["test"]["tr"][row]
    assert len(plan.items["tr"]) < len(encoded)
    assert mine["queries"][0]["targets"][0] in {each["id"] for each in mine["candidates"]}


def test_other_entities_are_other_data(published: Path) -> None:
    before = task_key(config(published))
    put(published / "mewslix" / ENTITIES, [entity(name) for name in list(DESCRIBED)[:5]])
    assert task_key(config(published)) != before


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("wikinews_mentions-test.jsonl", '"text": "Lima"', '"text": "Roma"', r"test.jsonl:1: a mention must stand in"),
        ("wikinews_mentions-test.jsonl", TEXT, "", r"test.jsonl:1: must have the article's text"),
        ("wikinews_mentions-test.jsonl", '"context"', '"article"', r"test.jsonl:1: must have the fields of Mewsli-X"),
        ("wikinews_mentions-test.jsonl", "Q2", "Q99", r'test.jsonl:1: the entity must be in cand.*got "Q99"'),
        (ENTITIES, '"sentence_spans"', '"spans"', r"entities.jsonl:\d: must have the fields"),
        ("wikipedia_pairs-dev.jsonl", '"entity_id": "Q3", "title"', '"entity_id": "Q9", "title"', "of its entity"),
    ],
)
def test_what_is_malformed_is_named(published: Path, file: str, old: str, new: str, message: str) -> None:
    path = published / "mewslix" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        load_task(config(published), ("validation", "test"))


def test_what_is_malformed_in_one_language_is_no_fault_of_others(published: Path) -> None:
    path = published / "mewslix" / "wikinews_mentions-test.jsonl"
    turkish, english = path.read_text().splitlines()
    path.write_text("\n".join([turkish.replace('"Lima"', '"Roma"'), english]))
    rows = [row for _, row in read(Source(path), Reading(language="en"))]
    assert [row["entity"] for row in rows] == ["Q4"]


def test_entities_are_needed_beside_mentions(published: Path) -> None:
    (published / "mewslix" / ENTITIES).unlink()
    with pytest.raises(UserError, match=f"{ENTITIES}: is needed beside wikinews_mentions-test.jsonl"):
        load_task(config(published), ("test",))
