"""Tagging: pieces and words, long sentences, and seqeval's scores to the last digit."""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.loading import validate
from trainables.tasks.base import IGNORED, collate
from trainables.tasks.chunks import ChunkCounts, count_chunks
from trainables.tasks.definition import catalogue, complete
from trainables.tasks.formats.reading import Reading, sound
from trainables.tasks.formats.registry import Piece, read_piece
from trainables.tasks.plan import Plan
from trainables.tasks.tagging import Tagging
from trainables.tasks.task import load_task, task_key

SHAPE = Tagging(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
UPOS = catalogue()["udpos"].labels


def scored(encoded: Any, row: int) -> list[int]:
    """Labels of a row's words, in order, over all its items."""
    items = [encoded.item_labels(j) for j in np.flatnonzero(encoded.rows == row)]
    return [int(label) for item in items for label in item if label != IGNORED]


def test_the_first_piece_stands_for_the_word(tokenizer: Any) -> None:
    rows = [{"tokens": ["ab", "c"], "tags": [1, 3]}]
    encoded = SHAPE.encode(rows, tokenizer, 32)
    assert tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == ["<s>", "▁", "a", "b", "▁", "c", "</s>"]
    assert encoded.labels.tolist() == [IGNORED, 1, IGNORED, IGNORED, 3, IGNORED, IGNORED]


def test_long_sentences_lose_no_word(tokenizer: Any) -> None:
    rows = [{"tokens": ["abcdefghij"[: 1 + k % 10] for k in range(30)], "tags": [k % 5 for k in range(30)]}, *ROWS]
    for max_length in (8, 9, 13, 200):
        encoded = SHAPE.encode(rows, tokenizer, max_length)
        assert np.diff(encoded.offsets).max() <= max_length
        assert len(encoded) > len(rows) or max_length == 200
        assert [scored(encoded, i) for i in range(len(rows))] == [row["tags"] for row in rows]
        assert encoded.rows.tolist() == sorted(encoded.rows.tolist())


ROWS = [{"tokens": ["a", "b"], "tags": [1, 2]}, {"tokens": ["c"], "tags": [4]}]


def test_words_of_which_nothing_is_left_are_scored_too() -> None:
    """BERT's tokenizers drop control characters, and with them a word that is nothing else."""
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5}
    inner = Tokenizer(models.WordPiece(special, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    bert = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")
    rows = [{"tokens": ["a", "\u200b", "b", "\u00ad"], "tags": [1, 2, 3, 4]}, {"tokens": ["\ufeff"], "tags": [3]}]
    encoded = SHAPE.encode(rows, bert, 32)
    assert encoded.ids.tolist() == [2, 4, 1, 5, 1, 3, 2, 1, 3]
    assert scored(encoded, 0) == [1, 2, 3, 4]
    assert scored(encoded, 1) == [3]


def test_a_batch_has_labels_where_words_begin(tokenizer: Any) -> None:
    encoded = SHAPE.encode([{"tokens": ["ab", "c"], "tags": [1, 3]}, {"tokens": ["d"], "tags": [2]}], tokenizer, 32)
    batch = collate(SHAPE, encoded, [1, 0], pad_id=1)
    assert batch.labels.shape == batch.input_ids.shape
    assert batch.labels.tolist()[0] == [IGNORED, 2, IGNORED, IGNORED, IGNORED, IGNORED, IGNORED]
    assert (batch.labels[batch.attention_mask == 0] == IGNORED).all()


def test_loss_and_divergence_average_over_words() -> None:
    labels = torch.tensor([[IGNORED, 1, 0], [IGNORED, IGNORED, 1], [IGNORED, IGNORED, IGNORED]])
    logits = torch.zeros(3, 3, 5)
    logits[0, 1, 1] = math.log(4.0)  # half of the probability
    loss = SHAPE.loss(logits, labels)
    assert loss.tolist() == pytest.approx([(math.log(2) + math.log(5)) / 2, math.log(5), 0.0], rel=1e-5)
    other = logits.clone()
    other[0, 1, 1] = 0.0
    expected = (0.5 * math.log(0.5 / 0.2) + 4 * 0.125 * math.log(0.125 / 0.2)) / 2
    assert SHAPE.divergence(logits, other, labels).tolist() == pytest.approx([expected, 0.0, 0.0], abs=1e-6)
    assert SHAPE.predict(logits, labels) == [[1, 0], [0], []]
    assert SHAPE.answers(logits, labels).tolist()[0] == [IGNORED, 1, 0]


def test_miniature_scores_by_hand(miniatures: Path, tokenizer: Any) -> None:
    task = load_task(TaskConfig(name=str(miniatures / "names.yaml")), ("train", "validation", "test"))
    assert task.rows["train"]["en"][0]["tags"] == [1, 2, 0, 0, 3, 0]
    rows = task.rows["test"]["yo"]
    encoded = task.shape.encode(rows, tokenizer, 64)
    # The person is found whole, Abẹ́òkúta is missed; Èkó is taken for a person. Right 1, predicted 2, expected 3.
    scores = task.shape.score(rows, encoded, [[1, 2, 0, 0, 0, 0], [1, 0, 0]], "yo")
    assert scores == {"f1": (pytest.approx(2 / 5), 2), "token_accuracy": (pytest.approx(7 / 9), 2)}
    by_row = task.shape.row_scores(rows, encoded, [[1, 2, 0, 0, 0, 0], [1, 0, 0]], "yo")
    assert by_row == {0: (pytest.approx(2 / 3), 3.0), 1: (0.0, 2.0)}
    assert sum(s * w for s, w in by_row.values()) / sum(w for _, w in by_row.values()) == pytest.approx(2 / 5)


def test_upos_f1_is_no_token_accuracy() -> None:
    """METHODS, defect 10: neighbours of one tag are one chunk."""
    (count,) = count_chunks([["NOUN", "NOUN", "VERB", "DET"]], [["NOUN", "VERB", "VERB", "DET"]])
    assert count.f1 == pytest.approx(1 / 3)


def test_what_the_training_rows_cannot_teach_is_unscored() -> None:
    """MasakhaNER's dates, where PAN-X's English is trained on; not where Hausa is."""
    shape = Plan.of(TaskConfig(name="masakhaner2")).shape
    assert shape.unscored == ("B-DATE", "I-DATE")
    o, person, date, more = map(shape.labels.index, ("O", "B-PER", "B-DATE", "I-DATE"))
    rows = [{"tokens": ["w"] * 5, "tags": [person, date, more, o, o]}]
    found = [[person, o, o, date, o]]
    assert shape.score(rows, one_item_per_row(rows), found, "ha") == {"f1": (1.0, 1), "token_accuracy": (2 / 3, 1)}
    assert shape.row_scores(rows, one_item_per_row(rows), found, "ha") == {0: (1.0, 2)}
    whole = Plan.of(TaskConfig(name="masakhaner2", source_language="ha")).shape
    assert whole.unscored == ()
    assert whole.score(rows, one_item_per_row(rows), found, "ha")["f1"][0] == pytest.approx(2 / 4)


def test_a_class_that_the_training_rows_lack_is_refused_where_each_row_would_be_a_mistake(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "description: d\nshape: classification\ncolumns: {text_pair: other}\n"
        "labels: [entailment, neutral, contradiction, nonsense]\n"
        "splits: {train: [{task: xnli, split: train, languages: source}], validation: [{split: validation}]}\n"
    )
    with pytest.raises(UserError, match=r"mine: splits\.train\.labels: no training row can be 'nonsense', which eval"):
        Plan.of(TaskConfig(name=str(mine)))


def shares(total: ChunkCounts) -> dict[str, float]:
    precision, recall = total.right / max(total.predicted, 1), total.right / max(total.expected, 1)
    return {"precision": precision, "recall": recall, "f1": total.f1}


@pytest.mark.parametrize("name", ["panx.de", "udpos.de", "udpos.yo"])
def test_chunk_scores_are_the_official_ones(name: str, shared_data: Path) -> None:
    fixture = json.loads((shared_data / "metric_fixtures" / f"tagging.{name}.json").read_text())
    total = sum(count_chunks(fixture["gold"], fixture["pred"]), ChunkCounts())
    for metric, value in fixture["scores"].items():
        assert 100 * shares(total)[metric] == pytest.approx(value, abs=1e-6), metric
    labels = UPOS if name.startswith("udpos") else catalogue()["panx"].labels
    rows = [{"tokens": ["w"] * len(tags), "tags": [labels.index(tag) for tag in tags]} for tags in fixture["gold"]]
    predictions = [[labels.index(tag) for tag in tags] for tags in fixture["pred"]]
    shape = Tagging(labels)
    whole = shape.score(rows, one_item_per_row(rows), predictions, "de")
    assert 100 * whole["f1"][0] == pytest.approx(fixture["scores"]["f1"], abs=1e-6)
    assert 100 * whole["token_accuracy"][0] == pytest.approx(fixture["token_accuracy_for_contrast"], abs=1e-6)


def one_item_per_row(rows: list[dict[str, Any]]) -> Any:
    """Only the owners matter to scores."""
    from trainables.batch import Encoded

    none = np.zeros(0, np.int64)
    return Encoded(none.astype(np.int32), none.astype(np.bool_), none, none, none, np.arange(len(rows)))


TAG = st.sampled_from([*UPOS, "O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "I-A-B"])
SENTENCES = st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=8), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(SENTENCES)
def test_seqeval_agrees_on_any_tags(sentences: list[list[tuple[str, str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    gold = [[a for a, _ in sentence] for sentence in sentences]
    predicted = [[b for _, b in sentence] for sentence in sentences]
    total = sum(count_chunks(gold, predicted), ChunkCounts())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert total.f1 == pytest.approx(seqeval.f1_score(gold, predicted), abs=1e-12)
        precision, recall, _ = shares(total).values()
        assert precision == pytest.approx(seqeval.precision_score(gold, predicted), abs=1e-12)
        assert recall == pytest.approx(seqeval.recall_score(gold, predicted), abs=1e-12)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "ner_tags": [0]}, "must have as many tags as tokens (got 1 tags, 2 words)"),
        ({"tokens": ["a"], "ner_tags": ["B-DATE"]}, 'ner_tags must be one of O, B-PER, I-PER, B-LOC, I-LOC'),
        ({"tokens": "a b", "ner_tags": [0, 0]}, 'tokens must be a list of words (got "a b")'),
        ({"tokens": [], "ner_tags": []}, "tokens must be a list of words (got [])"),
        ({"tokens": ["a"], "ner_tags": 0}, "ner_tags must be a list of labels (got 0)"),
        ({"tokens": ["a"]}, "must have a column 'ner_tags'"),
    ],
)  # fmt: skip
def test_malformed_rows_are_named(row: dict[str, Any], message: str, miniatures: Path, tmp_path: Path) -> None:
    shutil.copytree(miniatures / "names", tmp_path / "names")
    shutil.copy(miniatures / "names.yaml", tmp_path)
    with (tmp_path / "names" / "train.en.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=re.escape(f"train.en.jsonl:3: {message}")):
        load_task(TaskConfig(name=str(tmp_path / "names.yaml")), ("train",))


def test_conllu_files(miniatures: Path, tmp_path: Path) -> None:
    """UD's words: no ranges, no empty nodes."""
    folder = tmp_path / "udpos"
    folder.mkdir()
    shutil.copy(miniatures / "names" / "words.conllu", folder / "train.en.conllu")
    rows = load_task(TaskConfig(name="udpos", data_dir=tmp_path), ("train",)).rows["train"]["en"]
    assert [row["tokens"] for row in rows] == [["Vamos", "a", "o", "mar", "."], ["Sim"]]
    assert [[UPOS[tag] for tag in row["tags"]] for row in rows] == [["VERB", "ADP", "DET", "NOUN", "PUNCT"], ["ADV"]]
    (folder / "train.en.conllu").write_text("1\tVamos\tir\tVERBO\t_\t_\t0\troot\t_\t_\n")
    with pytest.raises(UserError, match=r"train\.en\.conllu:1: pos_tags must be one of ADJ"):
        load_task(TaskConfig(name="udpos", data_dir=tmp_path), ("train",))
    (folder / "train.en.conllu").write_text("1 Vamos\n")
    with pytest.raises(UserError, match=r"train\.en\.conllu:1: must have the 10 columns"):
        load_task(TaskConfig(name="udpos", data_dir=tmp_path), ("train",))


def test_xtreme_rs_tagging_tasks_load(shared_data: Path) -> None:
    udpos = load_task(TaskConfig(name="udpos", data_dir=shared_data), ("train", "validation", "test"))
    assert len(udpos.rows["train"]["en"]) == 5000
    assert len(udpos.rows["test"]) == 38
    assert set(udpos.rows["test"]) - set(udpos.rows["validation"]) == {"kk", "th", "tl", "yo"}
    panx = load_task(TaskConfig(name="panx", data_dir=shared_data), ("validation",))
    assert len(panx.languages) == 47
    named = TaskConfig(name="udpos", data_dir=shared_data, target_languages=("yo", "sw"))
    with pytest.raises(UserError, match=r"udpos has validation rows only in .*\(got 'sw'\)"):
        load_task(named, ("validation",))


MERGED = """\
1\tÉ\t_\tVERB\t_\t_\t0\t_\t_\t_
2-3\tdàs-mo\t_\t_\t_\t_\t_\t_\t_\t_
2\tdás\t_\tAUX\t_\t_\t1\t_\t_\t_
3\tmo\t_\tPRON\t_\t_\t1\t_\t_\t_
4-5\tdel\t_\t_\t_\t_\t_\t_\t_\t_
4\tde\t_\tADP\t_\t_\t5\t_\t_\t_
5\tel\t_\tDET\t_\t_\t1\t_\t_\t_
5.1\tél\t_\tPRON\t_\t_\t_\t_\t_\t_
6\t10 0\u200c00\t_\tNUM\t_\t_\t1\t_\t_\t_
"""


@pytest.mark.parametrize(
    ("kind", "language", "expected"),
    [
        ("syntactic", "pt", "É/VERB dás/AUX mo/PRON de/ADP el/DET 10 0\u200c00/NUM"),
        (None, "pt", "É/VERB dás/AUX mo/PRON de/ADP el/DET 10 0\u200c00/NUM"),
        # The word that is nearer to the root gives the tag; of two that are as near, the one whose tag goes first.
        ("fused", "pt", "É/VERB dàs-mo/PRON del/DET 10000/NUM"),
        ("fused", "es", "É/VERB dàs-mo/AUX del/DET 10000/NUM"),
    ],
)
def test_a_word_is_a_token_or_a_syntactic_word(tmp_path: Path, kind: str | None, language: str, expected: str) -> None:
    path = tmp_path / "train.pt.conllu"
    path.write_text(MERGED + "\n", encoding="utf-8")
    ((_, row),) = read_piece(Piece(path), Reading(words=kind, language=language))
    assert not isinstance(row, Exception)
    assert " ".join(map("/".join, zip(row["tokens"], row["upos"], strict=True))) == expected


def test_a_multiword_token_without_its_words_is_named(tmp_path: Path) -> None:
    (tmp_path / "udpos").mkdir()
    (tmp_path / "udpos" / "train.en.conllu").write_text(
        "1-2\tdel\t_\t_\t_\t_\t_\t_\t_\t_\n1\tde\t_\tADP\t_\t_\t0\t_\t_\t_\n"
    )
    with pytest.raises(UserError, match=r"train\.en\.conllu:1: a multiword token must have .* \(got '1-2'\)"):
        load_task(TaskConfig(name="udpos", words="fused", data_dir=tmp_path), ("train",))


@pytest.mark.parametrize("language", ["ta", "tr", "wo", "yo"])
def test_fused_words_are_xtremes(language: str, shared_data: Path) -> None:
    """The treebanks' own files against what XTREME made of them, wherever a sample of both has the same sentence."""
    theirs = {
        "".join(row["tokens"]): (row["tokens"], [UPOS[tag] for tag in row["pos_tags"]])
        for path in (shared_data / "udpos").glob(f"*.{language}.jsonl")
        for row in map(json.loads, path.read_text().splitlines())
    }
    paths = (shared_data / "syntax").glob(f"*.{language}.conllu")
    reading = Reading(words="fused", language=language)
    mine = [row for path in paths for _, row in sound(read_piece(Piece(path), reading))]
    both = [row for row in mine if "".join(row["tokens"]) in theirs]
    assert len(both) > 50
    for row in both:
        assert (row["tokens"], row["pos_tags"]) == theirs["".join(row["tokens"])]


def test_the_hubs_words_cannot_be_taken_apart() -> None:
    with pytest.raises(UserError, match=r"task\.words: the hub's copy of udpos has fused words"):
        load_task(TaskConfig(name="udpos", words="syntactic"), ("train",))


def test_a_stored_configuration_without_the_choice_keeps_its_words(miniatures: Path, tmp_path: Path) -> None:
    """A study that begins gets the task's words; one that began before there was a choice, syntactic ones, for good."""
    (tmp_path / "udpos").mkdir()
    shutil.copy(miniatures / "names" / "words.conllu", tmp_path / "udpos" / "train.en.conllu")

    def first(config: TaskConfig) -> list[str]:
        return list(load_task(config, ("train",)).rows["train"]["en"][0]["tokens"])

    begun = complete(TaskConfig(name="udpos", data_dir=tmp_path))
    stored = validate(TaskConfig, {"name": "udpos", "data_dir": str(tmp_path)})
    assert (begun.title, first(begun)) == ("udpos (fused words)", ["Vamos", "ao", "mar", "."])
    assert (stored.title, first(stored)) == ("udpos", ["Vamos", "a", "o", "mar", "."])
    assert task_key(begun) != task_key(stored)
    asked = complete(TaskConfig(name="udpos", words="syntactic", data_dir=tmp_path))
    assert (asked.title, first(asked)) == ("udpos (syntactic words)", first(stored))
