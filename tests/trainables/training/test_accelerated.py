"""What a trial does otherwise where an accelerator computes, by pretended ones: when it reads, where weights lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables import shaped
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.scores import Evaluation
from trainables.training import loop, trial
from trainables.training.trial import Trial, start


@pytest.mark.parametrize(("device", "read"), [("cpu", list(range(1, 26))), ("meta", [10, 20, 25])])
def test_an_accelerator_is_read_every_ten_steps(
    device: str, read: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = shaped.begun(apply_point(shaped.BASE, {"training.budget.steps": 25}), "classification", tmp_path, device)
    found: list[int] = []

    def step(trial: Trial, interrupted: Any) -> None:
        trial.step += 1

    def reading(trial: Trial) -> tuple[float, bool]:
        found.append(trial.step)
        return 1.0, False

    def finish(*given: Any) -> Iterator[Evaluation]:
        return iter(())

    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(loop, "read", reading)
    monkeypatch.setattr(loop, "_finish", finish)
    assert list(loop.fit(begun)) == []
    assert found == read


def test_pristine_weights_stay_on_the_device(tmp_path: Path) -> None:
    begun = shaped.begun(shaped.BASE, "classification", tmp_path, "meta")
    kept = begun.materials.remember("encoder", lambda: pytest.fail("it was forgotten"))
    for parameters in (kept.parameters(), begun.model.parameters()):
        assert {parameter.device.type for parameter in parameters} == {"meta"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_next_batch_is_prepared_where_another_device_computes(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    monkeypatch.setattr(trial, "Feed", lambda make, ahead: found.append(ahead))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
    monkeypatch.setattr(trial, "loss_scaler", lambda config, device: None)
    materials = shaped.materials("classification")
    materials.remember("encoder", shaped.encoder)
    start(shaped.BASE, materials, Group(device=torch.device(device)), tmp_path)
    assert found == [device == "cuda"]
