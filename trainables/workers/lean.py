"""Ray Train's trainer without what our worker groups have no use for: an optimisation through Ray's private names.

Every process that Ray Train starts beside the workers imports Ray for two seconds and more, on the cores that the
trials shall have; with torch, five. What is left out:

- the actor that hands out shards of Ray Data's data sets, of which there are none;
- the actor that frees the placement group of a controller that was killed, which Ray does not: it asks the dashboard of
  the controller's state once a second, and a local cluster has none. The mailbox is told of the group instead, and
  frees it when its slot is given up.

And on one machine, where nothing of it can be lost alone:

- the controller's own: it runs in the trial driver, which has imported all that it needs and waits for it anyway;
- the actor by which workers wait for one another in `ray.train.report`, which ours never call;
- the actor that asks the autoscaler for machines, of which there is one.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import state, worker_group
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


class OneMachine(FixedScalingPolicy):
    """Asks nobody for more."""

    def _send_resource_request(self) -> None:
        """Ray Train calls it at the start, and the next two while it runs and at its end."""

    def _maybe_send_resource_request(self) -> None:
        pass

    def _cancel_resource_request(self) -> None:
        pass


class Nobody:
    """Stands where the class of the actor stands that synchronises workers, and for its handle."""

    @classmethod
    def options(cls, **options: Any) -> type[Nobody]:
        """As of an actor's class."""
        return cls

    @staticmethod
    def remote(**arguments: Any) -> str:
        """What workers are given as the handle."""
        return "nobody"


def bare_groups() -> None:
    """From now on worker groups of this process start no actor to synchronise workers, who inherit all variables: to be
    handed some, their processes would start twice."""
    if hasattr(worker_group, "SynchronizationActor") and hasattr(state, "_shutdown_sync_actor"):
        worker_group.SynchronizationActor = Nobody
        state._shutdown_sync_actor = lambda nobody: None
    worker_group.get_env_vars_to_propagate = dict


class LeanTrainer(DataParallelTrainer):
    """See the module."""

    def __init__(self, serve: Any, *, mailbox: Any, slot: str, local: bool, **options: Any) -> None:
        """As `DataParallelTrainer`, for the slot of a mailbox. `local`: all of the cluster is one machine."""
        self._placed, self._local = Placed(mailbox, slot), local
        super().__init__(serve, **options)

    def _create_default_callbacks(self) -> list[Any]:
        usual = super()._create_default_callbacks()
        return [self._placed, *(each for each in usual if not isinstance(each, LEFT_OUT))]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        if not self._local:
            return super()._initialize_and_run_controller(**parts)
        bare_groups()
        controller = TrainController(**parts | {"scaling_policy": OneMachine(self.scaling_config)})
        asyncio.run(controller.run())
        return controller.get_result()
