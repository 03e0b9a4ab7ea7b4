"""Question answering: the span of a context that answers a question. XQuAD, MLQA, TyDiQA-GoldP; trained on SQuAD.

Columns of a row: ``question``, ``context`` and ``answers``, with the lists ``text`` and ``answer_start`` (characters).
A context longer than the limit goes into several overlapping items. Scores: ``f1`` and ``exact_match`` (`answers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.batch import IMPOSSIBLE, Encoded
from trainables.errors import UserError, shown
from trainables.lazy import functional, torch
from trainables.tasks.answers import NORMALISATIONS, normaliser, score_answer
from trainables.tasks.base import Places, Row, RowError, TaskShape
from trainables.tasks.classification import kl_divergence
from trainables.tasks.encoding import check_separates, chunks
from trainables.tasks.fields import field, text_of

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_QUESTION_TOKENS = 64
"""Longer questions are cut (XTREME's `max_query_length`), and to a third of the limit."""

MOST_ANSWER_TOKENS = 30
"""No longer answer is given (XTREME's `max_answer_length`)."""

_COLLATED = 4
"""Of an item's labels these reach the model; the characters of each context token follow them."""


class SpanAnswering(TaskShape):
    """One span per question. Logits (n, t, 2): of the answer's first and last token.

    Labels (n, 4): first and last token of the answer, first token and number of tokens of the context. Both answer
    tokens are 0, the start token, where this item's part of the context does not hold the answer.
    """

    metrics = ("f1", "exact_match")
    text_columns = ("question",)
    columns = ("question", "context", "answers")
    options = ("normalisation",)
    auto_class, hub_task = "AutoModelForQuestionAnswering", "question-answering"

    def __init__(self, normalisation: str) -> None:
        super().__init__(())
        if normalisation not in NORMALISATIONS:
            known = " or ".join(NORMALISATIONS)
            raise UserError(f"options.normalisation: must be {known} (got {shown(normalisation)})")
        self.normalisation = normalisation

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        context = text_of(raw, columns.get("context", "context"))
        texts, starts = _answers(raw, columns.get("answers", "answers"))
        for text, start in zip(texts, starts, strict=True):
            if not text.strip():
                raise RowError("an answer is blank: these rows are published without their answers (got '')")
            if context[start : start + len(text)] != text:
                raise RowError(f"an answer must stand in its context at character {start} (got {shown(text)})")
        question = text_of(raw, columns.get("question", "question"))
        return {"question": question, "context": context, "answers": {"text": texts, "answer_start": starts}}

    def texts(self, row: Row) -> Iterator[str]:
        yield from (row["question"], row["context"])

    def check_languages(self, codes: Sequence[str]) -> None:
        for code in codes:
            normaliser(self.normalisation, code)

    def context(self, row: Row) -> str:
        """Questions about one context are carved together."""
        text: str = row["context"]
        return text

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        if max_length < 32:
            raise UserError(f"task.max_length: question answering needs at least 32 tokens (got {max_length})")
        check_separates(tokenizer)
        ids, special, labels = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
        owners: list[int] = []
        for chunk in chunks(enumerate(rows), 200):
            for owner, item_ids, item_special, item_labels in _items(chunk, tokenizer, max_length):
                ids.append(np.asarray(item_ids, dtype=np.int32))
                special.append(np.asarray(item_special, dtype=np.bool_))
                labels.append(item_labels)
                owners.append(owner)
        return Encoded(
            ids=np.concatenate(ids),
            special=np.concatenate(special),
            offsets=np.cumsum([len(part) for part in ids], dtype=np.int64),
            labels=np.concatenate(labels),
            label_offsets=np.cumsum([len(part) for part in labels], dtype=np.int64),
            rows=np.asarray(owners, dtype=np.int64),
        )

    def part(self, row: Row, encoded: Encoded, item: int) -> Row | None:
        """Its question, and of the context what its tokens hold."""
        characters = _characters(encoded.item_labels(item))
        if not len(characters):
            return None
        begin, end = int(characters[0, 0]), int(characters[-1, 1])
        starts = [start - begin for start in row["answers"]["answer_start"]]
        answers = {"text": row["answers"]["text"], "answer_start": starts}
        return {"question": row["question"], "context": row["context"][begin:end], "answers": answers}

    def keeps_label(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
        """Whether both hold the answer, or neither."""
        return bool((one[1] > 0) == (other[1] > 0))

    def places(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> Places | None:
        """Stretches of the context between characters at which tokens of both begin, after the start token's place.

        The chance that an answer begins, or ends, in a stretch is the sum over its tokens, however it is segmented.
        What only one of both has room for is left out, and with it the stretch that is cut.
        """
        characters = [_characters(labels) - _characters(labels)[:1, :1] for labels in (one, other)]
        shared = np.intersect1d(characters[0][:, 0], characters[1][:, 0])
        is_cut = len({int(each[-1, 1]) for each in characters if len(each)}) > 1
        found = []
        for labels, each in zip((one, other), characters, strict=True):
            numbers = np.searchsorted(shared, each[:, 0], side="right")
            context = np.where(numbers <= len(shared) - is_cut, numbers, -1)
            found.append(np.concatenate([[0], np.full(max(0, int(labels[2]) - 1), -1), context]))
        return found[0], found[1]

    def place_labels(self, count: int, width: int) -> npt.NDArray[np.int64]:
        return np.asarray([0, 0, 1, count - 1], dtype=np.int64)

    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        return torch.from_numpy(np.stack([label[:_COLLATED] for label in labels]))

    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        from trainables.model.heads import TokenHead

        return TokenHead(hidden_size, 2, dropout)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        start, end = _eligible(logits, labels).unbind(-1)
        losses = [functional.cross_entropy(ends, labels[:, i], reduction="none") for i, ends in enumerate((start, end))]
        return (losses[0] + losses[1]) / 2

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        p, q = _eligible(p_logits, labels), _eligible(q_logits, labels)
        return kl_divergence(p.transpose(1, 2), q.transpose(1, 2)).mean(1)

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        return _eligible(logits, labels).argmax(1)

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """The best span of each item: [sum of its logits, first and last context token, counted in the context]."""
        score, first, last = _best_spans(logits, labels)
        begin = labels[:, 2]
        columns = (score.tolist(), (first - begin).tolist(), (last - begin).tolist())
        return [list(values) for values in zip(*columns, strict=True)]

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        normalise = normaliser(self.normalisation, language)
        texts = answer_texts(rows, encoded, predictions)
        scores = [score_answer(text, rows[row]["answers"]["text"], normalise) for row, text in texts.items()]
        means = [sum(values) / len(scores) for values in zip(*scores, strict=True)]
        return {metric: (mean, len(scores)) for metric, mean in zip(self.metrics, means, strict=True)}


def answer_texts(rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any]) -> dict[int, str]:
    """Row -> the text of the best span over all items of its context."""
    best: dict[int, tuple[float, str]] = {}
    for item, (row, (score, first, last)) in enumerate(zip(encoded.rows.tolist(), predictions, strict=True)):
        if row not in best or score > best[row][0]:
            characters = _characters(encoded.item_labels(item))
            best[row] = score, rows[row]["context"][characters[first, 0] : characters[last, 1]].strip()
    return {row: text for row, (_, text) in best.items()}


def _characters(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of an item's context tokens begins and ends in the context."""
    return labels[_COLLATED:].reshape(-1, 2)


def _answers(raw: Row, column: str) -> tuple[list[str], list[int]]:
    """Texts and starts, out of a struct of lists (as the hub has it) or a list of structs (as SQuAD's files do)."""
    value = field(raw, column)
    try:
        if isinstance(value, list):
            texts, starts = [answer["text"] for answer in value], [answer["answer_start"] for answer in value]
        else:
            texts, starts = list(value["text"]), list(value["answer_start"])
    except (TypeError, KeyError):
        texts, starts = [], []
    numbers = all(isinstance(start, int) and start >= 0 for start in starts)
    if not texts or len(texts) != len(starts) or not numbers or not all(isinstance(text, str) for text in texts):
        raise RowError(f"{column} must have lists text and answer_start of one length, not empty (got {shown(value)})")
    return texts, starts


def _items(
    rows: Sequence[tuple[int, Row]], tokenizer: Any, max_length: int
) -> Iterator[tuple[int, list[int], list[int], npt.NDArray[np.int64]]]:
    """(row, ids, special, labels) of every item of some rows."""
    third = max_length // 3
    encoded = tokenizer(
        _cut([row["question"] for _, row in rows], tokenizer, min(third, MOST_QUESTION_TOKENS)),
        [row["context"] for _, row in rows],
        truncation="only_second",
        max_length=max_length,
        stride=third,
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
    )
    for i, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        owner, row = rows[sample]
        inside = np.flatnonzero(np.asarray(encoded.sequence_ids(i), dtype=object) == 1)
        characters = np.asarray(encoded["offset_mapping"][i], dtype=np.int64)[inside]
        start = row["answers"]["answer_start"][0]
        span = _tokens_of(characters, start, start + len(row["answers"]["text"][0]))
        first = int(inside[0]) if len(inside) else 0
        answer = [first + span[0], first + span[1]] if span else [0, 0]
        labels = np.concatenate([np.asarray([*answer, first, len(inside)], dtype=np.int64), characters.reshape(-1)])
        yield owner, encoded["input_ids"][i], encoded["special_tokens_mask"][i], labels


def _cut(questions: Sequence[str], tokenizer: Any, limit: int) -> list[str]:
    """The questions, each cut at its last token within the limit."""
    encoded = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True)
    ends = [spans[limit - 1][1] if len(spans) > limit else None for spans in encoded["offset_mapping"]]
    return [question[:end] for question, end in zip(questions, ends, strict=True)]


def _tokens_of(characters: npt.NDArray[np.int64], start: int, end: int) -> tuple[int, int] | None:
    """First and last token that a span of characters touches; None where the tokens do not hold all of it."""
    if not len(characters) or characters[0, 0] > start or characters[-1, 1] < end:
        return None
    touched = np.flatnonzero((characters[:, 1] > start) & (characters[:, 0] < end))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None


def _in_context(logits: Tensor, labels: Tensor) -> Tensor:
    """Positions (n, t) of the context."""
    position = torch.arange(logits.shape[1], device=logits.device)[None, :]
    return (position >= labels[:, 2:3]) & (position < labels[:, 2:3] + labels[:, 3:4])


def _eligible(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (n, t, 2) with the context and the start token alone left possible."""
    possible = _in_context(logits, labels)
    possible[:, 0] = True
    return logits.float().masked_fill(~possible[..., None], IMPOSSIBLE)


def _best_spans(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over all spans of context tokens, at most `MOST_ANSWER_TOKENS` long: (score, first, last), each (n,)."""
    start, end = logits.float().masked_fill(~_in_context(logits, labels)[..., None], -1e9).unbind(-1)
    width = start.shape[1]
    best = torch.full_like(start[:, 0], -torch.inf)
    first = labels[:, 2].clone()
    last = first.clone()
    for extra in range(min(MOST_ANSWER_TOKENS, width)):
        score, position = (start[:, : width - extra] + end[:, extra:]).max(1)
        better = score > best
        best = torch.where(better, score, best)
        first = torch.where(better, position, first)
        last = torch.where(better, position + extra, last)
    return best, first, last
