"""Multiple choice: which of the choices goes with the premise. XCOPA, trained on SIQA and COPA.

Columns of a row: ``premise``, ``question``, ``choices`` (a list) and ``label``, the index of the right one. In files
the choices stand in columns of their own, ``choice1`` and on. Each choice is read as the second text of a pair, after
the question. Score: accuracy, as in XTREME's ``evaluate.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.batch import IMPOSSIBLE, Encoded
from trainables.lazy import functional, torch
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.classification import kl_divergence
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.fields import label_index, text_of

if TYPE_CHECKING:
    from torch import Tensor, nn

QUESTIONS = {"cause": "What was the cause?", "effect": "What happened as a result?"}
"""How COPA's two kinds of question are put; other questions stand in the data as they are asked."""


class MultipleChoice(TaskShape):
    """One of several choices per row. Logits (n, choices).

    Every item has as many sequences as the task's longest list of choices; those that a row lacks are empty, and can
    neither be answered nor take probability from the others. Labels (n, 2): the right choice, and how many there are.
    """

    metrics = ("accuracy",)
    has_single_answers = True
    text_columns = ("premise", "choices")
    auto_class, hub_task = "AutoModelForMultipleChoice", "multiple-choice"

    def __init__(self, labels: Sequence[str], most_choices: int) -> None:
        """`labels` name the choices as this data numbers them; `most_choices` is over all data that is trained on."""
        super().__init__(labels)
        self.sequences_per_item = most_choices
        self.columns = ("premise", "question", *self._choices, "label")

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        question = text_of(raw, columns.get("question", "question"))
        return {
            "premise": text_of(raw, columns.get("premise", "premise")),
            "question": QUESTIONS.get(question, question),
            "choices": [text_of(raw, columns.get(name, name)) for name in self._choices],
            "label": label_index(raw, columns.get("label", "label"), self.labels),
        }

    @property
    def _choices(self) -> list[str]:
        return [f"choice{k + 1}" for k in range(len(self.labels))]

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        labels = np.asarray([[row["label"], len(row["choices"])] for row in rows], dtype=np.int64).reshape(-1, 2)
        return Encoded(
            **encode_sequences((pair for row in rows for pair in self._pairs(row)), tokenizer, max_length),
            labels=labels.reshape(-1),
            label_offsets=np.arange(len(rows) + 1, dtype=np.int64) * 2,
            rows=np.arange(len(rows), dtype=np.int64),
        )

    def _pairs(self, row: Row) -> list[tuple[str, str]]:
        pairs = [(row["premise"], f"{row['question']} {choice}".strip()) for choice in row["choices"]]
        return pairs + [("", "")] * (self.sequences_per_item - len(pairs))

    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        return torch.from_numpy(np.stack(labels))

    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        from trainables.model.heads import ChoiceHead

        return ChoiceHead(hidden_size, self.sequences_per_item, pooling, dropout)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(_possible(logits, labels), labels[:, 0], reduction="none")

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        return kl_divergence(_possible(p_logits, labels), _possible(q_logits, labels))

    @property
    def classes(self) -> int:
        """As many as a row may have choices: also where its data has fewer than what it is trained on."""
        return self.sequences_per_item

    def gold(self, labels: Tensor) -> Tensor:
        return labels[:, 0]

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        return _possible(logits, labels).argmax(-1)

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().probabilities(_possible(logits, labels), labels)

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        answers: list[Any] = self.answers(logits, labels).tolist()
        return answers

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        right = [rows[int(i)]["label"] == answer for i, answer in zip(encoded.rows, predictions, strict=True)]
        return {"accuracy": (sum(right) / len(right), len(right))}


def _possible(logits: Tensor, labels: Tensor) -> Tensor:
    choices = torch.arange(logits.shape[-1], device=logits.device)
    return logits.float().masked_fill(choices >= labels[:, 1:2], IMPOSSIBLE)
