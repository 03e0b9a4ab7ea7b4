"""A task whose items are compared with each other, over several workers: each sees the items of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainables.distributed import Group, together
from trainables.tasks.base import TaskShape


@dataclass(frozen=True)
class Compared:
    """The loss, divergence and answers of a worker's own items, among those of all workers.

    Gradients flow back to whoever's the items are, so that all workers take part in each backward pass too.
    """

    shape: TaskShape
    group: Group
    sizes: Sequence[int]
    """Items of each worker."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As `TaskShape.loss`."""
        return self._own(self.shape.loss(self._all(logits), self._all(labels)))

    def divergence(self, p_logits: Tensor, q_logits: Tensor, labels: Tensor) -> Tensor:
        """As `TaskShape.divergence`."""
        return self._own(self.shape.divergence(self._all(p_logits), self._all(q_logits), self._all(labels)))

    def answers(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As `TaskShape.answers`."""
        return self._own(self.shape.answers(self._all(logits), self._all(labels)))

    def _all(self, rows: Tensor) -> Tensor:
        gathered: Tensor = _Gathered.apply(rows, self.group.rank, tuple(self.sizes))  # type: ignore[no-untyped-call]
        return gathered

    def _own(self, values: Tensor) -> Tensor:
        begin = sum(self.sizes[: self.group.rank])
        return values[begin : begin + self.sizes[self.group.rank]]


class _Gathered(torch.autograd.Function):
    """Rows of all workers, in rank order: (n_0, …), (n_1, …) -> (n_0 + n_1, …).

    The gradient of a worker's rows is the sum of what all workers' losses ask of them.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, sizes: tuple[int, ...]) -> Tensor:
        ctx.rank, ctx.sizes = rank, sizes
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        with together():
            dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        with together():
            dist.all_reduce(total)
        begin = sum(ctx.sizes[: ctx.rank])
        return total[begin : begin + ctx.sizes[ctx.rank]], None, None
