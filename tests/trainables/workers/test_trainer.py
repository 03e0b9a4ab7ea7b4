"""Ray Train with fewer processes: what is left out, and what workers then have to see to themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from ray.train import ScalingConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from trainables.workers import worker
from trainables.workers.driver import WorkerGroup
from trainables.workers.lean import LeanTrainer, Placed
from trainables.workers.trainer import trainer


def test_what_is_left_out_is_left_out() -> None:
    made = trainer(print, None, "slot", gpus=False, meets=False, run={}, scaling_config=ScalingConfig(num_workers=1))
    assert isinstance(made, LeanTrainer)
    callbacks = made._create_default_callbacks()
    assert any(isinstance(each, Placed) for each in callbacks)
    assert len(callbacks) > 2
    assert not {DatasetsCallback, PlacementGroupCleanerCallback} & {type(each) for each in callbacks}


def test_a_single_worker_finds_its_accelerator() -> None:
    """Where no backend of torch has been set up, nobody imports `ray.train.torch` before it is needed."""
    look = (
        "import sys, torch; from ray import train; from trainables.workers.worker import device\n"
        "assert 'ray.train.torch' not in sys.modules\n"
        "torch.cuda.is_available = lambda: True\n"
        "device()"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120, check=False)
    assert "`get_device` cannot be used outside of a Ray Train training function" in done.stderr  # so it was found


def test_without_one_it_computes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert worker.device() == torch.device("cpu")


def test_a_trainer_that_cannot_be_made_ends_its_group_with_the_cause() -> None:
    group = WorkerGroup(None, "slot", {"gpus_per_worker": 0})  # has no place for its storage
    group.leave()
    assert group.ended
    assert isinstance(group.error, KeyError)
