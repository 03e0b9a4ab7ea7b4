"""Every method on every real task shape: its loss, its divergence, its answers, on tokenised rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.shaped import ALONE
from trainables.config import AttackConfig, EncoderConfig, PerturbationConfig
from trainables.model.pretrained import load_tokenizer
from trainables.perturbation import create
from trainables.perturbation.attack import attacked_logits
from trainables.perturbation.base import Perturbable, read
from trainables.perturbation.carried import Start
from trainables.tasks.base import TaskShape, collate
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging

CONTEXT = "The old lamp in the kitchen was warm, and the new one in the hall was cold."

SHAPES: dict[str, tuple[TaskShape, list[dict[str, Any]]]] = {
    "pairs": (
        Classification(("no", "yes"), pair=True),
        [{"text": "It rains.", "text_pair": "It is a very wet day.", "label": 1},
         {"text": "One", "text_pair": "Two", "label": 0}],
    ),
    "multiple choice": (
        MultipleChoice(("0", "1", "2"), most_choices=3),
        [{"premise": "He fell.", "question": "Why?", "choices": ["Ice.", "He ran very fast.", "No"], "label": 1},
         {"premise": "A", "question": "B", "choices": ["c", "d"], "label": 0}],
    ),
    "tagging": (
        Tagging(("NOUN", "VERB", "DET")),
        [{"tokens": ["The", "unbelievable", "dogs", "bark"], "tags": [2, 0, 0, 1]}, {"tokens": ["Go"], "tags": [1]}],
    ),
    "spans": (
        SpanAnswering("squad"),
        [{"question": "What was warm?", "context": CONTEXT, "answers": {"text": ["old lamp"], "answer_start": [4]}},
         {"question": "Where?", "context": CONTEXT[:24], "answers": {"text": ["kitchen"], "answer_start": [16]}}],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(EncoderConfig())


@pytest.fixture(params=SHAPES)
def case(request, make, kind, tokenizer) -> tuple[Any, TaskShape, Tensor, Callable[[], Perturbable]]:
    """The tiny encoder under a head of the shape, in double precision, the labels, and a function that makes views."""
    shape, rows = SHAPES[request.param]
    encoded = shape.encode(rows, tokenizer, 36)
    batch = collate(shape, encoded, range(len(encoded)), pad_id=1)
    s = make(kind, lengths=(3,))
    torch.manual_seed(5)
    head = shape.head(16, "mean", 0.0).double()
    s.ids = torch.where(batch.attention_mask.bool(), batch.input_ids % 54 + 5, 1)
    s.mask = batch.attention_mask.bool() & ~batch.special

    def forward(embeddings: Tensor) -> Tensor:
        return encoded(embeddings)[0]

    def encoded(embeddings: Tensor) -> tuple[Tensor, Tensor]:
        s.points.append(embeddings.detach())
        states = s.encoder.states(embeddings, batch.layout)
        return head(states, batch.attention_mask), states[:, 0]

    def view() -> Perturbable:
        return Perturbable(
            forward,
            s.encoder.embed(s.ids),
            s.mask,
            lambda logits: shape.loss(logits, batch.labels),
            lambda p, q: shape.divergence(p, q, batch.labels),
            lambda logits: shape.answers(logits, batch.labels),
            batch.sequence_keys,
            3,
            words=s.ids,
            places=torch.arange(len(batch.input_ids)),
            encoded=encoded,
        )

    return s, shape, batch.labels, view


@pytest.mark.parametrize("name", ALONE)
def test_every_method_trains_every_shape(case, name):
    s, _, labels, view = case
    method = create(PerturbationConfig(method=name, epsilon=0.1, ascent_steps=3, distribution="uniform"), 1.0)
    out = []
    if method.carries is not None:
        method.carries.begin(Start({}, torch.arange(60), 16, len(s.ids), s.ids.shape[1], seed=0))
    gradients = s.gradients(lambda: out.append(method.backward(view(), 1.0, 1.0)))
    loss, diagnostics = out[0][0], read([out[0][1]])
    assert loss.shape == (len(labels),)
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(g).all() for g in gradients)
    assert all(not delta[~s.mask].any() for delta in s.deltas())
    if diagnostics.items:
        assert diagnostics.items == len(labels)
        assert diagnostics.loss_rise > 0


@pytest.mark.parametrize("name", ["smart", "vat", "r3f"])
def test_the_divergence_term_vanishes_with_the_magnitude_and_grows_with_it(case, name):
    s, _, _, view = case
    clean = s.gradients(lambda: create(PerturbationConfig(), 1.0).backward(view(), 1.0, 1.0))
    options = {"method": name, "distribution": "uniform", "weight": 10.0}
    at_zero = s.gradients(lambda: create(PerturbationConfig(epsilon=0.0, **options), 1.0).backward(view(), 1.0, 1.0))
    for a, b in zip(at_zero, clean, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    own = create(PerturbationConfig(), 1.0).loss(view(), 1.0)[0]
    terms = [
        (create(PerturbationConfig(epsilon=e, **options), 1.0).loss(view(), 1.0)[0] - own).sum()
        for e in (0.01, 0.1, 0.5)
    ]
    assert 0 < terms[0] < terms[1] < terms[2]


def test_the_attack_worsens_every_shape(case):
    _, shape, labels, view = case
    clean = view().forward(view().embeddings)
    answered = shape.answers(clean, labels)

    def right(logits: Tensor) -> Tensor:
        return (shape.answers(logits, labels) == answered).reshape(len(labels), -1).all(1)

    worst = attacked_logits(view(), AttackConfig(epsilon=(0.3, 3.0), ascent_steps=4, restarts=2), 1.0, right)
    losses = [shape.loss(logits, labels).sum() for logits in (clean, worst[0.3])]
    assert losses[1] > losses[0]
    assert right(worst[3.0]).sum() <= right(worst[0.3]).sum()
