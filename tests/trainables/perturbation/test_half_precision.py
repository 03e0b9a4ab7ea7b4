"""The ascent in fp16, as far as a CPU computes in it: gradients below fp16's smallest number, and above its largest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from trainables.config import PerturbationConfig
from trainables.perturbation import ascent, create
from trainables.perturbation.carried import Start

METHODS = ("adversarial", "freelb")


def confident(make: Callable, gap: float):
    """A setting whose model is sure of the right answer by so many logits."""
    s = make()
    s.encoder.float()
    s.head.float()
    right = torch.nn.functional.one_hot(s.labels, 4).float() * gap
    plain = s.logits
    s.logits = lambda embeddings: plain(embeddings).float() + right
    return s


def moved(s, method: str) -> Tensor:
    """By how much one ascent step from the clean point moves each sequence, in units of the ball (s, t * d)."""
    options = {"ascent_steps": 1 if method == "adversarial" else 2, "start": "zero", "relative": False, "epsilon": 0.01}
    create(PerturbationConfig(method=method, scope="sentence", **options), 1.0).loss(s.view(), 1.0)
    return s.deltas()[-1].flatten(1).detach() / 0.01


@pytest.mark.parametrize("method", METHODS)
def test_directions_survive_gradients_below_the_smallest_number(
    make: Callable, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = moved(confident(make, 16.0), method)
    with torch.autocast("cpu", dtype=torch.float16):
        found = moved(confident(make, 16.0), method)
        monkeypatch.setattr(ascent, "HALF_SCALE", 1.0)
        unscaled = moved(confident(make, 16.0), method)
    assert cosine_similarity(found, exact).min() > 0.95
    assert cosine_similarity(unscaled, exact).min() < 0.8, "the test must be one that scaling decides"


def test_sequences_whose_gradient_overflows_stay_where_they_are(
    make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ascent, "HALF_SCALE", 1e9)
    with torch.autocast("cpu", dtype=torch.float16):
        found = moved(confident(make, 0.0), "adversarial")
    assert found.isfinite().all()
    assert (found == 0).all(dim=1).any()


def test_overflowing_gradients_that_train_leave_what_is_carried_where_it_was(make: Callable) -> None:
    """FreeAT moves by the very gradient that has the loss scale, too large while that is still being found."""
    s = confident(make, 0.0)
    freeat = create(PerturbationConfig(method="freeat", relative=False, epsilon=0.3, step_size=0.5), 1.0)
    assert freeat.carries is not None
    size = s.encoder.embed(s.ids).shape[2]
    freeat.carries.begin(Start({}, torch.arange(60), size, sequences=len(s.ids), longest=s.ids.shape[1], seed=0))
    found = []
    for scale in (1.0, 1e9):
        freeat.carries.forget()
        with torch.autocast("cpu", dtype=torch.float16):
            freeat.backward(s.view(), 1.0, scale)
        freeat.carries.update({}, 1.0)
        found.append(freeat.carries.tensors["rows"].clone())
    assert found[0].any()
    torch.testing.assert_close(found[1], found[0])


def test_other_precisions_are_left_alone(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for scale in (1.0, 1e9):
        monkeypatch.setattr(ascent, "HALF_SCALE", scale)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(moved(confident(make, 0.0), "adversarial"))
    assert torch.equal(*found)
