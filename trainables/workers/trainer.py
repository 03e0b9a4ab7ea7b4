"""Ray Train's trainer for a slot's worker groups, by public means, or leaner ones where this Ray has them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import ray
from ray.train import RunConfig, UserCallback

from trainables.distributed import backend


class Deaths(UserCallback):
    """Tells the mailbox what a slot's workers died of; part of their controller."""

    def __init__(self, mailbox: Any, slot: str) -> None:
        self.mailbox, self.slot = mailbox, slot

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, BaseException]) -> None:
        """Ray Train calls it; whatever a worker died of is in it."""
        words = [f"worker {rank}: {_words(error)}" for rank, error in sorted(worker_exceptions.items())]
        ray.get(self.mailbox.died.remote(self.slot, "\n".join(words)))


def _words(error: BaseException) -> str:
    """An exception with its traceback, where it has one."""
    return "".join(traceback.format_exception(error)).strip()


def trainer(
    serve: Any, mailbox: Any, slot: str, *, gpus: bool, meets: bool, run: Mapping[str, Any], **options: Any
) -> Any:
    """A trainer whose workers run `serve`; `run` are settings of its `RunConfig`, `options` arguments of its own.

    With `meets` it lets several workers meet, else they see to it themselves.
    """
    options["run_config"] = RunConfig(callbacks=[Deaths(mailbox, slot)], **run)
    process_group = backend("cuda" if gpus else "cpu")
    # Ray Train's module for torch imports it, which is why it is not at the top.
    try:
        from trainables.workers.lean import LeanTrainer
    except ImportError:  # a Ray that keeps these things elsewhere
        from ray.train.backend import Backend
        from ray.train.torch import TorchConfig, TorchTrainer

        class Apart(TorchConfig):
            """Has workers meet by themselves: Ray's trainer would do it by a store that listens beyond loopback."""

            backend_cls = Backend

        meeting = TorchConfig if meets else Apart
        return TorchTrainer(serve, torch_config=meeting(backend=process_group), **options)
    if meets and options["scaling_config"].num_workers > 1:
        from ray.train.torch import TorchConfig

        options["backend_config"] = TorchConfig(backend=process_group)
    return LeanTrainer(serve, mailbox=mailbox, slot=slot, local=not meets, **options)
