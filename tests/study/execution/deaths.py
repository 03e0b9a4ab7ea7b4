"""Methods that end their worker, each in its way; on the path of a study's processes in tests."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

from torch import Tensor

from trainables.perturbation.base import Diagnostics, Perturbable, Perturbation


class Dying(Perturbation):
    """Clean training up to the first step."""

    description = "ends its worker"

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics]:
        self.die()
        return batch.loss(batch.forward(batch.embeddings)), Diagnostics()

    def die(self) -> None:
        """The end."""
        raise NotImplementedError

    @property
    def forward_equivalents(self) -> float:
        return 3.0


class Segfault(Dying):
    """As a broken extension does."""

    def die(self) -> None:
        faulthandler.enable()
        os.kill(os.getpid(), signal.SIGSEGV)


class Exit(Dying):
    """As a library that gives up does."""

    def die(self) -> None:
        print("the licence server said no", file=sys.stderr, flush=True)
        os._exit(3)


class Kill(Dying):
    """As the kernel does where memory is short."""

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Missing(Dying):
    """A module that is on the driver's machine only."""

    def die(self) -> None:
        raise ModuleNotFoundError("No module named 'apex'")
