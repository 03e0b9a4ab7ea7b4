"""What a task shape is: from rows of text to tensors, to a loss, to predictions, to the official score.

Shapes: ``item`` = what is drawn for training and counted in a batch. An item is `sequences_per_item` token sequences
(one, except for multiple choice). A ``row`` = what is scored: a labelled example as its file has it; long contexts give
several items per row. Suffixes: n items, s = n x sequences_per_item sequences, t tokens, d hidden size.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from trainables.batch import NO_TREE, Batch, Encoded
from trainables.layout import Paths
from trainables.lazy import torch
from trainables.syntax import trees

if TYPE_CHECKING:
    from torch import Tensor, nn

Row = Mapping[str, Any]
"""One labelled example in the columns its task shape documents."""

Places: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]"
"""Of the tokens (t,) of one view and (u,) of another, the numbers of the places at which they stand; -1: none."""

IGNORED = -100
"""Label of positions that neither train nor score: padding, continuation pieces, special tokens."""


class RowError(ValueError):
    """What is wrong with a row of a file, as ``rule (got value)``; whoever reads the file adds where."""


class DataError(RowError):
    """The same of all rows of a file: said once, and no further row is read."""


@dataclass(frozen=True)
class Searched:
    """What a search over evaluated items is of: positions among them of the queries, and of the candidates, by id."""

    queries: list[int]
    candidates: dict[str, int]
    depth: int
    """How many candidates a query is given."""


class TaskShape(ABC):
    """One shape of task. Instances are light, immutable and know the task's label names."""

    sequences_per_item: int = 1
    metrics: tuple[str, ...]
    """Names of the scores, the primary one first."""
    has_single_answers: bool = False
    """Whether an item has one label, whatever its words: classification and multiple choice."""
    compares_items: bool = False
    """Whether an item's loss depends on the others of its batch, which then is not cut into micro-batches, and whose
    parts workers gather."""
    text_columns: tuple[str, ...] = ()
    """Columns of its rows that hold text, or lists of texts, whose words an augmentation may replace."""
    head_columns: Mapping[str, str] = MappingProxyType({})
    """Column of texts -> that of the dependency heads of their words, of shapes that syntax can serve."""
    columns: tuple[str, ...]
    """Columns that it reads of a file, which `TaskDefinition.columns` may give other names."""
    unscored: tuple[str, ...] = ()
    """Labels that no training row has, and that count in no score; see `without`."""
    options: tuple[str, ...] = ()
    """Settings that it takes from `TaskDefinition.options`."""
    auto_class: str
    """Class of transformers that loads a model with such a head."""
    hub_task: str
    """What the Hugging Face hub calls such tasks; the library's pipeline of that name serves them, where it has one."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        """A row as its file has it -> the columns that this shape documents; `columns` maps ours to the file's.

        Raises `RowError` for a missing column, a label that is not among `labels`, and whatever else is malformed.
        """
        raise NotImplementedError

    def adoption(self, other: TaskShape, names: Mapping[str, str]) -> Callable[[Row], Row]:
        """What makes rows that `other` has read rows of this shape; `names` maps its labels to ours where they differ.

        Labels are mapped by name, never by number. Raises ValueError, as ``key: rule``, for a shape whose rows cannot
        be had, and for a class that this task lacks.
        """
        if type(other) is not type(self) or other.text_columns != self.text_columns:
            theirs, ours = (f"{type(s).__name__} of {' and '.join(s.text_columns)}" for s in (other, self))
            raise ValueError(f"task: must be of this task's shape, {ours} (got {theirs})")
        return lambda row: row

    def without(self, labels: Sequence[str]) -> Self:
        """This shape where no training row has some of its labels, which cannot be learned.

        Raises ValueError, as ``key: rule``, for a shape that would count each of their rows as a mistake.
        """
        return self

    def check_languages(self, codes: Sequence[str]) -> None:  # noqa: B027 - most shapes score any language
        """Raise `UserError` where evaluated languages cannot be scored as the options say."""

    def texts(self, row: Row) -> Iterator[str]:
        """All running texts of a row, as assembled: what must not be trained on where it is evaluated."""
        for column in self.text_columns:
            value = row[column]
            yield from (value,) if isinstance(value, str) else value

    def assemble(self, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Sequence[Row]]:
        """The rows of all languages of an evaluated split, where those of one depend on the others."""
        return rows

    def languages_of_item(self, language: str, source: str) -> tuple[str, ...]:
        """The language of each of an item's sequences, in the rows of a language of a task with this source.

        Raises `UserError` where that is not one and the same for all items.
        """
        return (language,) * self.sequences_per_item

    def context(self, row: Row) -> str:
        """What rows that must not be torn apart by carving have in common: here, all of the row."""
        return json.dumps(row, ensure_ascii=False, sort_keys=True)

    whole_item: tuple[int, ...] | None = None
    """Labels of an item that has all its sequences, of shapes that read sequences one by one and search among them: the
    prediction of a query is the ids of the candidates nearest to it, that of another item None. None: items are read as
    a whole."""

    shares_candidates: bool = False
    """Whether a query is searched for among the candidates of all evaluated languages, not of its own alone."""

    def searched(self, rows: Sequence[Row], encoded: Encoded, items: Sequence[int]) -> Searched:
        """Queries and candidates among a language's evaluated items, of shapes that search."""
        raise NotImplementedError

    def present(self, labels: npt.NDArray[np.int64]) -> Sequence[bool]:
        """Which of an item's sequences are there at all."""
        return (True,) * self.sequences_per_item

    @abstractmethod
    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        """Tokenise rows with a fast Hugging Face tokenizer."""

    def part(self, row: Row, encoded: Encoded, item: int) -> Row | None:
        """What an item shows of its row, as a row, whose first item has the same text; None where that is nothing."""
        return row

    def keeps_label(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
        """Whether the second view of an item can be held against its label, from the labels of both."""
        return True

    def places(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Places | None:
        """Where the tokens of an item's first view, and of its second, are compared, from the labels of both.

        None for shapes whose logits are of whole items.
        """
        return None

    def place_labels(self, count: int, width: int) -> npt.NDArray[np.int64]:
        """Labels, as `collate_labels` has them of an item, of `count` places of `width`."""
        raise NotImplementedError

    @abstractmethod
    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        """Labels of n items -> tensor (n, …); `width` is the batch's padded length."""

    @abstractmethod
    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        """A fresh head, whose forward maps states (s, t, d) and attention mask (s, t) to logits."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Per-item loss (n,)."""

    @abstractmethod
    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        """Per-item KL(p || q) (n,), averaged over an item's scored positions where it has several."""

    @property
    def classes(self) -> int:
        """Of which an answer is one, the width of its logits, where all items have the same; else 1."""
        return max(1, len(self.labels))

    def gold(self, labels: Tensor) -> Tensor:
        """What `answers` should be (n,), of shapes with single answers."""
        return labels

    @abstractmethod
    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the model answers, as integers; compared before and after a perturbation. IGNORED where not scored."""

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of each answer (n, answers) in fp32, of shapes with single answers."""
        return logits.float().softmax(-1)

    @abstractmethod
    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """n predictions, plain Python values that survive JSON."""

    @abstractmethod
    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        """Official scores of one language from the predictions of all its items: metric -> (score, rows behind it)."""

    def row_scores(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[int, tuple[float, float]]:
        """Row -> (its own primary score in [0, 1], its weight): the language's score is their weighted mean.

        For tests that resample rows. Here: the official score of each row by itself, all of equal weight; shapes whose
        score is no mean over rows have their own.
        """
        of_row: dict[int, list[int]] = {}
        for position, row in enumerate(encoded.rows.tolist()):
            of_row.setdefault(row, []).append(position)
        scores = {}
        for row, positions in of_row.items():
            alone, predicted = encoded.pick(positions, self.sequences_per_item), [predictions[p] for p in positions]
            scores[row] = (self.score(rows, alone, predicted, language)[self.metrics[0]][0], 1.0)
        return scores


def renumbered(ours: Sequence[str], theirs: Sequence[str], names: Mapping[str, str]) -> list[int]:
    """The number here of each of their labels, by name. Raises ValueError, as ``key: rule``, for one that is not."""
    unknown = [name for name in names if name not in theirs]
    if unknown:
        raise ValueError(f"labels: {unknown[0]!r} is no label there, those are {', '.join(theirs)}")
    lacking = [name for name in theirs if names.get(name, name) not in ours]
    if lacking:
        missing, example = names.get(lacking[0], lacking[0]), next(iter(ours))
        raise ValueError(
            f"labels: {missing!r} is no label of this task, its own are {', '.join(ours)}; where they mean the same, "
            f"map them, such as labels: {{{lacking[0]}: {example}}}"
        )
    return [ours.index(names.get(name, name)) for name in theirs]


def collate(
    shape: TaskShape,
    encoded: Encoded,
    items: Sequence[int],
    pad_id: int,
    key_offset: int = 0,
    pad_to: int = 1,
    least: int = 0,
) -> Batch:
    """Pad the items' sequences to the longest, at least to `least` (rounded up to a multiple of `pad_to`)."""
    c = shape.sequences_per_item
    index = [j * c + k for j in items for k in range(c)]
    lengths = [int(encoded.offsets[i + 1] - encoded.offsets[i]) for i in index]
    width = -(-max(least, *lengths) // pad_to) * pad_to
    ids = np.full((len(index), width), pad_id, dtype=np.int64)
    special = np.zeros((len(index), width), dtype=np.bool_)
    for r, (i, n) in enumerate(zip(index, lengths, strict=True)):
        ids[r, :n] = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]]
        special[r, :n] = encoded.special[encoded.offsets[i] : encoded.offsets[i + 1]]
    mask = np.arange(width)[None, :] < np.asarray(lengths)[:, None]
    paths = None
    if encoded.parents is not None:
        parents = np.full((len(index), width), NO_TREE, dtype=np.int16)
        for r, (i, n) in enumerate(zip(index, lengths, strict=True)):
            parents[r, :n] = encoded.tree(i)
        paths = Paths(*map(torch.from_numpy, trees.distances(parents)))
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(mask.astype(np.int64)),
        torch.from_numpy(special),
        shape.collate_labels([encoded.item_labels(j) for j in items], width),
        torch.tensor([key_offset + i for i in index], dtype=torch.int64),
        None if encoded.languages is None else torch.from_numpy(encoded.languages[index]),
        paths,
    )
