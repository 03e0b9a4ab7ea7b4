"""Retrieval by pooled embeddings: Tatoeba (translations), LAReQA (answers in any language), Mewsli-X (entities).

Trained as a dual encoder on questions and the sentences that hold their answers (SQuAD): each query must pick its own
candidate among those of its batch, by scaled cosine. Scored by exact search over all candidates.

Columns of a row: ``queries``, each with its ``text`` and the ids of its ``targets``, and ``candidates``, each with
``id``, ``text`` and perhaps the ``context`` it stands in. A pair is a row of one query and one candidate; in LAReQA a
row is a paragraph, with its sentences in all languages; in Mewsli-X a mention with a part of the candidates, and every
language's are searched for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainables.batch import IMPOSSIBLE, Encoded
from trainables.devices import whole_precision
from trainables.errors import UserError, shown
from trainables.lazy import functional, torch
from trainables.tasks.base import Row, RowError, Searched, TaskShape
from trainables.tasks.classification import kl_divergence
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.fields import field, text_of
from trainables.tasks.ranking import TOP, average_precision
from trainables.tasks.span import SpanAnswering

if TYPE_CHECKING:
    from torch import Tensor, nn

SCALE = 20.0
"""Cosines are multiplied by this before the softmax (temperature 0.05)."""

COLUMNS = {
    "pairs": ("query", "candidate"),
    "paragraphs": ("context", "sentence_breaks", "qas"),
    "mentions": ("query", "entity", "candidates"),
}
"""Setting ``rows`` -> columns of the data."""

SCORES = ("accuracy", "map_at_20")

_NONE = -1


class Retrieval(TaskShape):
    """Queries and candidates. Logits (n, 2, d): unit vectors of an item's query and of its candidate.

    An item has two sequences, a query and a candidate; one of them is empty where a row has more of the other. Labels
    (n, 3): index of the query and of the candidate in their row, -1 for none, and a number that tells candidates apart.
    """

    sequences_per_item = 2
    compares_items = True
    options = ("rows", "score")
    auto_class, hub_task = "AutoModel", "feature-extraction"
    whole_item = (0, 0, 0)

    def __init__(self, kind: str, score: str) -> None:
        super().__init__(())
        for name, value, known in (("rows", kind, tuple(COLUMNS)), ("score", score, SCORES)):
            if value not in known:
                raise UserError(f"options.{name}: must be {' or '.join(known)} (got {shown(value)})")
        self.kind = kind
        self.columns = COLUMNS[kind]
        self.shares_candidates = kind == "mentions"
        self.metrics = (score,)

    def read(self, raw: Row, columns: Mapping[str, str]) -> Row:
        readers = {"pairs": _read_pair, "paragraphs": _read_paragraph, "mentions": _read_mention}
        return readers[self.kind](raw, columns)

    def adoption(self, other: TaskShape, names: Mapping[str, str]) -> Callable[[Row], Row]:
        if not isinstance(other, Retrieval | SpanAnswering):
            raise ValueError(f"task: retrieval trains on retrieval and question answering (got {type(other).__name__})")
        return self._adopted

    def _adopted(self, row: Row) -> Row:
        """A row of question answering becomes a pair: the question, and the sentence that holds its answer.

        Candidates that are trained on are told apart by their text: an equal one is no wrong answer.
        """
        if "answers" not in row:
            query, candidate = row["queries"][0], row["candidates"][0]
            return _pair(query["text"], candidate["text"], candidate.get("context"))
        sentence = sentence_at(row["context"], row["answers"]["answer_start"][0])
        return _pair(row["question"], sentence, row["context"] if self.kind == "paragraphs" else None)

    def texts(self, row: Row) -> Iterator[str]:
        yield from (query["text"] for query in row["queries"])
        for candidate in row["candidates"]:
            yield candidate["text"]
            if candidate.get("context"):
                yield candidate["context"]

    def languages_of_item(self, language: str, source: str) -> tuple[str, ...]:
        """Candidates of pairs are in the source language."""
        if self.kind != "pairs":
            raise UserError(
                "task.name: the candidates of a query are in many languages, take an encoder that is told none"
            )
        return (language, source)

    def assemble(self, rows: Mapping[str, Sequence[Row]]) -> Mapping[str, Sequence[Row]]:
        paragraphs = {code: found for code, found in rows.items() if "sentences" in found[0]}
        if paragraphs:
            return {**rows, **_across_languages(paragraphs)}
        return {code: [_named(row, i) for i, row in enumerate(found)] for code, found in rows.items()}

    def present(self, labels: npt.NDArray[np.int64]) -> Sequence[bool]:
        return [bool(label != _NONE) for label in labels[:2]]

    def encode(self, rows: Sequence[Row], tokenizer: Any, max_length: int) -> Encoded:
        items = [item for i, row in enumerate(rows) for item in _items(i, row)]
        queries = encode_sequences(((item.query,) for item in items), tokenizer, max_length)
        with_context = any(item.context is not None for item in items)
        texts = ((item.candidate, item.context or "") if with_context else (item.candidate,) for item in items)
        candidates = encode_sequences(texts, tokenizer, max_length)
        return Encoded(
            **_interleaved(queries, candidates),
            labels=np.asarray([item.labels for item in items], dtype=np.int64).reshape(-1),
            label_offsets=np.arange(len(items) + 1, dtype=np.int64) * 3,
            rows=np.asarray([item.row for item in items], dtype=np.int64),
        )

    def collate_labels(self, labels: Sequence[npt.NDArray[np.int64]], width: int) -> Tensor:
        return torch.from_numpy(np.stack(labels))

    def head(self, hidden_size: int, pooling: str, dropout: float) -> nn.Module:
        from trainables.model.heads import EmbeddingHead

        return EmbeddingHead(pooling)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        own = torch.arange(len(logits), device=logits.device)
        return functional.cross_entropy(_similarities(logits, labels), own, reduction="none")

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        return kl_divergence(_similarities(p_logits, labels), _similarities(q_logits, labels))

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        return _similarities(logits, labels).argmax(-1)

    def predict(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """The vectors of each item, [query, candidate], as lists; None where there is none. Scores are of rankings,
        which need all of them together."""
        return [
            [vector if there else None for vector, there in zip(pair, self.present(own), strict=True)]
            for pair, own in zip(logits.float().tolist(), labels.cpu().numpy(), strict=True)
        ]

    def searched(self, rows: Sequence[Row], encoded: Encoded, items: Sequence[int]) -> Searched:
        owners = encoded.rows[list(items)].tolist()
        labels = _labels_of(encoded)[list(items)].tolist()
        candidates: dict[str, int] = {}
        for position, (row, (_, c, _)) in enumerate(zip(owners, labels, strict=True)):
            if c != _NONE:
                candidates.setdefault(rows[row]["candidates"][c]["id"], position)
        return Searched([i for i, (q, _, _) in enumerate(labels) if q != _NONE], candidates, self._depth)

    @property
    def _depth(self) -> int:
        return 1 if self.metrics[0] == "accuracy" else TOP

    def score(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[str, tuple[float, int]]:
        scores = [score for of_row in self._scores(rows, encoded, predictions).values() for score in of_row]
        return {self.metrics[0]: (sum(scores) / len(scores), len(scores))}

    def row_scores(
        self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any], language: str
    ) -> dict[int, tuple[float, float]]:
        scores = self._scores(rows, encoded, predictions)
        return {row: (sum(found) / len(found), float(len(found))) for row, found in scores.items()}

    def _scores(self, rows: Sequence[Row], encoded: Encoded, predictions: Sequence[Any]) -> dict[int, list[float]]:
        """Row -> the score of each of its queries, whose predictions are the ids of its best candidates."""
        scores: dict[int, list[float]] = {}
        numbered = zip(encoded.rows.tolist(), _labels_of(encoded)[:, 0].tolist(), predictions, strict=True)
        for row, q, ranked in numbered:
            if q != _NONE:
                targets = set(rows[row]["queries"][q]["targets"])
                scores.setdefault(row, []).append(average_precision(targets, ranked, self._depth))
        return scores


def _labels_of(encoded: Encoded) -> npt.NDArray[np.int64]:
    """The labels (items, 3) of all items."""
    return encoded.labels[encoded.label_offsets[0] : encoded.label_offsets[-1]].reshape(-1, 3)


def sentence_at(context: str, position: int) -> str:
    """The English sentence around a character, by its punctuation; SQuAD has no sentence boundaries of its own."""
    start = 0
    for gap in re.finditer(r"(?<=[.!?])[\"”')\]]*\s+(?=[\"“'(\[]*[A-Z0-9])", context):
        if gap.end() > position:
            return context[start : gap.start()].strip() or context
        start = gap.end()
    return context[start:].strip()


@dataclass(frozen=True)
class _Item:
    row: int
    query: str
    candidate: str
    context: str | None
    labels: tuple[int, int, int]


def _items(row: int, content: Row) -> list[_Item]:
    """One item for a pair; else queries and candidates apart, so that languages can share the candidates' items."""
    queries, candidates = content["queries"], content["candidates"]
    if len(queries) == len(candidates) == 1:
        return [_Item(row, queries[0]["text"], *_candidate(candidates[0]), (0, 0, _number(candidates[0]["id"])))]
    return [
        *(_Item(row, query["text"], "", None, (k, _NONE, _NONE)) for k, query in enumerate(queries)),
        *(_Item(row, "", *_candidate(c), (_NONE, k, _number(c["id"]))) for k, c in enumerate(candidates)),
    ]


def _candidate(candidate: Mapping[str, Any]) -> tuple[str, str | None]:
    return candidate["text"], candidate.get("context")


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def _interleaved(queries: Mapping[str, Any], candidates: Mapping[str, Any]) -> dict[str, Any]:
    """Sequences q0 c0 q1 c1 …"""
    sides = (queries, candidates)
    spans = [(side, *side["offsets"][i : i + 2]) for i in range(len(queries["offsets"]) - 1) for side in sides]
    lengths = np.asarray([0, *(end - start for _, start, end in spans)], dtype=np.int64)
    return {
        "ids": np.concatenate([np.zeros(0, np.int32), *(side["ids"][start:end] for side, start, end in spans)]),
        "special": np.concatenate([np.zeros(0, np.bool_), *(side["special"][a:b] for side, a, b in spans)]),
        "offsets": np.cumsum(lengths),
    }


def _similarities(logits: Tensor, labels: Tensor) -> Tensor:
    """Scaled cosines (n, n) of each query with each candidate of the batch, in the precision of the vectors.

    Another item's equal candidate, and an item's missing one, are no alternatives.
    """
    same = labels[:, None, 2] == labels[None, :, 2]
    barred = (same | (labels[None, :, 1] == _NONE)) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    with whole_precision(logits.device.type):  # near 20 numbers of half precision are an eighth apart
        similar = SCALE * logits[:, 0] @ logits[:, 1].T
    return similar.masked_fill(barred, IMPOSSIBLE)


def _pair(query: str, candidate: str, context: str | None) -> Row:
    name = blake2b("\x1f".join((candidate, context or "")).encode(), digest_size=8).hexdigest()
    content = {"id": name, "text": candidate} | ({} if context is None else {"context": context})
    return {"queries": [{"text": query, "targets": [name]}], "candidates": [content]}


def _read_pair(raw: Row, columns: Mapping[str, str]) -> Row:
    query, candidate = (text_of(raw, columns.get(name, name)) for name in ("query", "candidate"))
    return {"queries": [{"text": query, "targets": []}], "candidates": [{"id": None, "text": candidate}]}


def _named(row: Row, number: int) -> Row:
    """An evaluated pair stands for itself: an equal sentence in another row is another candidate, as in XTREME."""
    if row["candidates"][0]["id"] is not None:
        return row
    query, candidate = row["queries"][0], row["candidates"][0]
    return {
        "queries": [{**query, "targets": [str(number)]}],
        "candidates": [{**candidate, "id": str(number)}],
    }


def _read_mention(raw: Row, columns: Mapping[str, str]) -> Row:
    """A mention of an entity, and the candidates that come with it, among which is what it means."""
    query, entity = (text_of(raw, columns.get(name, name)) for name in ("query", "entity"))
    candidates = field(raw, columns.get("candidates", "candidates"))
    try:
        found = [{"id": str(each["id"]), "text": str(each["text"])} for each in candidates]
    except (TypeError, KeyError):
        raise RowError("must have candidates with id and text") from None
    if entity not in (each["id"] for each in found):
        raise RowError(f"the entity must be among the candidates (got {shown(entity)})")
    return {"queries": [{"text": query, "targets": [entity]}], "candidates": found}


def _read_paragraph(raw: Row, columns: Mapping[str, str]) -> Row:
    """A paragraph of LAReQA: its sentences, and its questions with the sentence that holds the answer.

    As the official script does, a question whose answer begins in no sentence is left out.
    """
    context = text_of(raw, columns.get("context", "context"))
    breaks = field(raw, columns.get("sentence_breaks", "sentence_breaks"))
    questions = field(raw, columns.get("qas", "qas"))
    try:
        spans = [(int(start), int(end)) for start, end in breaks]
        asked = [(q["id"], q["question"], q["answers"][0]["answer_start"], q["answers"][0]["text"]) for q in questions]
    except (TypeError, ValueError, KeyError, IndexError):
        raise RowError("must have sentence_breaks of two numbers each, and qas with id, question and answers") from None
    sentences = [context[start:end] for start, end in spans]
    found = []
    for name, question, start, text in asked:
        if not text.strip() or context[start : start + len(text)] != text:
            raise RowError(f"the answer of question {name} must stand in its context at character {start}")
        holding = [context[a:b] for a, b in spans if a <= start < b]
        if holding:
            found.append({"id": name, "text": question, "sentence": holding[0]})
    return {"context": context, "sentences": sentences, "questions": found}


def _across_languages(paragraphs: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Each language's questions, with the sentences of the same paragraph in all languages as candidates.

    The targets of a question are the sentences that answer it in every language.
    """
    counts = {code: len(rows) for code, rows in paragraphs.items()}
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{code} {n}" for code, n in counts.items())
        raise UserError(f"task.target_languages: all languages must have the same paragraphs (got {told})")
    number = next(iter(counts.values()))
    candidates: list[list[dict[str, str]]] = [[] for _ in range(number)]
    targets: dict[str, list[str]] = {}
    for code, rows in sorted(paragraphs.items()):
        for i, row in enumerate(rows):
            for position, sentence in enumerate(row["sentences"]):
                name = f"{code}_{i}_{position}"
                candidates[i].append({"id": name, "text": sentence, "context": row["context"]})
                for question in row["questions"]:
                    if question["sentence"] == sentence:
                        targets.setdefault(question["id"], []).append(name)
    return {
        code: [
            {
                "queries": [{"text": q["text"], "targets": targets[q["id"]]} for q in row["questions"]],
                "candidates": candidates[i],
            }
            for i, row in enumerate(rows)
        ]
        for code, rows in paragraphs.items()
    }
