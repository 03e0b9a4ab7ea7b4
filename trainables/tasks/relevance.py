"""Graded relevance of documents to a query: XGLUE's web page ranking (WPR).

Trained as classification of pairs, ``text`` (the query) and ``text_pair``, whose ``label`` is a grade: the first of the
task's labels is worth 0, the next 1, and so on. What is scored is a query with its documents: evaluated rows have the
lists ``text_pair`` and ``label``. As in microsoft/XGLUE's ``xglue_evaluate.py`` the documents of a query are those of
*consecutive* rows with its text (the same text later is another query; after an empty one none begins), and a query
with one document is left out: there is nothing to rank.

Scores: ``ndcg``, the mean over queries of `ranking.ndcg` of the predicted class, as XGLUE has it: few classes, so many
ties. ``ndcg_expected`` is the same of the expected grade, sum of k p(k), which has none: what the model's ranking is
worth, and not comparable with published numbers. ``accuracy`` is over documents.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.batch import Encoded
from trainables.errors import UserError
from trainables.lazy import torch
from trainables.tasks.base import Row
from trainables.tasks.classification import Classification
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.ranking import ndcg

if TYPE_CHECKING:
    from torch import Tensor


class Relevance(Classification):
    """A grade for each document of a query. Logits (n, grades), where an item is a query with one document."""

    metrics = ("ndcg", "ndcg_expected", "accuracy")
    columns = ("text", "text_pair", "label")

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(labels, pair=True)
        self.head_columns = {}  # its sequences, several to a row, come without trees

    def assemble(self, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Sequence[Row]]:
        runs = {code: _runs(found) for code, found in rows.items()}
        several = {code: [run for run in found if len(run) > 1] for code, found in runs.items()}
        for code in (code for code, found in several.items() if not found):
            raise UserError(f"task.name: no query of the rows in {code} has two documents, one after another, to rank")
        alone = {code: len(found) - len(several[code]) for code, found in runs.items()}
        if any(alone.values()):
            told = ", ".join(f"{code} {count} of {len(runs[code])}" for code, count in alone.items() if count)
            logging.getLogger(__name__).warning("queries with one document are left out: %s", told)
        return {code: [_query(run) for run in found] for code, found in several.items()}

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        pairs = ((query, text) for row in rows for query, text, _ in _documents(row))
        graded = [(number, grade) for number, row in enumerate(rows) for *_, grade in _documents(row)]
        return Encoded(
            **encode_sequences(pairs, tokenizer, max_length),
            labels=np.asarray([grade for _, grade in graded], dtype=np.int64),
            label_offsets=np.arange(len(graded) + 1, dtype=np.int64),
            rows=np.asarray([number for number, _ in graded], dtype=np.int64),
        )

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """Of each item [the class, the expected grade]."""
        grades = torch.arange(logits.shape[-1], device=logits.device, dtype=torch.float32)
        expected = (self.probabilities(logits, labels) * grades).sum(-1)  # no product that autocast would round
        return [list(both) for both in zip(logits.argmax(-1).tolist(), expected.tolist(), strict=True)]

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        found: dict[int, list[Any]] = {}
        for row, prediction in zip(encoded.rows.tolist(), predictions, strict=True):
            found.setdefault(row, []).append(prediction)
        pairs = [([grade for *_, grade in _documents(rows[row])], answers) for row, answers in found.items()]
        right = [
            grade == answer for grades, answers in pairs for grade, (answer, _) in zip(grades, answers, strict=True)
        ]
        by_class = [ndcg(grades, [answer for answer, _ in answers]) for grades, answers in pairs]
        by_expected = [ndcg(grades, [expected for _, expected in answers]) for grades, answers in pairs]
        named = zip(self.metrics, (by_class, by_expected, right), strict=True)
        return {metric: (sum(values) / len(values), len(values)) for metric, values in named}


def _documents(row: Row) -> list[tuple[str, str, int]]:
    """(query, document, grade) of each document of a row; one that trains has one."""
    query, texts, grades = row["text"], row["text_pair"], row["label"]
    if isinstance(texts, str):
        return [(query, texts, grades)]
    return list(zip([query] * len(texts) if isinstance(query, str) else query, texts, grades, strict=True))


def _runs(rows: Sequence[Row]) -> list[list[Row]]:
    """Consecutive rows of one query."""
    runs: list[list[Row]] = []
    for row in rows:
        if runs and (row["text"] == runs[-1][-1]["text"] or not runs[-1][-1]["text"]):
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def _query(run: Sequence[Row]) -> Row:
    texts = [row["text"] for row in run]
    return {
        "text": texts[0] if len(set(texts)) == 1 else texts,
        "text_pair": [row["text_pair"] for row in run],
        "label": [row["label"] for row in run],
    }
