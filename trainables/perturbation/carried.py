"""What a method carries from step to step: tensors that live in checkpoints and are the same on every worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from trainables.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Weights: TypeAlias = "Mapping[str, Tensor]"
"""Trained weights, or their gradients, by the names of the parameters."""


@dataclass(frozen=True)
class Start:
    """A trial at its beginning, on which what is carried may depend."""

    weights: Weights
    """Those that are trained: the trial's own, which will change."""


class Carried(ABC):
    """Tensors that outlive a step.

    A trial calls `begin`, puts what a checkpoint has into `tensors` where it resumes, and then in each step: `forget`,
    the passes, `found` (which it sums over the workers, in place), `update`.
    """

    tensors: Weights
    """By name, fp32: what a checkpoint keeps."""

    @abstractmethod
    def begin(self, start: Start) -> None:
        """Make `tensors` as they are before the first step."""

    def forget(self) -> None:
        """The passes of a step begin, or begin anew: what was found so far does not count."""
        return

    @property
    def found(self) -> Sequence[Tensor]:
        """What this worker's passes found in this step, as sums over its sequences; of one shape on every worker."""
        return ()

    @abstractmethod
    def update(self, weights: Weights, done: float) -> None:
        """Take a step's `found` and the weights after it into `tensors`, in place; `done` is the share of the steps."""


class Average(Carried):
    """The exponential moving average of the trained weights: w' <- b w' + (1 - b) w after each step, w' = w at first.

    b is `momentum`, and at most `EARLY` in the first tenth of the steps.
    """

    EARLY = 0.99

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def begin(self, start: Start) -> None:
        self.tensors = {name: weight.detach().clone() for name, weight in start.weights.items()}

    def update(self, weights: Weights, done: float) -> None:
        momentum = min(self.EARLY, self.momentum) if done <= 0.1 else self.momentum
        for name, mean in self.tensors.items():
            torch.lerp(mean, weights[name].detach(), 1.0 - momentum, out=mean)
