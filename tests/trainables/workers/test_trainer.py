"""Ray Train with fewer processes: what is left out, and what workers then have to see to themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest
import torch
from ray.train import ScalingConfig
from ray.train.backend import Backend
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.worker_group import state, worker_group
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from trainables.workers import lean, worker
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


@pytest.mark.parametrize("local", [True, False])
def test_on_one_machine_the_controller_is_no_process(monkeypatch: pytest.MonkeyPatch, local: bool) -> None:
    """It is run here, asks for no machines and starts no actor to synchronise workers; on a cluster all is as usual."""
    monkeypatch.setattr(worker_group, "SynchronizationActor", worker_group.SynchronizationActor)
    monkeypatch.setattr(worker_group, "get_env_vars_to_propagate", worker_group.get_env_vars_to_propagate)
    monkeypatch.setattr(state, "_shutdown_sync_actor", state._shutdown_sync_actor)
    before = worker_group.SynchronizationActor
    usual, own = [], []

    class Controller:
        def __init__(self, **parts: Any) -> None:
            own.append(parts)

        async def run(self) -> None:
            own.append("run")

        def get_result(self) -> str:
            return "result"

    monkeypatch.setattr(lean, "TrainController", Controller)
    monkeypatch.setattr(
        DataParallelTrainer, "_initialize_and_run_controller", lambda self, **parts: usual.append(parts)
    )
    options = {"run": {}, "scaling_config": ScalingConfig(num_workers=1)}
    made = trainer(print, None, "slot", gpus=False, meets=not local, **options)
    result = made._initialize_and_run_controller(scaling_policy="usual", callbacks=["mine"])
    if not local:
        assert (usual, own) == ([{"scaling_policy": "usual", "callbacks": ["mine"]}], [])
        assert worker_group.SynchronizationActor is before
        return
    assert (result, usual) == ("result", [])
    parts, ran = own
    assert isinstance(parts["scaling_policy"], lean.OneMachine) and parts["callbacks"] == ["mine"] and ran == "run"
    assert worker_group.SynchronizationActor.options(label_selector={}).remote(timeout_s=None) is not None
    state._shutdown_sync_actor("nobody")
    assert worker_group.get_env_vars_to_propagate() == {}


def test_a_single_worker_finds_its_accelerator() -> None:
    """Where no backend of torch has been set up, nobody imports `ray.train.torch` before it is needed."""
    look = (
        "import sys, torch; from ray import train; from trainables.workers.worker import device\n"
        "assert 'ray.train.torch' not in sys.modules\n"
        "torch.cuda.is_available = lambda: True\n"
        "device(1)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120, check=False)
    assert "`get_device` cannot be used outside of a Ray Train training function" in done.stderr  # so it was found


def test_without_one_it_computes_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert worker.device(0.5) == torch.device("cpu")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A pretended second card, and what torch is told of it."""
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cuda:1"))
    monkeypatch.setattr("torch.cuda.set_device", lambda device: told.append(("device", device)))
    monkeypatch.setattr(
        "torch.cuda.set_per_process_memory_fraction", lambda part, device: told.append(("memory", part, device))
    )
    return told


@pytest.mark.parametrize("gpus", [0.25, 1, 2])
def test_of_a_shared_card_a_worker_takes_no_more_than_its_part(gpus: float, card: list[tuple[Any, ...]]) -> None:
    second = torch.device("cuda:1")
    assert worker.device(gpus) == second
    assert card == [("device", second), *([("memory", 0.25, second)] if gpus == 0.25 else [])]


@pytest.mark.parametrize("chosen", [None, "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"])
def test_memory_of_a_card_grows_in_place_unless_it_was_said_how(
    chosen: str | None, card: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {} if chosen is None else {chosen: "max_split_size_mb:64"})
    worker.device(0)
    assert len(os.environ) == (chosen is not None)
    worker.device(1)
    expected = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} if chosen is None else {chosen: mock.ANY}
    assert os.environ == expected


def test_who_was_given_no_gpu_takes_none(card: list[tuple[Any, ...]]) -> None:
    """Ray hides them from such a worker, and warns that it will not for ever."""
    assert worker.device(0) == torch.device("cpu")
    assert card == []


@pytest.mark.parametrize(("gpus", "by"), [(True, "nccl"), (False, "gloo")])
def test_workers_on_several_machines_meet_by_what_their_device_takes(gpus: bool, by: str) -> None:
    two = ScalingConfig(num_workers=2)
    made = trainer(print, None, "slot", gpus=gpus, meets=True, run={}, scaling_config=two)
    assert made.backend_config.backend == by
    alone = trainer(print, None, "slot", gpus=gpus, meets=True, run={}, scaling_config=ScalingConfig(num_workers=1))
    assert not hasattr(alone.backend_config, "backend"), "has nobody to meet"


@pytest.mark.parametrize("meets", [True, False])
def test_so_they_do_under_a_ray_whose_private_names_are_others(meets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And on one machine they are left to meet at a file there too, so that nothing listens beyond loopback."""
    monkeypatch.setitem(sys.modules, "trainables.workers.lean", None)
    two = ScalingConfig(num_workers=2)
    made = trainer(print, None, "slot", gpus=False, meets=meets, run={}, scaling_config=two)
    assert not isinstance(made, LeanTrainer)
    assert (made.backend_config.backend_cls is Backend) is not meets
    assert made.backend_config.backend == "gloo"


def test_a_trainer_that_cannot_be_made_ends_its_group_with_the_cause() -> None:
    group = WorkerGroup(None, "slot", {"gpus_per_worker": 0})  # has no place for its storage
    group.leave()
    assert group.ended
    assert isinstance(group.error, KeyError)
