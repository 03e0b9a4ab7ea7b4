"""Heads from files to batches: CoNLL-U, columns of other formats, words and pieces, and rows that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainables.tiny import characters
from trainables.batch import NO_TREE, Encoded
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.scoring.stream import join
from trainables.tasks.base import collate
from trainables.tasks.classification import Classification
from trainables.tasks.heads import heads_in, parsed
from trainables.tasks.tagging import Tagging
from trainables.tasks.task import Task, load_task

WORD = "{}\t{}\t_\t{}\t_\t_\t{}\t_\t_\t_\n"
SENTENCE = WORD.format(1, "ab", "DET", 2) + WORD.format(2, "c", "NOUN", 0) + "\n"
FUSED = (
    "1-2\tdel\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + WORD.format(1, "de", "ADP", 3) + WORD.format(2, "el", "DET", 3) + WORD.format(3, "sol", "NOUN", 4)
    + WORD.format(4, "va", "VERB", 0) + "\n"
)  # fmt: skip
TAGS = Tagging(("ADP", "DET", "NOUN", "VERB"))
PAIRS = Classification(("no", "yes"), pair=True)


def written(folder: Path, definition: dict[str, Any], files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "task.yaml").write_text(json.dumps(definition), encoding="utf-8")
    return str(folder / "task.yaml")


def tagged(folder: Path, *sentences: str, options: dict[str, str] | None = None, **config: Any) -> Task:
    definition = {
        "shape": "tagging", "labels": list(TAGS.labels), "languages": ["en"], "options": options or {},
    }  # fmt: skip
    text = "".join(sentences)
    name = written(folder, definition, {f"{split}.en.conllu": text for split in ("train", "validation", "test")})
    return load_task(TaskConfig(name=name, target_languages=(), **config), ("train",), heads=True)


def test_conllu_has_gold_heads_and_nobody_sees_them_unasked(tmp_path: Path) -> None:
    task = tagged(tmp_path, SENTENCE)
    assert task.rows["train"]["en"] == [{"tokens": ["ab", "c"], "tags": [1, 2], "heads": [2, 0], "parsed": "gold"}]
    config = TaskConfig(name=str(tmp_path / "task.yaml"), target_languages=())
    unasked = load_task(config, ("train",))
    assert unasked.rows["train"]["en"] == [{"tokens": ["ab", "c"], "tags": [1, 2]}]
    assert unasked.fingerprint == task.fingerprint
    assert parsed(task.rows["train"]["en"], TAGS) == ("gold", 1)
    assert parsed(unasked.rows["train"]["en"], TAGS) == ("none", 0)


def test_a_parsers_conllu_is_called_so_by_the_task(tmp_path: Path) -> None:
    task = tagged(tmp_path, SENTENCE, options={"parsed": "predicted"})
    assert parsed(task.rows["train"]["en"], TAGS) == ("predicted", 1)
    with pytest.raises(UserError, match="parsed must be gold or predicted"):
        tagged(tmp_path, SENTENCE, options={"parsed": "silver"})


def test_fused_words_hang_on_fused_words(tmp_path: Path) -> None:
    (row,) = tagged(tmp_path, FUSED, words="fused").rows["train"]["en"]
    assert (row["tokens"], row["heads"]) == (["del", "sol", "va"], [2, 3, 0])


def test_malformed_heads_are_one_line_with_file_and_row(tmp_path: Path) -> None:
    circle = WORD.format(1, "a", "DET", 2) + WORD.format(2, "b", "NOUN", 1) + "\n"
    far = WORD.format(1, "a", "NOUN", 5) + "\n"
    with pytest.raises(UserError) as caught:
        tagged(tmp_path, SENTENCE, circle, far)
    assert caught.value.lines == [
        f"{tmp_path / 'train.en.conllu'}:4: heads must be a tree, without circles (got one through word 1)",
        f"{tmp_path / 'train.en.conllu'}:7: heads must be numbers from 0 (the root) to 1 (got 5)",
    ]


def test_a_pair_takes_a_column_for_each_text_and_is_predicted(tmp_path: Path) -> None:
    rows = [
        {"a": "ab c", "b": "d", "label": "yes", "ha": [2, 0], "heads_pair": "0"},
        {"a": "ab c", "b": "d", "label": "no", "ha": [2, 0]},
    ]
    definition = {
        "shape": "classification", "labels": ["no", "yes"], "languages": ["en"],
        "columns": {"text": "a", "text_pair": "b", "heads": "ha"},
    }  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    name = written(tmp_path, definition, {"train.en.jsonl": lines, "validation.en.jsonl": lines})
    found = load_task(TaskConfig(name=name, target_languages=()), ("train",), heads=True).rows["train"]["en"]
    assert heads_in(found[0], PAIRS) == [[2, 0], [0]] and heads_in(found[1], PAIRS) is None
    assert parsed(found, PAIRS) == ("predicted", 1)


def test_tokens_of_a_pair_hang_as_their_words_do() -> None:
    row = {"text": " ab c", "text_pair": "d", "label": 1, "heads": [2, 0], "heads_pair": [0], "parsed": "gold"}
    bare = {"text": "ab", "text_pair": "d", "label": 1}
    encoded = PAIRS.encode([row, bare], characters(), 32)
    # <s> ▁ (of a leading blank) ▁ a b ▁ c </s> </s> ▁ d </s>, however many tokens blanks make
    tokens = characters().convert_ids_to_tokens(encoded.sequence(0).tolist())
    tree = encoded.tree(0)
    c = [k for k, token in enumerate(tokens) if token == "▁"][-2]
    assert tokens[c + 1] == "c" and tree[c] == 0 and tree[c + 1] == c
    assert tree[1] == c and all(tree[k] == 1 for k in range(2, c))
    d = tokens.index("d")
    assert tree[d - 1] == d - 2 and tree[d] == d - 1 and tree[-1] == 0
    assert (encoded.tree(1) == NO_TREE).all()


def test_augmented_texts_of_another_length_have_no_tree() -> None:
    row = {"text": "ab c x", "text_pair": "d", "label": 1, "heads": [2, 0], "heads_pair": [0], "parsed": "gold"}
    assert PAIRS.encode([row], characters(), 32).parents is None


def test_long_sentences_hang_in_each_of_their_items() -> None:
    row = {"tokens": ["ab", "cd", "ef"], "tags": [0, 1, 2], "heads": [3, 1, 0], "parsed": "gold"}
    encoded = TAGS.encode([row], characters(), 8)
    assert len(encoded) == 2
    assert encoded.tree(0).tolist() == [0, 0, 1, 1, 1, 4, 4, 0]
    assert encoded.tree(1).tolist() == [0, 0, 1, 1, 0]
    part = TAGS.part(row, encoded, 1)
    assert part is not None and part["heads"] == [0] and TAGS.encode([part], characters(), 8).parents is not None


def test_trees_go_into_batches_and_a_bare_row_beside_them_is_apart() -> None:
    row = {"tokens": ["a", "b"], "tags": [0, 1], "heads": [2, 0], "parsed": "gold"}
    known, bare = (TAGS.encode([each], characters(), 16) for each in (row, {"tokens": ["a"], "tags": [0]}))
    assert bare.parents is None and (bare.with_trees().parents == NO_TREE).all()
    joined = join([(bare, 0), (known, 0)], 1)
    batch = collate(TAGS, joined, [0, 1], 1)
    assert batch.paths is not None and batch.layout.paths is batch.paths
    assert (batch.paths.depths[0] == 255).all() and batch.paths.depths[1].tolist() == [0, 2, 3, 1, 2, 1]
    assert batch.paths.between[1, 0].tolist() == [0, 2, 3, 1, 2, 1]
    moved = batch.to(batch.input_ids.device)
    assert moved.layout.paths is not None and moved.paths is moved.layout.paths
    assert collate(TAGS, bare, [0], 1).paths is None


def test_picked_items_keep_their_trees() -> None:
    rows = [{"tokens": ["a", "b"], "tags": [0, 1], "heads": heads, "parsed": "gold"} for heads in ([2, 0], [0, 1])]
    encoded: Encoded = TAGS.encode(rows, characters(), 16)
    picked = encoded.pick([1], 1)
    assert picked.parents is not None and np.array_equal(picked.parents, encoded.tree(1))
