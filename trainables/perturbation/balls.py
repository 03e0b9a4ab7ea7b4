"""Balls in the embedding space: a norm is a uniform start, a steepest direction and a projection.

Scope says what has a ball of its own: each token (its d coordinates) or each sentence (the n x d coordinates of its
perturbed tokens). Padding and other excluded tokens are zero in everything that goes in and comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from trainables.lazy import torch
from trainables.perturbation import noise

if TYPE_CHECKING:
    from torch import Tensor

NormName = Literal["l2", "linf"]
Scope = Literal["token", "sentence"]

_MARGIN = 2.0**-17
"""Relative width by which results stay inside the ball, so that rounding puts no measured norm above the radius."""

_TINY = 2.0**-126  # the least normal float32


@dataclass(frozen=True)
class Norm:
    """A norm over the coordinates `dims` of (s, t, d), which stay as dimensions of size one."""

    measure: Callable[[Tensor, tuple[int, ...]], Tensor]
    """Norm of x."""
    start: Callable[[Ball, Tensor, int], Tensor]
    """A uniform draw from the unit ball, from sequence keys (s,) and the draw's seed."""
    normalise: Callable[[Tensor, tuple[int, ...]], Tensor]
    """The direction of norm one in which a function with this gradient rises fastest; zero where the gradient is."""
    project: Callable[[Ball, Tensor, Tensor], Tensor]
    """The nearest point (l2) of the ball, from x and its norm."""


def _measure_l2(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=dims, keepdim=True)
    return norm


def _measure_linf(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.abs().amax(dim=dims, keepdim=True)


def _start_l2(ball: Ball, keys: Tensor, draw: int) -> Tensor:
    """Uniform direction times U^(1/n): the volume inside radius r grows with r^n, n the ball's dimension."""
    s, _, d = ball.shape
    if ball.scope == "token":
        normal, share = noise.normal_and_per_token(keys, draw, ball.mask, d)
        return _normalise_l2(normal, ball.dims) * share.pow(1.0 / d)
    n = (ball.mask.sum(1) * d).clamp(min=1).view(s, 1, 1)
    direction = _normalise_l2(noise.normal(keys, draw, ball.mask, d), ball.dims)
    return direction * noise.per_sequence(keys, draw).pow(1.0 / n)


def _start_linf(ball: Ball, keys: Tensor, draw: int) -> Tensor:
    return noise.uniform(keys, draw, ball.mask, ball.shape[2])


def _normalise_l2(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    x = x / _measure_linf(x, dims).clamp(min=_TINY)  # squares of tiny gradients would underflow
    return x / _measure_l2(x, dims).clamp(min=_TINY)


def _normalise_linf(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.sign()


def _project_l2(ball: Ball, x: Tensor, size: Tensor) -> Tensor:
    return x * ball.share(size)


def _project_linf(ball: Ball, x: Tensor, size: Tensor) -> Tensor:
    return torch.clamp(x, -ball.reach, ball.reach)


NORMS: dict[NormName, Norm] = {
    "l2": Norm(_measure_l2, _start_l2, _normalise_l2, _project_l2),
    "linf": Norm(_measure_linf, _start_linf, _normalise_linf, _project_linf),
}


@dataclass(frozen=True)
class Ball:
    """The balls of one batch: `mask` (s, t) of perturbed tokens, `radius` (s, 1, 1) in embedding units."""

    norm: Norm
    scope: Scope
    mask: Tensor
    radius: Tensor
    shape: tuple[int, int, int]

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of (s, t, d) that one ball spans."""
        return (2,) if self.scope == "token" else (1, 2)

    @property
    def count(self) -> Tensor:
        """Number of balls that hold anything."""
        return self.mask.sum() if self.scope == "token" else self.mask.any(dim=1).sum()

    # What each step asks for is computed once: on an accelerator a number costs a launch, like a tensor.

    @cached_property
    def reach(self) -> Tensor:
        """How far projection lets a perturbation go (s, 1, 1): a little less than the radius."""
        return self.radius * (1.0 - _MARGIN)

    @cached_property
    def _least(self) -> Tensor:
        return self.reach.clamp(min=_TINY)

    @cached_property
    def _untouched(self) -> Tensor:
        return ~self.mask.unsqueeze(2)

    def share(self, size: Tensor) -> Tensor:
        """By what a perturbation of this norm is multiplied to stay within reach: 1 where it is there."""
        return self.reach / torch.maximum(size, self._least)

    def uniform(self, keys: Tensor, draw: int) -> Tensor:
        """A uniform draw from each ball, (s, t, d)."""
        return self.norm.start(self, keys, draw) * self.reach

    def step(self, delta: Tensor, gradient: Tensor, size: float) -> Tensor:
        """`delta` (s, t, d) moved by `size` radii in the direction in which the objective rises fastest."""
        masked = gradient.float().masked_fill(self._untouched, 0.0)
        return torch.addcmul(delta, self.norm.normalise(masked, self.dims), self.radius, value=size)

    def project(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """`delta` moved into the balls, and its norm in each before."""
        size = self.norm.measure(delta, self.dims)
        return self.norm.project(self, delta, size), size

    def project_together(self, *parts: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Parts, each shortened alike so that their sum is in the balls, and its norm in each before."""
        size = self.norm.measure(torch.stack(parts).sum(dim=0), self.dims)
        share = self.share(size)
        return tuple(part * share for part in parts), size

    def left(self, size: Tensor) -> Tensor:
        """How many balls a perturbation of this norm had left."""
        return (size > self.radius * (1.0 + _MARGIN)).sum()


def ball(
    norm: NormName, scope: Scope, epsilon: float, reference_norm: float | None, mask: Tensor, embeddings: Tensor
) -> Ball:
    """The balls of radius epsilon around `embeddings` (s, t, d) at the tokens of `mask` (s, t).

    With a `reference_norm` m, epsilon is relative: a token's l2 radius is epsilon m, a sentence's epsilon m sqrt(n)
    for n perturbed tokens, and the linf radius epsilon m / sqrt(d), which holds a cube of about the same l2 size.
    """
    s, t, d = embeddings.shape
    radius = torch.full((s, 1, 1), epsilon, dtype=torch.float32, device=embeddings.device)
    if reference_norm is not None:
        radius = radius * reference_norm
        if norm == "linf":
            radius = radius / d**0.5
        elif scope == "sentence":
            radius = radius * mask.sum(1).view(s, 1, 1).float().sqrt()
    return Ball(NORMS[norm], scope, mask, radius, (s, t, d))


def gaussian(
    sigma: float, reference_norm: float | None, keys: Tensor, draw: int | Tensor, mask: Tensor, embeddings: Tensor
) -> Tensor:
    """Gaussian noise (s, t, d) of scale sigma per coordinate; with a reference norm m, of scale sigma m / sqrt(d)."""
    d = embeddings.shape[2]
    scale = sigma if reference_norm is None else sigma * reference_norm / d**0.5
    return noise.normal(keys, draw, mask, d) * scale
