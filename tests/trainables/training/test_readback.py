"""A step asks its device for nothing: it runs on one that cannot answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from tests.trainables import shaped
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.model import dropout
from trainables.perturbation import view_of
from trainables.training.step import read, train_step
from trainables.training.trial import Trial

DEVICE = "meta"
"""Its tensors have shapes and no values: `item`, `tolist`, `nonzero`, a copy to the CPU and a question to a tensor all
are errors there."""


@pytest.fixture(autouse=True)
def _no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device has none."""
    monkeypatch.setattr(dropout, "draw", lambda seed, like, p, out=None: torch.ones_like(like))


def begun(shape: str, folder: Path, point: dict[str, object]) -> Trial:
    config: TrialConfig = apply_point(shaped.BASE, {"encoder.dropout": 0.1, **point})
    copies = shaped.materials(shape).train if view_of(config.perturbation) == "copies" else None
    trial = shaped.begun(config, shape, folder, DEVICE, originals=copies)
    for group in trial.optimizer.param_groups:
        group.update(fused=False, foreach=True)  # of which the library has no kernel for this device
    return trial


@pytest.mark.parametrize("shape", shaped.SHAPES)
@pytest.mark.parametrize("method", shaped.PERTURBING)
def test_a_step_reads_nothing_back(shape: str, method: str, tmp_path: Path) -> None:
    take_steps(shape, method, tmp_path)


@pytest.mark.parametrize(
    ("shape", "method"),
    [
        *((shape, "adversarial") for shape in shaped.SHAPES),
        *(("classification", method) for method in shaped.PERTURBING if method != "adversarial"),
    ],
)
def test_nor_does_one_in_micro_batches(shape: str, method: str, tmp_path: Path) -> None:
    take_steps(shape, method, tmp_path, {"training.micro_batch_tokens": 12})


def take_steps(shape: str, method: str, folder: Path, limits: Mapping[str, object] = MappingProxyType({})) -> None:
    trial = begun(shape, folder, {"perturbation.method": method, **limits})
    for _ in range(2):
        train_step(trial)
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(trial)  # which would be seen


@pytest.mark.parametrize("start", ["zero", "uniform", "gaussian"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("scope", ["token", "sentence"])
def test_nor_does_any_ball(norm: str, scope: str, start: str, tmp_path: Path) -> None:
    ball = {"perturbation.norm": norm, "perturbation.scope": scope, "perturbation.start": start}
    train_step(begun("classification", tmp_path, {"perturbation.method": "adversarial", **ball}))


def test_nor_does_a_look_inside(tmp_path: Path) -> None:
    point = {"perturbation.method": "ear", "perturbation.attention_layer": 0, "augmentation.copies": 1}
    train_step(begun("classification", tmp_path, point))


def test_what_reads_back_is_seen() -> None:
    there = torch.ones(3, device=DEVICE)
    for asks in (torch.Tensor.tolist, torch.nonzero, torch.Tensor.numpy, torch.Tensor.cpu, bool):
        with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
            asks(there)
