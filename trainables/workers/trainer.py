"""Ray Train's trainer for a slot's worker groups, by public means, or leaner ones where this Ray has them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import ray
from ray.train import RunConfig, UserCallback


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


def trainer(serve: Any, mailbox: Any, slot: str, gpus: bool, run: Mapping[str, Any], **options: Any) -> Any:
    """A trainer whose workers run `serve`; `run` are settings of its `RunConfig`, `options` arguments of its own."""
    options["run_config"] = RunConfig(callbacks=[Deaths(mailbox, slot)], **run)
    try:
        from trainables.workers.lean import LeanTrainer
    except ImportError:  # a Ray that keeps these things elsewhere
        from ray.train.torch import TorchConfig, TorchTrainer  # and with it torch, which is why not at the top

        return TorchTrainer(serve, torch_config=TorchConfig(backend="nccl" if gpus else "gloo"), **options)
    return LeanTrainer(serve, mailbox=mailbox, slot=slot, gpus=gpus, **options)
