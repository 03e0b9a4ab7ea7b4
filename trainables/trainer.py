"""Ray Train's trainer for worker groups, without what they have no use for.

Every process that Ray Train starts beside the workers imports Ray for two seconds and more, on the cores that the
trials shall have; with torch, five. What is left out:

- torch's process group and its configuration where a group has one worker (`TorchTrainer` is `DataParallelTrainer` with
  them);
- the actor that hands out shards of Ray Data's data sets, of which there are none;
- the actor that frees a dead controller's placement group, which Ray frees with its owner in any case, and whose start
  the workers would wait for.
"""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

LEFT_OUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class Trainer(DataParallelTrainer):  # type: ignore[misc]  # Ray's is untyped
    """See the module."""

    def __init__(self, *arguments: Any, workers: int, gpus: bool, **options: Any) -> None:
        """As `TorchTrainer`; `workers` a group, each with `gpus` or without."""
        backend = None
        if workers > 1:
            from ray.train.torch import TorchConfig

            backend = TorchConfig(backend="nccl" if gpus else "gloo")
        super().__init__(*arguments, backend_config=backend, **options)

    def _create_default_callbacks(self) -> list[Any]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, LEFT_OUT)]
