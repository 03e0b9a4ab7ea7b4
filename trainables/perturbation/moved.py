"""What has the gradient of a method taken at moved weights, and the ways to move them that are registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.perturbation.base import Around, Diagnostics, Measured, MovedWeights, Perturbable, Perturbation

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: dict[str, type[MovedWeights]] = {}
"""Registered ways to move the weights, by name."""


def register(way: type[MovedWeights]) -> type[MovedWeights]:
    """Class decorator: make a way to move the weights available under its name."""
    assert way.name not in WEIGHTS, f"{way.name!r} is registered already"
    WEIGHTS[way.name] = way
    return way


class AtMovedWeights(Around):
    """The loss of another method, at weights that `way` moves."""

    def __init__(self, inner: Perturbation, way: MovedWeights) -> None:
        super().__init__(inner)
        self.weights = way
        self.dose = self.dose or way.dose

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        return self.inner.loss(batch, magnitude)

    def backward(
        self, batch: Perturbable, magnitude: float, scale: float | Tensor
    ) -> tuple[Tensor, Diagnostics | Measured]:
        return self.inner.backward(batch, magnitude, scale)

    @property
    def forward_equivalents(self) -> float:
        """Twice what it stands around where the batch is gone through twice."""
        return self.inner.forward_equivalents * self._times

    @property
    def weight_gradients(self) -> float:
        return self.inner.weight_gradients * self._times

    @property
    def _times(self) -> float:
        assert self.weights is not None, "it was given one"
        return 2.0 if self.weights.looks_first and self.weights.reach > 0.0 else 1.0
