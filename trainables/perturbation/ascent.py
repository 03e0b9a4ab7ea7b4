"""The one ascent: projected steps that maximise an objective of the logits over a ball around the embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

from trainables.lazy import torch
from trainables.perturbation.balls import Ball, Scope, ball, gaussian
from trainables.perturbation.base import Diagnostics, Measured, Perturbable, Perturbation

if TYPE_CHECKING:
    from torch import Tensor

Objective: TypeAlias = "Callable[[Tensor], Tensor]"
"""Logits to per-item values (n,) that the ascent raises."""

Differentiate: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""From per-item values (n,) and the perturbed embeddings (s, t, d) to the gradient of their sum."""

HALF_SCALE = 1024.0
"""What an objective is multiplied by before it is differentiated under fp16, where numbers below 6e-8 are zero and the
gradients of a confident model lie there. The direction is normalised, so the factor cancels."""


@dataclass(frozen=True)
class Ascent:
    """Where an ascent ended (s, t, d), the norms from which its last projection pulled back, and what it saw at first.

    `start` are the objective (n,) and the logits there, detached; none where no step was taken.
    """

    ball: Ball
    delta: Tensor
    size: Tensor
    start: tuple[Tensor, Tensor] | None


def inputs_only(values: Tensor, point: Tensor, retain_graph: bool = False) -> Tensor:
    """Gradient to the embeddings alone: the engine computes no weight gradient, which is a third of a step's cost.

    Under fp16 `HALF_SCALE` times it.
    """
    total = values.sum() * HALF_SCALE if _is_half(point) else values.sum()
    (gradient,) = torch.autograd.grad(total, point, retain_graph=retain_graph)
    return gradient


def _is_half(point: Tensor) -> bool:
    """Whether passes from here are computed in fp16."""
    device = point.device.type
    casts = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return casts and torch.get_autocast_dtype(device) == torch.float16


def without_overflows(gradient: Tensor, point: Tensor) -> Tensor:
    """The same (s, t, d); under fp16 zero for sequences in which it is not finite: those stay where they are."""
    if not _is_half(point):
        return gradient
    finite = gradient.isfinite().flatten(1).all(dim=1)
    return gradient.where(finite[:, None, None], torch.zeros_like(gradient))


def ascend(
    batch: Perturbable,
    ball: Ball,
    start: Tensor,
    steps: int,
    step_size: float,
    objective: Objective,
    differentiate: Differentiate = inputs_only,
) -> Ascent:
    """`steps` times: delta <- project(delta + step_size * radius * normalise(gradient)).

    (Madry et al. 2018, arXiv 1706.06083, section 2.1; for l2 the steepest direction is gradient over norm.) `step_size`
    is relative to the radius.
    """
    delta, size = ball.project(start)
    first: tuple[Tensor, Tensor] | None = None
    for _ in range(steps):
        gradient, values, logits = gradient_at(batch, delta, objective, differentiate)
        first = first or (values, logits)
        delta, size = ball.project(ball.step(delta, gradient, step_size))
    return Ascent(ball, delta, size, first)


def gradient_at(
    batch: Perturbable, delta: Tensor, objective: Objective, differentiate: Differentiate
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the objective to the perturbed embeddings (s, t, d); it itself (n,) and the logits, detached."""
    point = batch.embeddings + delta
    if not point.requires_grad:
        point.requires_grad_()
    logits = batch.forward(point)
    values = objective(logits)
    return without_overflows(differentiate(values, point), point), values.detach(), logits.detach()


def describe(batch: Perturbable, delta: Tensor) -> Measured:
    """The norms of a perturbation (s, t, d)."""
    return _collect(_norms(batch, delta))


def describe_ascent(batch: Perturbable, ascent: Ascent, values: Tensor, logits: Tensor) -> Measured:
    """Norms, clipping, and what the ascent did: `values` (n,) and `logits` are objective and logits at its end."""
    sums = [*_norms(batch, ascent.delta), *_clipping(ascent.ball, ascent.size)]
    if ascent.start is not None:
        before, logits_before = ascent.start
        changed = batch.answers(logits_before) != batch.answers(logits.detach())
        flipped = changed.flatten(1).any(1) if changed.dim() > 1 else changed
        items = values.new_full((), len(values))
        sums += [(values.detach() - before).sum(), items, flipped.sum(), items]
    return _collect(sums)


def describe_step(batch: Perturbable, ball: Ball, delta: Tensor, size: Tensor, rise: Tensor, items: int) -> Measured:
    """Norms of where a pass was, clipping of the step from there, and by how much it raises the objective of the items,
    as far as its gradient says."""
    sums = [*_norms(batch, delta), *_clipping(ball, size)]
    return _collect([*sums, rise.detach(), rise.new_full((), items)])


def _clipping(ball: Ball, size: Tensor) -> list[Tensor]:
    """How many balls were left by perturbations of some norms, of how many."""
    return [ball.left(size), ball.count]


def _norms(batch: Perturbable, delta: Tensor) -> list[Tensor]:
    norms = torch.linalg.vector_norm(delta.float(), dim=2)
    return [norms.square().sum(), batch.mask.sum(), norms.max()]


def _collect(sums: list[Tensor]) -> Measured:
    """In the order of the fields; what was not measured is zero."""
    absent = [sums[0].new_zeros(())] * (len(fields(Diagnostics)) - len(sums))
    return Measured(torch.stack([*sums, *absent]))


class AscentMethod(Perturbation):
    """Base of the methods that look for a worst case in a ball."""

    def _maximise(
        self,
        batch: Perturbable,
        magnitude: float,
        objective: Objective,
        steps: int,
        differentiate: Differentiate = inputs_only,
    ) -> Ascent:
        """`steps` ascent steps from the configured start, in the configured ball."""
        around, size = self._ball(batch, magnitude), self.config.step_size
        return ascend(batch, around, self._start(batch, around), steps, size, objective, differentiate)

    def _ball(self, batch: Perturbable, magnitude: float, scope: Scope | None = None) -> Ball:
        """The configured ball around the embeddings; with a `scope`, of that."""
        config = self.config
        return ball(
            config.norm,
            scope or config.scope,
            config.epsilon * magnitude,
            self.reference_norm if config.relative else None,
            batch.mask,
            batch.embeddings,
        )

    def _start(self, batch: Perturbable, around: Ball) -> Tensor:
        """Where the ascent begins, before projection."""
        config = self.config
        if config.start == "uniform":
            return around.uniform(batch.keys, batch.draw)
        if config.start == "gaussian":
            scale = self.reference_norm if config.relative else None
            return gaussian(config.sigma, scale, batch.keys, batch.draw, batch.mask, batch.embeddings)
        return torch.zeros_like(batch.embeddings, dtype=torch.float32).detach()

    def _steps(self, magnitude: float = 1.0) -> int:
        """Ascent steps worth taking: none where the ball is a point."""
        return self.config.ascent_steps if self.config.epsilon * magnitude > 0.0 else 0
