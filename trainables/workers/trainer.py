"""Ray Train's trainer for worker groups, without what they have no use for.

Every process that Ray Train starts beside the workers imports Ray for two seconds and more, on the cores that the
trials shall have; with torch, five. What is left out:

- torch's process group and its configuration where a group has one worker (`TorchTrainer` is `DataParallelTrainer` with
  them);
- the actor that hands out shards of Ray Data's data sets, of which there are none;
- the actor that frees the placement group of a controller that was killed, which Ray does not: it asks the dashboard of
  the controller's state once a second, and a local cluster has none. The mailbox is told of the group instead, and
  frees it when its slot is given up.
"""

from __future__ import annotations

import traceback
from typing import Any

import ray
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

LEFT_OUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class Placed(WorkerGroupCallback):
    """Tells the mailbox where a slot's workers are, and what they died of; part of their controller."""

    def __init__(self, mailbox: Any, slot: str) -> None:
        self.mailbox, self.slot = mailbox, slot

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Ray Train calls it."""
        handle = worker_group.get_worker_group_state().placement_group_handle
        ray.get(self.mailbox.placed.remote(self.slot, handle.placement_group))

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Ray Train calls it, once a second; whatever a worker died of is in it."""
        if worker_group_status.errors:
            words = [f"worker {rank}: {_words(error)}" for rank, error in sorted(worker_group_status.errors.items())]
            ray.get(self.mailbox.died.remote(self.slot, "\n".join(words)))


def _words(error: BaseException) -> str:
    """An exception with its traceback, where it has one."""
    return "".join(traceback.format_exception(error)).strip()


class Trainer(DataParallelTrainer):
    """See the module."""

    def __init__(self, *arguments: Any, workers: int, gpus: bool, placed: Placed, **options: Any) -> None:
        """As `TorchTrainer`; `workers` a group, each with `gpus` or without."""
        self._placed = placed
        backend = None
        if workers > 1:
            from ray.train.torch import TorchConfig

            backend = TorchConfig(backend="nccl" if gpus else "gloo")
        super().__init__(*arguments, backend_config=backend, **options)

    def _create_default_callbacks(self) -> list[Any]:
        usual = super()._create_default_callbacks()
        return [self._placed, *(each for each in usual if not isinstance(each, LEFT_OUT))]
