"""Classification of a text or a pair of texts: XNLI, PAWS-X, intents, SIB-200.

Columns of a row: ``text``, for pairs ``text_pair``, and ``label``, the index of the class; where the data has one, the
``key`` that translations have in common. Score: accuracy, as in XTREME's ``evaluate.py``. In the generalised setting of
Huang et al. 2021 (arXiv 2104.08645) the two texts of a pair are in different languages, every one with every other;
such a pair of languages is named ``de.sw`` (first text German).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from trainables.batch import Encoded
from trainables.errors import UserError
from trainables.lazy import functional, torch
from trainables.tasks.base import Row, TaskShape, renumbered
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.fields import field, label_index, text_of
from trainables.tasks.heads import COLUMNS, HOW, crossed_heads, parents_of_texts

if TYPE_CHECKING:
    from torch import Tensor, nn


class Classification(TaskShape):
    """One class per row. Logits (n, classes)."""

    metrics: tuple[str, ...] = ("accuracy",)
    has_single_answers = True
    columns: tuple[str, ...] = ("text", "text_pair", "label", "key", *COLUMNS)
    options: tuple[str, ...] = (HOW,)
    auto_class, hub_task = "AutoModelForSequenceClassification", "text-classification"

    def __init__(self, labels: Sequence[str], pair: bool, crossed: bool = False) -> None:
        """`crossed`: evaluate every language's first texts with every other's second texts."""
        super().__init__(labels)
        self.text_columns = ("text", "text_pair") if pair else ("text",)
        self.head_columns = dict(zip(self.text_columns, ("heads", "heads_pair"), strict=False))
        self.crossed = crossed

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        row: dict[str, Any] = {name: text_of(raw, columns.get(name, name)) for name in self.text_columns}
        row["label"] = label_index(raw, columns.get("label", "label"), self.labels)
        if "key" in columns:
            row["key"] = field(raw, columns["key"])
        return row

    def adoption(self, other: TaskShape, names: Mapping[str, str]) -> Callable[[Row], Row]:
        super().adoption(other, names)
        numbers = renumbered(self.labels, other.labels, names)
        return lambda row: {**row, "label": numbers[row["label"]]}

    def without(self, labels: Sequence[str]) -> Self:
        raise ValueError(f"labels: no training row can be {' or '.join(map(repr, labels))}, which evaluated rows are")

    def assemble(self, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Sequence[Row]]:
        return _cross(rows) if self.crossed else rows

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        texts = (tuple(row[name] for name in self.text_columns) for row in rows)
        labels = np.asarray([row["label"] for row in rows], dtype=np.int64)
        sequences = encode_sequences(texts, tokenizer, max_length)
        return Encoded(
            **sequences,
            parents=parents_of_texts(rows, self, tokenizer, max_length, sequences["offsets"]),
            labels=labels,
            label_offsets=np.arange(len(rows) + 1, dtype=np.int64),
            rows=np.arange(len(rows), dtype=np.int64),
        )

    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        return torch.tensor([int(label[0]) for label in labels], dtype=torch.int64)

    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        from trainables.model.heads import PooledHead

        return PooledHead(hidden_size, len(self.labels), pooling, dropout)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(at_least_single(logits), labels, reduction="none")

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        return kl_divergence(p_logits, q_logits)

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.argmax(-1)

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        answers: list[Any] = logits.argmax(-1).tolist()
        return answers

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        right = [rows[int(i)]["label"] == answer for i, answer in zip(encoded.rows, predictions, strict=True)]
        return {"accuracy": (sum(right) / len(right), len(right))}


def _cross(rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """First texts of each language with second texts of each; rows of equal key, else of equal number, are parallel.

    Where two languages label a row differently the pair has no label and is left out. Raises `UserError` for rows that
    are not parallel, or a key that several rows of a language have.
    """
    counts = {code: len(found) for code, found in rows.items()}
    keyed = {code: {row.get("key", i): row for i, row in enumerate(found)} for code, found in rows.items()}
    for code, found in rows.items():
        if len(keyed[code]) != len(found):
            key, times = Counter(row["key"] for row in found).most_common(1)[0]
            raise UserError(
                f"task.name: crossed pairs need a key of its own for each row (got {key!r} {times} times in {code})"
            )
    if len(set(counts.values())) != 1 and not all("key" in found[0] for found in rows.values()):
        told = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise UserError(f"task.name: crossed pairs need the same rows in all languages (got {told})")
    return {
        first if first == second else f"{first}.{second}": [
            {
                "text": row["text"],
                "text_pair": keyed[second][key]["text_pair"],
                "label": row["label"],
                **crossed_heads(row, keyed[second][key]),
            }
            for key, row in keyed[first].items()
            if key in keyed[second] and keyed[second][key]["label"] == row["label"]
        ]
        for first in rows
        for second in rows
    }


def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) of two categorical distributions given by logits (…, classes): (…)."""
    p, q = (functional.log_softmax(at_least_single(logits), -1) for logits in (p_logits, q_logits))
    return functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)


def at_least_single(logits: Tensor) -> Tensor:
    """Logits of half precision in fp32, others as they are.

    On a CPU autocast leaves `log_softmax` in half precision, in which what two near distributions differ by is rounded
    away.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
