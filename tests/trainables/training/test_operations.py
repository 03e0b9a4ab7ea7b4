"""A step launches no more on an accelerator than its passes need: every operation costs a launch there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import BertConfig, BertModel

from tests.trainables import shaped
from trainables.loading import apply_point
from trainables.model.encoder import Encoder
from trainables.perturbation.ascent import inputs_only
from trainables.tasks.base import collate
from trainables.training.step import train_step
from trainables.training.trial import Trial

DEVICE = torch.device("meta")
"""Its tensors have no values: what is dispatched to it is what an accelerator would be given to do."""

START = 119
"""Operations, beside all passes, of a uniform start in the ball and what describes where the ascent ended."""

CLIMB = 12
"""Of a step in the ball, less what its pass need not do again: 8 make a direction of the gradient, 2 move along it and
add that to the embeddings, 4 project."""


class Launched(TorchDispatchMode):
    """How many operations were dispatched to the device within that are no views."""

    number = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, found)) if isinstance(each, Tensor)]
        self.number += not func.is_view and any(each.device == DEVICE for each in tensors)
        return found


def encoder() -> Encoder:
    """Two layers."""
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "vocab_size": 40, "max_position_embeddings": 20}
    return Encoder(BertModel(BertConfig(**sizes), add_pooling_layer=False), uses_segments=False).eval()


@pytest.fixture(autouse=True)
def _alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers, and texts of one length: for others a card has a kernel without padding, and this device none."""
    monkeypatch.setattr(shaped, "encoder", encoder)
    monkeypatch.setattr(shaped, "words", lambda row: (0, 5 + row, 9, 12, 2))


def begun(folder: Path, **point: object) -> Trial:
    given = {"encoder.dropout": 0.1, **{f"perturbation.{name}": value for name, value in point.items()}}
    trial = shaped.begun(apply_point(shaped.BASE, given), "classification", folder, "meta")
    trial.optimizer = plain(trial.model.parameters())
    for group in trial.optimizer.param_groups:
        group["peak"] = 0.0
    return trial


def plain(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """One that launches little itself, and of which there is a kernel for this device."""
    return torch.optim.SGD(parameters, lr=0.0, foreach=True)


def launches(trial: Trial) -> int:
    train_step(trial)  # the first one allocates
    with Launched() as launched:
        train_step(trial)
    return launched.number


def to_inputs(trial: Trial) -> int:
    """Of a pass forward and back to the embeddings alone."""
    batch, _ = trial.feed.take(0, trial.batch(1), lambda: None)
    trial.model.train()
    point = trial.model.embed(batch).detach().requires_grad_()
    with Launched() as launched:
        inputs_only(trial.materials.shape.loss(trial.model.logits(point, batch), batch.labels), point)
    return launched.number


def library(trial: Trial) -> int:
    """Of the library's own clean step over the padded batch, with the same head and the same optimiser."""
    model = encoder().model.to(DEVICE).train()
    model.set_attn_implementation("sdpa")
    head = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(8, 2)).to(DEVICE)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = plain(parameters)

    def step() -> None:
        batch = collate(trial.materials.shape, trial.materials.train, trial.batch(1).tolist(), trial.materials.pad_id)
        ids, tokens, labels = (each.to(DEVICE) for each in (batch.input_ids, batch.attention_mask, batch.labels))
        states = model(input_ids=ids).last_hidden_state  # a mask it would read back to see whether it is needed
        weights = tokens.to(states.dtype)[..., None]
        logits = head((states * weights).sum(1) / weights.sum(1))
        torch.nn.functional.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    with Launched() as launched:
        step()
    return launched.number


def test_a_clean_step_launches_no_more_than_the_library_s(tmp_path: Path) -> None:
    trial = begun(tmp_path, method="none")
    assert launches(trial) <= library(trial), "less would be a reason to look, too"


def test_ascent_steps_launch_little_beside_their_passes(tmp_path: Path) -> None:
    clean = begun(tmp_path, method="none")
    passes = launches(clean) + 2 * to_inputs(clean)
    assert launches(begun(tmp_path, method="adversarial", ascent_steps=2)) <= passes + START + 2 * CLIMB


def test_of_a_batch_one_copy_is_made(tmp_path: Path) -> None:
    trial = begun(tmp_path, method="none")
    with Launched() as launched:
        trial.feed.take(0, trial.batch(1), lambda: None)
    assert launched.number == 1
