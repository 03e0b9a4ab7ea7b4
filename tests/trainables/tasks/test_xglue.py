"""XGLUE: its published scores out of its published predictions, read and scored as the product does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables import tarball, tiny
from trainables.__main__ import main
from trainables.batch import Encoded
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.chunks import ChunkCounts, after_hyphen, count_chunks
from trainables.tasks.definition import catalogue
from trainables.tasks.plan import Plan
from trainables.tasks.tagging import Tagging
from trainables.tasks.task import load_task

Fixture = Mapping[str, Any]

SPLITS = {"dev": "validation", "test": "test"}
TASKS = {"ner": "xglue_ner", "pos": "xglue_pos"}
"""Name of a task there, where ours has another."""

PUBLISHED = {
    "test": {
        "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh",
        "pos": "bg de el en es fr hi it nl pl pt ru th tr ur vi zh",
        "ner": "de en es nl",
        "pawsx": "de",
        "qadsm": "de",
        "qam": "de",
    },
    "dev": {
        "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh",
        "mlqa": "ar de en es hi vi zh",
        "pawsx": "de en es fr",
    },
}
GROUPS = [(task, split) for split, tasks in PUBLISHED.items() for task in tasks]


def items(rows: Sequence[int], labels: Sequence[Sequence[int]] | None = None) -> Encoded:
    """Items of these rows: all that scores read of them."""
    none = np.zeros(0, np.int64)
    own = labels or [()] * len(rows)
    return Encoded(
        ids=none.astype(np.int32),
        special=none.astype(np.bool_),
        offsets=none,
        labels=np.asarray([label for each in own for label in each], dtype=np.int64),
        label_offsets=np.cumsum([0, *map(len, own)]),
        rows=np.asarray(rows, dtype=np.int64),
    )


def tagged(fixture: Fixture) -> str:
    """As the tarball has it: a word and its tag, a blank line after each sentence."""
    names = fixture["labels"]
    return "\n".join("".join(f"w {names[tag]}\n" for tag in sentence) for sentence in fixture["gold"])


def asked(fixture: Fixture) -> str:
    """Questions whose contexts hold the answer that was given, and after it the right ones."""
    lines = []
    for answer, golds in zip(fixture["pred"], fixture["gold"], strict=True):
        context, starts = answer, []
        for gold in golds:
            starts.append(len(context) + 1)
            context += f" {gold}"
        lines.append({"question": "q", "context": context, "answers": {"text": golds, "answer_start": starts}})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def pairs(first: str, second: str) -> Callable[[Fixture], str]:
    def lines(fixture: Fixture) -> str:
        gold = (fixture["labels"][number] for number in fixture["gold"])
        rows = ({first: "a", second: "b", "label": label, "id": i} for i, label in enumerate(gold))
        return "".join(json.dumps(row) + "\n" for row in rows)

    return lines


def cells(texts: str) -> Callable[[Fixture], str]:
    return lambda fixture: "".join(f"{texts}\t{fixture['labels'][gold]}\n" for gold in fixture["gold"])


FILES: dict[str, tuple[str, Callable[[Fixture], str]]] = {
    "ner": ("NER/{language}.{split}", tagged),
    "pos": ("POS/{language}.{split}", tagged),
    "qadsm": ("QADSM/xglue.qadsm.{language}.{split}", cells("query\ttitle\tdescription")),
    "qam": ("QAM/xglue.qam.{language}.{split}", cells("question\tanswer")),
    "xnli": ("xnli/{own}.{language}.jsonl", pairs("premise", "hypothesis")),
    "pawsx": ("pawsx/{own}.{language}.jsonl", pairs("sentence1", "sentence2")),
    "mlqa": ("mlqa/{own}.{language}.jsonl", asked),
}
"""Where a task's rows lie (those of tasks that are XTREME's too as the hub has them), and what is in the file."""


def with_outside(shape: TaskShape) -> TaskShape:
    """The shape; of tagging with the tag O. A published answer may lack the last words, which then are O."""
    if not isinstance(shape, Tagging) or "O" in shape.labels:
        return shape
    return Tagging((*shape.labels, "O"), shape.metrics[0])


def predictions(shape: TaskShape, fixture: Fixture, rows: Sequence[Row]) -> tuple[Encoded, list[Any]]:
    """The published answers in the form in which the shape gives its own."""
    numbers, given = list(range(len(rows))), fixture["pred"]
    if fixture["task"] == "mlqa":
        one_token = [(0, 0, 0, 1, 0, len(answer)) for answer in given]
        return items(numbers, one_token), [[0.0, 0, 0]] * len(rows)
    names = ["False", "True"] if fixture["task"] == "qam" else fixture["labels"]
    own = [shape.labels.index(name) for name in names]
    if not isinstance(shape, Tagging):
        return items(numbers), [own[answer] for answer in given]
    outside = shape.labels.index("O")
    padded = [
        [own[tag] for tag in tags] + [outside] * (len(row["tags"]) - len(tags))
        for tags, row in zip(given, rows, strict=True)
    ]
    return items(numbers), padded


@pytest.mark.parametrize(("task", "split"), GROUPS)
def test_every_published_score_comes_out_of_its_predictions(
    task: str, split: str, shared_data: Path, tmp_path: Path
) -> None:
    languages = PUBLISHED[split][task].split()
    fixtures = {k: json.loads((shared_data / f"xglue/fixtures/{task}.{k}.{split}.json").read_text()) for k in languages}
    pattern, content = FILES[task]
    for language, fixture in fixtures.items():
        path = tmp_path / pattern.format(language=language, split=split, own=SPLITS[split])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(fixture), encoding="utf-8")
    source = "en" if "en" in languages else languages[0]
    own = {"data_dir": str(tmp_path), "source_language": source, "target_languages": sorted({*languages} - {source})}
    loaded = load_task(validate(TaskConfig, {"name": TASKS.get(task, task), **own}), (SPLITS[split],))
    shape = with_outside(loaded.shape)
    for language, fixture in fixtures.items():
        rows = loaded.rows[SPLITS[split]][language]
        scores = shape.score(rows, *predictions(shape, fixture, rows), language)
        assert scores[shape.metrics[0]] == (pytest.approx(fixture["published"], abs=1e-6), len(rows)), language
        if "token_accuracy" in fixture:
            assert scores["token_accuracy"][0] == pytest.approx(fixture["token_accuracy"], abs=1e-6), language


def test_no_published_score_is_left_out(shared_data: Path) -> None:
    there = {path.stem for path in (shared_data / "xglue" / "fixtures").glob("*.json")}
    named = {f"{task}.{code}.{split}" for task, split in GROUPS for code in PUBLISHED[split][task].split()}
    assert named == there and len(there) == 65


# Chunk precision


UPOS = catalogue()["xglue_pos"].labels
SENTENCES = st.lists(st.lists(st.tuples(*[st.sampled_from([*UPOS, "O"])] * 2), min_size=1, max_size=8), min_size=1)


def plain_chunks(sentences: Sequence[Sequence[str]]) -> set[tuple[str, int, int]]:
    """The rule in words: the first letter is the place in a chunk, the whole tag is its type."""
    tags = [tag for sentence in sentences for tag in (*sentence, "O")]
    found, begin = set(), 0
    for i, (before, tag) in enumerate(zip(["O", *tags], tags, strict=False)):
        p, t = before[0], tag[0]
        changed = before != tag
        if p in "ES" or (p in "BI" and t in "BSO") or (p not in "O." and changed):
            found.add((before, begin, i - 1))
        if t in "BS" or (p in "ESO" and t in "EI") or (t not in "O." and changed):
            begin = i
    return found


@settings(max_examples=60, deadline=None)
@given(SENTENCES)
def test_chunk_precision_by_the_rule_in_words(sentences: list[list[tuple[str, str]]]) -> None:
    gold = [[a for a, _ in sentence] for sentence in sentences]
    predicted = [[b for _, b in sentence] for sentence in sentences]
    total = sum(count_chunks(gold, predicted, after_hyphen), ChunkCounts())
    right, all_of_them = len(plain_chunks(gold) & plain_chunks(predicted)), len(plain_chunks(predicted))
    assert (total.right, total.predicted) == (right, all_of_them)
    assert total.precision == (right / all_of_them if all_of_them else 0.0)


def test_conjunctions_are_two_types_before_seqeval_1_and_symbols_stand_alone() -> None:
    gold, predicted = [["CCONJ", "NOUN", "SYM", "SYM"]], [["SCONJ", "NOUN", "SYM", "SYM"]]
    (before,) = count_chunks(gold, predicted, after_hyphen)
    (since,) = count_chunks(gold, predicted)
    assert (before.right, before.predicted, since.right) == (3, 4, 4)
    with pytest.raises(UserError, match=r"options\.score: must be f1 or chunk_precision"):
        Tagging(("a", "b"), "precision")


def test_a_sentence_weighs_as_many_chunks_as_are_predicted() -> None:
    rows = [{"tags": [7, 7, 15]}, {"tags": [7, 15]}]
    found = Tagging(UPOS, "chunk_precision").row_scores(rows, items([0, 1]), [[7, 15, 15], [7, 15]], "en")
    assert found == {0: (0.0, 2), 1: (1.0, 2)}


# The tasks


@pytest.mark.parametrize("name", tarball.TASKS)
def test_an_entry_says_where_it_is_from_and_what_it_was_held_against(name: str) -> None:
    task = catalogue()[name]
    assert task.licence.startswith("non-commercial research") and "XGLUE" in task.citation
    assert task.checked == ("files" if name in ("nc", "qadsm", "qam") else "never")
    plan = Plan.of(TaskConfig(name=name))
    assert plan.shape.metrics[0] in ("f1", "chunk_precision", "accuracy", "ndcg")
    with pytest.raises(UserError, match=r"the hub has .* as a loading script .*, which is never run; name a folder"):
        plan.read("test")


@pytest.mark.parametrize(("name", "rows", "columns"), [("nc", 60, 3), ("qadsm", 300, 4), ("qam", 300, 3)])
@pytest.mark.parametrize("folder", [".", "upper"])
def test_real_files_are_read_as_they_are(name: str, rows: int, columns: int, folder: str, shared_data: Path) -> None:
    """In the tarball's folders, or one's own; quotes are text, and no row is lost."""
    path = shared_data / "xglue" / "samples" / (name.upper() if folder == "upper" else ".")
    config = TaskConfig(name=name, data_dir=path, source_language="de", target_languages=())
    read = load_task(config, ("validation",)).rows["validation"]["de"]
    file = shared_data / "xglue" / "samples" / name.upper() / f"xglue.{name}.de.dev"
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[:-1]]
    assert len(read) == rows and {len(cells) for cells in lines} == {columns}
    assert [(row["text"], row["text_pair"]) for row in read] == [
        (first, " ".join(text for text in others if text)) for first, *others, _ in lines
    ]
    named = {"0": "False", "1": "True"} if name == "qam" else {}
    labels = catalogue()[name].labels
    assert [labels[row["label"]] for row in read] == [named.get(cells[-1], cells[-1]) for cells in lines]


@pytest.mark.parametrize("name", tarball.TASKS)
def test_each_is_trained_and_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    tarball.write(tmp_path)
    config = {
        "task": {"name": name, "data_dir": str(tmp_path), "max_length": 32},
        "encoder": {"name_or_path": str(tiny.write(tmp_path / "encoder", "xlm-roberta"))},
        "training": {"batch_size": 2, "budget": {"steps": 2}},
        "perturbation": {"method": "adversarial", "epsilon": 0.1},
    }
    if name == "wpr":
        config["evaluation"] = {"calibration": {}, "attack": {}, "noise": [{"kind": "character", "rate": [0.5]}]}
    (tmp_path / "trial.yaml").write_text(json.dumps(config))
    assert main([str(tmp_path / "trial.yaml"), "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    done = Evaluation.from_json(line)
    assert done.to_json() == line
    shape = Plan.of(TaskConfig(name=name)).shape
    assert tuple(done.scores)[: len(shape.metrics)] == shape.metrics
    languages = [code for code in ("de", "en", "es", "fr", "ru") if code in catalogue()[name].codes]
    assert list(done.primary.languages) == languages and set(done.primary.counts.values()) == {2}
    if name == "wpr":
        assert set(done.scores["accuracy"].counts.values()) == {5}
        assert {"attacked_ndcg", "noise_ndcg_expected_character_0.5", "brier"} <= set(done.scores)
