"""Ray Train's trainer without what our worker groups have no use for: an optimisation through Ray's private names.

Every process that Ray Train starts beside the workers imports Ray for two seconds and more, on the cores that the
trials shall have; with torch, five. What is left out:

- the actor that hands out shards of Ray Data's data sets, of which there are none;
- the actor that frees the placement group of a controller that was killed, which Ray does not: it asks the dashboard of
  the controller's state once a second, and a local cluster has none. The mailbox is told of the group instead, and
  frees it when its slot is given up.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

LEFT_OUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class Placed(WorkerGroupCallback):
    """Tells the mailbox where a slot's workers are; part of their controller."""

    def __init__(self, mailbox: Any, slot: str) -> None:
        self.mailbox, self.slot = mailbox, slot

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Ray Train calls it."""
        handle = worker_group.get_worker_group_state().placement_group_handle
        ray.get(self.mailbox.placed.remote(self.slot, handle.placement_group))


class LeanTrainer(DataParallelTrainer):
    """See the module."""

    def __init__(self, serve: Any, *, mailbox: Any, slot: str, **options: Any) -> None:
        """As `DataParallelTrainer`, for the slot of a mailbox."""
        self._placed = Placed(mailbox, slot)
        super().__init__(serve, **options)

    def _create_default_callbacks(self) -> list[Any]:
        usual = super()._create_default_callbacks()
        return [self._placed, *(each for each in usual if not isinstance(each, LEFT_OUT))]
