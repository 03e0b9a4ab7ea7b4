"""A language's score against one computed apart: row by row, in plain Python, from the texts themselves.

The model answers a hash of the tokens it reads, so that an answer that reaches another text, or a text read wrongly, is
seen. Texts are shared within and across languages; workers, budgets and subsets vary.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from torch import Tensor, nn

from tests.trainables import texts
from tests.trainables.team import together
from tests.trainables.texts import Item
from trainables.batch import Batch
from trainables.config import EvaluationConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.scores import LanguageScores
from trainables.scoring.evaluation import Found, Predictions, evaluate, predict_stream
from trainables.scoring.stream import Stream, stream
from trainables.tasks.base import IGNORED, Row, TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.tagging import Tagging

LANGUAGES = ("en", "sw", "th")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SHAPES: dict[str, TaskShape] = {
    "classification": Classification(("yes", "unclear", "no"), pair=False),
    "multiple choice": MultipleChoice(("1", "2", "3"), most_choices=3),
    "tagging": Tagging(TAGS),
}

Tokens = tuple[int, ...]


def digest(tokens: Tokens, position: int = 0) -> int:
    """A number below 997 that says which tokens were read, and where."""
    return zlib.crc32(repr((tokens, position)).encode()) % 997


def plain_prediction(name: str, item: Item) -> Any:
    """What the model should answer to one item."""
    if name == "classification":
        return digest(item.sequences[0]) % 3
    if name == "multiple choice":
        possible = item.sequences[: item.labels[1]]
        return max(range(len(possible)), key=lambda k: (digest(possible[k]), -k))
    return [digest(item.sequences[0], i) % len(TAGS) for i, tag in enumerate(item.labels) if tag != IGNORED]


class Hashing(nn.Module):
    """Reads each sequence up to its padding, and gives logits by which `plain_prediction` is its answer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.encoder = SimpleNamespace(frozen_layers=0)
        self.read: list[Tokens] = []

    def embed(self, batch: Batch) -> Tensor:
        return batch.input_ids.unsqueeze(2).double()

    def logits(self, embeddings: Tensor, batch: Batch) -> Tensor:
        assert not self.training
        lengths = batch.attention_mask.sum(1).tolist()
        read = [tuple(row[:n]) for row, n in zip(embeddings[..., 0].long().tolist(), lengths, strict=True)]
        self.read.extend(read)
        if self.name == "multiple choice":
            return torch.tensor([digest(each) for each in read]).view(-1, 3)
        if self.name == "classification":
            return nn.functional.one_hot(torch.tensor([digest(each) % 3 for each in read]), 3)
        width = embeddings.shape[1]
        answers = [[digest(each, i) % len(TAGS) for i in range(width)] for each in read]
        return nn.functional.one_hot(torch.tensor(answers), len(TAGS))


@dataclass(frozen=True)
class Case:
    """Three languages of one shape, as items and as rows."""

    name: str
    items: dict[str, list[Item]]
    rows: dict[str, list[Row]]

    @property
    def materials(self) -> Materials:
        return texts.write(SHAPES[self.name], self.items, self.rows)

    def predictions(self) -> Predictions:
        return {
            language: [plain_prediction(self.name, item) for item in self.items[language]] for language in LANGUAGES
        }

    def scores(self, language: str, chosen: Sequence[int]) -> dict[str, float]:
        """Official scores of the chosen items, row by row."""
        answers: dict[int, list[Any]] = {}
        for item in (self.items[language][each] for each in chosen):
            answer = plain_prediction(self.name, item)
            answers.setdefault(item.row, []).extend(answer if self.name == "tagging" else [answer])
        rows = {row: self.rows[language][row] for row in answers}
        if self.name != "tagging":
            return {"accuracy": sum(answers[row] == [gold["label"]] for row, gold in rows.items()) / len(rows)}
        expected = [rows[row]["tags"] for row in rows]
        found = list(answers.values())
        pairs = [pair for e, f in zip(expected, found, strict=True) for pair in zip(e, f, strict=True)]
        named = ([[TAGS[tag] for tag in tags] for tags in each] for each in (expected, found))
        return {
            "f1": float(f1_score(*named, zero_division=0)),
            "token_accuracy": sum(tag == answer for tag, answer in pairs) / len(pairs),
        }


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """Few texts and many rows, so that most texts occur more than once, and in tagging with other labels too."""
    tokens = st.lists(st.integers(4, 9), min_size=2, max_size=28).map(tuple)
    pool = draw(st.lists(tokens, min_size=2, max_size=9))
    read = st.sampled_from(pool)
    sizes = st.integers(1, 12)
    if name == "tagging":
        return _tagged(draw, read, {language: draw(sizes) for language in LANGUAGES})
    items: dict[str, list[Item]] = {}
    for language in LANGUAGES:
        items[language] = []
        for row in range(draw(sizes)):
            if name == "classification":
                items[language].append(Item((draw(read),), (draw(st.integers(0, 2)),), row))
                continue
            choices = draw(st.integers(2, 3))
            sequences = tuple(draw(read) for _ in range(choices)) + ((0, 2),) * (3 - choices)
            items[language].append(Item(sequences, (draw(st.integers(0, choices - 1)), choices), row))
    return Case(name, items, {k: [{"label": item.labels[0]} for item in each] for k, each in items.items()})


def _tagged(draw: st.DrawFn, read: st.SearchStrategy[Tokens], sizes: dict[str, int]) -> Case:
    pieces = []
    for _ in range(draw(st.integers(3, 8))):
        tokens = draw(read)
        tag = st.integers(0, len(TAGS) - 1) | st.just(IGNORED)
        pieces.append((tokens, draw(st.tuples(*(tag for _ in tokens)))))
    pieces.append((pieces[0][0], (0,) * len(pieces[0][0])))  # one has words for certain
    items: dict[str, list[Item]] = {}
    rows: dict[str, list[Row]] = {}
    for language, size in sizes.items():
        items[language], rows[language] = [], []
        for row in range(size):
            # A sentence longer than the limit is several items of one row; a later one may start no word.
            parts = [draw(st.sampled_from(pieces)) for _ in range(draw(st.integers(1, 2)))]
            if all(tag == IGNORED for _, labels in parts for tag in labels):
                parts.append(pieces[-1])
            items[language] += [Item((tokens,), labels, row) for tokens, labels in parts]
            rows[language].append({"tags": [tag for _, labels in parts for tag in labels if tag != IGNORED]})
    return Case("tagging", items, rows)


def model(name: str) -> tuple[Model, Hashing]:
    hashing = Hashing(name)
    return cast(Model, hashing), hashing


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("world", [1, 2])
def test_a_languages_score_is_that_of_its_rows_one_by_one(name: str, world: int) -> None:
    @quick(40)
    @given(cases(name), st.sampled_from([64, 65, 100, 150, 4096]), st.sampled_from([None, 1, 3, 7]))
    def check(case: Case, token_budget: int, examples: int | None) -> None:
        hashing, materials = model(name)[0], case.materials
        config = EvaluationConfig(token_budget=token_budget)

        def score(group: Group) -> tuple[dict[str, LanguageScores], Found, Stream]:
            return evaluate(hashing, materials, "validation", examples, config, group)

        for scores, found, plan in together(world, score):
            assert list(scores) == list(SHAPES[name].metrics)
            for language in LANGUAGES:
                chosen = plan.items[language]
                rows = {case.items[language][each].row for each in chosen}
                assert len(rows) == min(len(case.rows[language]), examples or 99)
                expected = case.scores(language, chosen)
                assert {m: s.values[language] for m, s in scores.items()} == pytest.approx(expected)
                assert {s.counts[language] for s in scores.values()} == {len(rows)}
                whole = case.predictions()[language]
                assert found["answers"][language] == [whole[each] for each in chosen]

    check()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_input_is_read_once_by_all_workers_together(name: str, world: int) -> None:
    @quick(25)
    @given(cases(name))
    def check(case: Case) -> None:
        hashing, seen = model(name)
        materials = case.materials
        plan = stream(materials, "validation", None, 60)

        def respond(batch: Batch) -> Callable[[], dict[str, list[Any]]]:
            logits = hashing.logits(hashing.embed(batch), batch)
            answers = materials.shape.predict(logits, batch.labels)
            return lambda: {"own": answers, "again": [[each] for each in answers]}

        found = together(world, lambda group: predict_stream(hashing, materials, "validation", plan, group, respond))
        expected = case.predictions()
        for each in found:
            assert each == {"own": expected, "again": {k: [[one] for one in v] for k, v in expected.items()}}
        inputs = {item.sequences + (item.labels if name != "classification" else ())
                  for items in case.items.values() for item in items}  # fmt: skip
        assert len(seen.read) == len(inputs) * materials.shape.sequences_per_item

    check()


def test_a_model_that_was_being_trained_is_scored_without_dropout() -> None:
    """`Hashing.logits` refuses to answer in training mode."""
    items = {language: [Item(((0, 5, 2),), (1,))] for language in LANGUAGES}
    case = Case("classification", items, {language: [{"label": 1}] for language in LANGUAGES})
    hashing, seen = model("classification")
    seen.train()
    scores, _, _ = evaluate(hashing, case.materials, "validation", None, EvaluationConfig(), Group())
    assert dict(scores["accuracy"].values) == dict.fromkeys(LANGUAGES, case.scores("en", [0])["accuracy"])
    assert seen.read == [(0, 5, 2)]
