"""Tiny trials of every shape of task, and of every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from tests.trainables import texts
from tests.trainables.texts import Item
from trainables.batch import Encoded
from trainables.config import PerturbationConfig, TrialConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.model.encoder import Encoder
from trainables.perturbation import METHODS, view_of
from trainables.tasks.base import IGNORED, TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.relevance import Relevance
from trainables.tasks.retrieval import Retrieval
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging
from trainables.training.trial import Trial, start

ITEMS = 7
"""Texts, which make a batch of five and one of two."""

BASE = TrialConfig.model_validate(
    {
        "encoder": {"dropout": 0.0},
        "training": {"batch_size": 5, "budget": {"steps": 8}, "learning_rate": 1e-3, "warmup_fraction": 0.0},
        "perturbation": {"epsilon": 0.3, "ascent_steps": 2, "replays": 2},
    }
)


def words(row: int, more: int = 0) -> tuple[int, ...]:
    """A text of four to six tokens."""
    return (0, 5 + row, 9 + row % 3, *range(12, 12 + row % 3 + more), 2)


def span(row: int) -> tuple[int, ...]:
    """Where the answer is, as such tasks label it; each token of the context has two characters."""
    tokens = len(words(row)) - 2
    return (row % 2 + 1, 2, 1, tokens, *range(0, 2), *(c for k in range(1, tokens) for c in (2 * k, 2 * k + 2)))


SHAPES: dict[str, tuple[TaskShape, Callable[[int], Item]]] = {
    "classification": (Classification(("no", "yes"), pair=False), lambda i: Item((words(i),), (i % 2,), i)),
    "tagging": (
        Tagging(("a", "b", "c")),
        lambda i: Item((words(i),), (IGNORED, *((i + k) % 3 for k in range(len(words(i)) - 2)), IGNORED), i),
    ),
    "span": (SpanAnswering("squad"), lambda i: Item((words(i),), span(i), i)),
    "choice": (MultipleChoice(("1", "2"), 2), lambda i: Item((words(i), words(i + 1, 1)), (i % 2, 2), i)),
    "retrieval": (Retrieval("pairs", "accuracy"), lambda i: Item((words(i), words(i + 1, 1)), (0, 0, i), i)),
}

TASKS = SHAPES | {
    "relevance": (Relevance(("no", "yes")), lambda i: Item((words(i),), (i % 2,), i)),
}
"""And those that train as one of them does."""


def resegmented(shape: str) -> Callable[[int, int], Encoded | None]:
    """Second views: a token more after the first of each text, which depends on the epoch; of item 3 there is none."""
    _task, make = TASKS[shape]

    def view(epoch: int, number: int) -> Encoded | None:
        item = make(number)
        sequences = tuple((*s[:2], 30 + (epoch + number) % 4, *s[2:]) for s in item.sequences)
        labels: tuple[int, ...] = item.labels
        if shape == "tagging":
            labels = (*labels[:2], IGNORED, *labels[2:])
        if shape == "span":
            first, last, begin, tokens, *characters = labels
            labels = (first + (first > 1), last + (last > 1), begin, tokens + 1, 0, 1, 1, 2, *characters[2:])
        return None if number == 3 else texts.encode([Item(sequences, labels, number)])

    return view


ALONE = [name for name in METHODS if view_of(PerturbationConfig(method=name)) is None]
"""Methods that compare examples with nothing."""

PERTURBING = [
    *sorted(name for name, method in METHODS.items() if name != "ear"),
    *("rdrop", "adversarial+rdrop", "sam", "freelb+asam", "adversarial+mixout", "adversarial+bregman"),
]
"""Methods that need nothing but the batch, and some that stand around others."""


def encoder() -> Encoder:
    """One layer of random weights."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "vocab_size": 40, "max_position_embeddings": 20, "type_vocab_size": 1}
    return Encoder(XLMRobertaModel(XLMRobertaConfig(**sizes), add_pooling_layer=False), uses_segments=False).eval()


def materials(shape: str) -> Materials:
    """Seven items of a shape, which train and are scored."""
    task, make = TASKS[shape]
    train = [make(row) for row in range(ITEMS)]
    return texts.write(task, {"en": train}, {"en": [{"label": item.labels[0]} for item in train]}, train, 0.5)


def begun(config: TrialConfig, shape: str, folder: Path, device: str = "cpu", **other: Any) -> Trial:
    """A trial of a tiny encoder on them; `other` materials may be given."""
    if view_of(config.perturbation) == "segments":
        other.setdefault("views", resegmented(shape))
    made = replace(materials(shape), **other)
    made.remember("encoder", encoder)
    return start(config, made, Group(device=torch.device(device)), folder)
