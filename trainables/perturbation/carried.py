"""What a method carries from step to step: tensors that live in checkpoints and are the same on every worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    words: Tensor
    """Of each row of the word embeddings (v,): its number in the encoder's vocabulary, however that is trimmed."""
    width: int
    """Of a word embedding (e)."""
    sequences: int
    """In a batch, over all workers, at most."""
    longest: int
    """Tokens of the longest sequence."""
    seed: int


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


class Rows(Carried):
    """Perturbations (r, e) that tokens read, and leave behind for later steps, by numbers of their own.

    Several that write one row in a step, on whatever worker, leave their mean: it does not depend on their order.
    """

    def __init__(self, make: Callable[[Start], Tensor]) -> None:
        self._make = make
        self.longest = 0
        """Tokens of the longest sequence."""

    def begin(self, start: Start) -> None:
        rows = self._make(start)
        self.tensors, self.longest = {"rows": rows}, start.longest
        self._sums, self._counts = torch.zeros_like(rows), torch.zeros_like(rows[:, :1])

    def read(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """As the step before left them (s, t, e), from row numbers (s, t); zero where `mask` (s, t) is false."""
        return self.tensors["rows"][numbers].masked_fill(~mask.unsqueeze(2), 0.0)

    def write(self, numbers: Tensor, mask: Tensor, rows: Tensor) -> None:
        """Leave rows (s, t, e) behind, where `mask` (s, t) is true."""
        rows = rows.detach().float().masked_fill(~mask.unsqueeze(2), 0.0)
        self._sums.index_add_(0, numbers.flatten(), rows.flatten(0, 1))
        self._counts.index_add_(0, numbers.flatten(), mask.reshape(-1, 1).float())

    def forget(self) -> None:
        self._sums.zero_()
        self._counts.zero_()

    @property
    def found(self) -> Sequence[Tensor]:
        return (self._sums, self._counts)

    def update(self, weights: Weights, done: float) -> None:
        rows = self.tensors["rows"]
        rows.copy_(torch.where(self._counts > 0, self._sums / self._counts.clamp(min=1.0), rows))
