"""One tag per word: UDPOS, PAN-X, XGLUE's NER and POS.

Columns of a row: ``tokens``, a list of words, and ``tags``, the index of each word's tag. The first piece of a word
stands for it; a sentence longer than the limit goes into several items, so that every word is scored. Scores: ``f1`` as
in XTREME (`chunks`; no token accuracy, not even on UDPOS) and ``token_accuracy``, the share of words tagged right; with
``score: chunk_precision`` also, before them, what XGLUE calls the accuracy of POS: right chunks / predicted chunks, as
seqeval had them before 1.0 (microsoft/XGLUE, ``xglue_evaluate.py``; equal neighbours are one chunk). It is there to be
compared with published numbers (Vietnamese: .560, of a token accuracy of .641), and says nothing of what is missed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from trainables.batch import Encoded
from trainables.errors import UserError, shown
from trainables.lazy import functional, torch
from trainables.model.by_word import ByWord
from trainables.model.resegmenting import undrawn
from trainables.syntax.trees import within
from trainables.tasks.base import IGNORED, Places, Row, RowError, TaskShape, renumbered
from trainables.tasks.chunks import ChunkCounts, after_hyphen, after_letter, count_chunks
from trainables.tasks.classification import at_least_single, kl_divergence
from trainables.tasks.encoding import CHUNK, chunks
from trainables.tasks.fields import field, label_indices
from trainables.tasks.heads import HOW, heads_in, parents_of_words

if TYPE_CHECKING:
    from torch import Tensor, nn


SCORES = {"f1": ("f1", "token_accuracy"), "chunk_precision": ("chunk_precision", "token_accuracy", "f1")}
"""Setting ``score``, the primary metric -> all metrics."""

_NOTHING = "?"
"""Stands for a word of which nothing is left, where the tokenizer knows all characters and has no unknown token."""


class Tagging(TaskShape):
    """One tag per word. Logits (n, t, tags); labels (n, t), IGNORED except at the first piece of each word."""

    text_columns = ("tokens",)
    head_columns: Mapping[str, str] = MappingProxyType({"tokens": "heads"})
    columns = ("tokens", "tags", "heads", HOW)
    options = ("score", HOW)
    auto_class, hub_task = "AutoModelForTokenClassification", "token-classification"

    def __init__(self, labels: Sequence[str], score: str = "f1") -> None:
        super().__init__(labels)
        if score not in SCORES:
            raise UserError(f"options.score: must be {' or '.join(SCORES)} (got {shown(score)})")
        self.metrics = SCORES[score]
        self._unscored: frozenset[int] = frozenset()
        """Numbers of the tags that count as ``O`` in chunks, and whose words are in no token accuracy."""

    def texts(self, row: Row) -> Iterator[str]:
        """The sentence that its words make; a word of it is no text."""
        yield " ".join(row["tokens"])

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        name = columns.get("tokens", "tokens")
        tokens = field(raw, name)
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise RowError(f"{name} must be a list of words (got {shown(tokens)})")
        tags = label_indices(raw, columns.get("tags", "tags"), self.labels)
        if len(tags) != len(tokens):
            raise RowError(f"must have as many tags as {name} (got {len(tags)} tags, {len(tokens)} words)")
        return {"tokens": tokens, "tags": tags}

    def adoption(self, other: TaskShape, names: Mapping[str, str]) -> Callable[[Row], Row]:
        super().adoption(other, names)
        numbers = renumbered(self.labels, other.labels, names)
        return lambda row: {**row, "tags": [numbers[tag] for tag in row["tags"]]}

    def without(self, labels: Sequence[str]) -> Self:
        """Leaves words and chunks of a type unscored if none of its tags can be learned."""
        learned = {after_hyphen(tag) for tag in self.labels if tag not in labels}
        made = copy(self)
        made.unscored = tuple(tag for tag in self.labels if after_hyphen(tag) not in learned)
        made._unscored = frozenset(map(self.labels.index, made.unscored))
        return made

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        ids, special, labels = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
        lengths, owners, words = [0], list[int](), list[Sequence[int | None]]()
        by_word: ByWord | None = None
        parsed = any(heads_in(row, self) for row in rows)  # then each token's word is needed, which the tokenizer knows
        for number, chunk in enumerate(chunks(enumerate(rows))):
            items = _by_word(chunk, by_word, tokenizer, max_length)
            if number == 0 and len(chunk) == CHUNK and not parsed:
                by_word = _as_good(ByWord.of(tokenizer, False, max_length), chunk, items, tokenizer, max_length)
            ids.append(np.frombuffer(b"".join([each[1] for each in items]), np.int32))
            special.append(np.frombuffer(b"".join([each[2] for each in items]), np.bool_))
            labels += [each[3] for each in items]
            lengths += [len(each[2]) for each in items]
            owners += [each[0] for each in items]
            words += [each[4] for each in items]
        offsets = np.cumsum(np.asarray(lengths, dtype=np.int64))
        return Encoded(
            ids=np.concatenate(ids),
            special=np.concatenate(special),
            offsets=offsets,
            labels=np.concatenate(labels),
            label_offsets=offsets,
            rows=np.asarray(owners, dtype=np.int64),
            parents=parents_of_words([rows[owner] for owner in owners], self, words),
        )

    def part(self, row: Row, encoded: Encoded, item: int) -> Row | None:
        """The words whose first pieces are in it, after `before` others; items stand in the order of their rows."""
        mine = range(int(np.searchsorted(encoded.rows, encoded.rows[item])), item + 1)
        *earlier, own = (int((encoded.item_labels(k) != IGNORED).sum()) for k in mine)
        before = sum(earlier)
        words = slice(before, before + own)
        part = {"tokens": row["tokens"][words], "tags": row["tags"][words], "before": before}
        if (heads := heads_in(row, self)) is not None:
            part["heads"] = within(heads[0], words)
        return part if own else None

    def keeps_label(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
        """Whether a word is left in it."""
        return bool((other != IGNORED).any())

    def places(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Places | None:
        """The first pieces of the words that both have."""
        scored = [labels != IGNORED for labels in (one, other)]
        common = min(int(each.sum()) for each in scored)
        ranks = [np.where(each & (np.cumsum(each) <= common), np.cumsum(each) - 1, -1) for each in scored]
        return ranks[0], ranks[1]

    def place_labels(self, count: int, width: int) -> npt.NDArray[np.int64]:
        return np.where(np.arange(width) < count, 0, IGNORED).astype(np.int64)

    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        padded = torch.full((len(labels), width), IGNORED, dtype=torch.int64)
        for i, item in enumerate(labels):
            padded[i, : len(item)] = torch.from_numpy(np.array(item))
        return padded

    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        from trainables.model.heads import TokenHead

        return TokenHead(hidden_size, len(self.labels), dropout)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        by_class = at_least_single(logits).transpose(1, 2)
        losses = functional.cross_entropy(by_class, labels, reduction="none", ignore_index=IGNORED)
        return _mean_over_words(losses, labels)

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        return _mean_over_words(kl_divergence(p_logits, q_logits), labels)

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.argmax(-1).masked_fill(labels == IGNORED, IGNORED)

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        answers, scored = logits.argmax(-1), labels != IGNORED
        return [answer[words].tolist() for answer, words in zip(answers, scored, strict=True)]

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        gold, found = self._tags(rows, encoded, predictions)
        scored = [(a, b) for g, f in zip(gold, found.values(), strict=True) for a, b in zip(g, f, strict=True)
                  if a not in self._unscored]  # fmt: skip
        values = {"token_accuracy": sum(a == b for a, b in scored) / max(1, len(scored))}
        values["f1"] = sum(self._counts(gold, found, "f1"), ChunkCounts()).f1
        if "chunk_precision" in self.metrics:
            values["chunk_precision"] = sum(self._counts(gold, found, "chunk_precision"), ChunkCounts()).precision
        return {metric: (values[metric], len(found)) for metric in self.metrics}

    def row_scores(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[int, tuple[float, float]]:
        gold, found = self._tags(rows, encoded, predictions)
        counts = dict(zip(found, self._counts(gold, found, self.metrics[0]), strict=True))
        if self.metrics[0] == "chunk_precision":
            return {row: (count.precision, count.predicted) for row, count in counts.items()}
        return {row: (count.f1, count.predicted + count.expected) for row, count in counts.items()}

    def _tags(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any]
    ) -> tuple[list[list[int]], dict[int, list[int]]]:
        """Of the rows that were predicted, (the tags of each, row -> those predicted)."""
        found: dict[int, list[int]] = {}
        for owner, prediction in zip(encoded.rows.tolist(), predictions, strict=True):
            found.setdefault(owner, []).extend(prediction)
        return [rows[row]["tags"] for row in found], found

    def _counts(self, gold: list[list[int]], found: Mapping[int, list[int]], metric: str) -> list[ChunkCounts]:
        """The chunks of each row, as a metric counts them."""
        type_of = after_hyphen if metric == "chunk_precision" else after_letter
        return count_chunks([self._names(g) for g in gold], [self._names(f) for f in found.values()], type_of)

    def _names(self, tags: Sequence[int]) -> list[str]:
        return ["O" if tag in self._unscored else self.labels[tag] for tag in tags]


_Item = tuple[int, bytes, bytes, npt.NDArray[np.int64], Sequence[int | None]]
"""Row, ids (int32), special (a byte each), labels, the words of the tokens (empty where pieces of words made it)."""


def _by_word(rows: Sequence[tuple[int, Row]], by_word: ByWord | None, tokenizer: Any, max_length: int) -> list[_Item]:
    """Every item of some rows: out of the pieces of their words where that is known to do, else by the tokenizer."""
    if by_word is None:
        return list(_items(rows, tokenizer, max_length))
    made: dict[int, list[_Item]] = {}
    left = []
    for (owner, row), found in zip(rows, by_word.sentences([row["tokens"] for _, row in rows]), strict=True):
        made[owner] = []
        if found is None:
            left.append((owner, row))
            continue
        (ids, special), firsts = found
        labels = np.full(len(special), IGNORED, dtype=np.int64)
        labels[firsts] = row["tags"]
        made[owner].append((owner, ids, special, labels, ()))
    for item in _items(left, tokenizer, max_length) if left else ():
        made[item[0]].append(item)
    return [item for items in made.values() for item in items]


def _as_good(
    by_word: ByWord | None, rows: Sequence[tuple[int, Row]], items: list[_Item], tokenizer: Any, max_length: int
) -> ByWord | None:
    """What has words' pieces, if it comes to the same for the first rows."""
    if by_word is None or any("before" in row for _, row in rows):
        return None
    found = _by_word(rows, by_word, tokenizer, max_length)
    same = len(found) == len(items) and all(
        one[:3] == other[:3] and np.array_equal(one[3], other[3]) for one, other in zip(found, items, strict=True)
    )
    return by_word if same else None


def _items(rows: Sequence[tuple[int, Row]], tokenizer: Any, max_length: int) -> Iterator[_Item]:
    """Every item of some rows, by the tokenizer."""
    spaced = takes_spaces(undrawn(tokenizer))
    sentences = [
        [" " * (spaced and k > 0) + word for k, word in enumerate(row["tokens"], row.get("before", 0))]
        for _, row in rows
    ]
    encoded = _tokenize(sentences, tokenizer, max_length)
    next_word = [0] * len(rows)
    for i, sentence in enumerate(encoded["overflow_to_sample_mapping"]):
        owner, row = rows[sentence]
        labels, words = [], encoded.word_ids(i)
        for word in words:
            first = word == next_word[sentence]
            labels.append(row["tags"][word] if first else IGNORED)
            next_word[sentence] += first
        ids, special = encoded["input_ids"][i], encoded["special_tokens_mask"][i]
        yield owner, array("i", ids).tobytes(), bytes(special), np.asarray(labels, dtype=np.int64), words


def takes_spaces(tokenizer: Any) -> bool:
    """Whether words have to be given with the space before them, to get the pieces that they have in a running text.

    So it is where the space is part of a word's first piece and the tokenizer does not add it to words given one by
    one: ModernBERT, EuroBERT, Gemma's.
    """

    def pieces(words: list[str]) -> Any:
        return tokenizer(words, is_split_into_words=True, add_special_tokens=False)["input_ids"]

    running = tokenizer("a a", add_special_tokens=False)["input_ids"]
    return bool(pieces(["a", "a"]) != running and pieces(["a", " a"]) == running)


def _tokenize(sentences: list[list[str]], tokenizer: Any, max_length: int) -> Any:
    """Tokenise lists of words, with the unknown token for words of which nothing is left (a lone zero-width space)."""
    encoded = tokenizer(
        sentences,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
    )
    seen: list[set[int]] = [set() for _ in sentences]
    for i, sentence in enumerate(encoded["overflow_to_sample_mapping"]):
        seen[sentence].update(word for word in encoded.word_ids(i) if word is not None)
    if all(len(found) == len(words) for found, words in zip(seen, sentences, strict=True)):
        return encoded
    whole = [
        [word if k in found else tokenizer.unk_token or _NOTHING for k, word in enumerate(words)]
        for found, words in zip(seen, sentences, strict=True)
    ]
    return _tokenize(whole, tokenizer, max_length)


def _mean_over_words(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of (n, t) over the scored positions of each item: (n,); 0 where an item has none."""
    scored = labels != IGNORED
    return (values * scored).sum(1) / scored.sum(1).clamp_min(1)
