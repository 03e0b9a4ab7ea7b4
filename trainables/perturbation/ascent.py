"""The one ascent: projected steps that maximise an objective of the logits over a ball around the embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.perturbation.balls import Ball, ball, gaussian
from trainables.perturbation.base import Diagnostics, Perturbable, Perturbation

Objective = Callable[[Tensor], Tensor]
"""Logits to per-item values (n,) that the ascent raises."""

Differentiate = Callable[[Tensor, Tensor], Tensor]
"""From per-item values (n,) and the perturbed embeddings (s, t, d), a leaf, to the gradient of their sum to it."""


@dataclass(frozen=True)
class Ascent:
    """Where an ascent ended (s, t, d), the balls its last projection pulled back, and the logits at its start.

    `logits` are detached, and none where no step was taken.
    """

    ball: Ball
    delta: Tensor
    clipped: Tensor
    logits: Tensor | None


def inputs_only(values: Tensor, point: Tensor) -> Tensor:
    """Gradient to the embeddings alone: the engine computes no weight gradient, which is a third of a step's cost."""
    (gradient,) = torch.autograd.grad(values.sum(), point)
    return gradient


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
    delta, clipped = ball.project(start)
    first: Tensor | None = None
    for _ in range(steps):
        point = (batch.embeddings.detach() + delta).requires_grad_()
        logits = batch.forward(point)
        gradient = differentiate(objective(logits), point)
        first = logits.detach() if first is None else first
        delta, clipped = ball.project(delta + step_size * ball.step(gradient))
    return Ascent(ball, delta, clipped, first)


def describe(batch: Perturbable, delta: Tensor) -> Diagnostics:
    """The norms of a perturbation (s, t, d)."""
    return _collect(_norms(batch, delta))


def describe_ascent(batch: Perturbable, ascent: Ascent, end: Tensor) -> Diagnostics:
    """Norms, clipping, and what the ascent did to the model; `end` are the logits where it ended.

    The loss rise is that of the training loss, whatever objective the ascent raised. Needs no forward pass.
    """
    sums = [*_norms(batch, ascent.delta), ascent.clipped, ascent.ball.count]
    if ascent.logits is not None:
        with torch.no_grad():
            rise = batch.loss(end) - batch.loss(ascent.logits)
            sums += [rise.sum(), _flipped(batch, ascent.logits, end), torch.tensor(len(rise))]
    return _collect(sums)


def _norms(batch: Perturbable, delta: Tensor) -> list[Tensor]:
    norms = torch.linalg.vector_norm(delta.float(), dim=2)
    return [norms.square().sum(), batch.mask.sum(), norms.max()]


def _collect(sums: list[Tensor]) -> Diagnostics:
    """In the order of the fields, in one transfer from the device."""
    return Diagnostics(*torch.stack([value.to(sums[0].device, torch.float64) for value in sums]).tolist())


def _flipped(batch: Perturbable, start: Tensor, end: Tensor) -> Tensor:
    """Items any of whose answers changed."""
    changed = batch.answers(start) != batch.answers(end)
    return changed.flatten(1).any(1).sum() if changed.dim() > 1 else changed.sum()


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
        """`steps` ascent steps from the configured start; a ball of radius zero is not searched."""
        config = self.config
        around = ball(
            config.norm,
            config.scope,
            config.epsilon * magnitude,
            self.reference_norm if config.relative else None,
            batch.mask,
            batch.embeddings,
        )
        if config.epsilon * magnitude == 0.0:
            steps = 0
        return ascend(batch, around, self._start(batch, around), steps, config.step_size, objective, differentiate)

    def _start(self, batch: Perturbable, around: Ball) -> Tensor:
        """Where the ascent begins, before projection."""
        config = self.config
        if config.start == "uniform":
            return around.uniform(batch.keys, batch.draw)
        if config.start == "gaussian":
            scale = self.reference_norm if config.relative else None
            return gaussian(config.sigma, scale, batch.keys, batch.draw, batch.mask, batch.embeddings)
        return torch.zeros_like(batch.embeddings, dtype=torch.float32).detach()

    @property
    def ascent_steps(self) -> int:
        """Ascent steps that are taken: none where the ball is a point."""
        return self.config.ascent_steps if self.config.epsilon > 0.0 else 0
