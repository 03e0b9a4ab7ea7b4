"""A trial on a device: as on the CPU, and resumed there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainables.steps import stepped
from tests.trainables.training.test_workers import BASE, PERTURBING, begun
from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.storage import checkpoint
from trainables.training.trial import Trial, start


def on(device: torch.device, config: TrialConfig, folder: Path) -> Trial:
    materials = begun(config, "classification", folder / "pristine").materials
    return start(config, materials, Group(device=device), folder)


@pytest.mark.parametrize("method", PERTURBING)
def test_a_trial_is_resumed_where_it_computes(method: str, device: torch.device, tmp_path: Path) -> None:
    config = apply_point(BASE, {"perturbation.method": method})
    alone = on(torch.device("cpu"), config, tmp_path / "alone")
    expected = [stepped(alone)[0] for _ in range(4)]
    first = on(device, config, tmp_path / "trial")
    losses = [stepped(first)[0] for _ in range(2)]
    carries = first.perturbation.carries
    carried = None if carries is None else carries.tensors
    checkpoint.save(first.directory, first.step, first.model, first.optimizer, [], carried=carried)
    again = on(device, config, tmp_path / "trial")
    assert again.step == 2
    assert {p.device.type for p in again.model.parameters()} == {device.type}
    losses += [stepped(again)[0] for _ in range(2)]
    assert losses == pytest.approx(expected, rel=1e-3)
