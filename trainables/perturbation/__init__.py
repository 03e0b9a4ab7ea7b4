"""Robust training methods in the embedding space: `create` turns a configuration into one."""

from __future__ import annotations

import difflib

from trainables.config import PerturbationConfig
from trainables.loading import UserError
from trainables.perturbation import adversarial, none, random_perturbation
from trainables.perturbation.base import METHODS, Perturbation

__all__ = ["METHODS", "create"]

_SHIPPED = (adversarial, none, random_perturbation)


def create(config: PerturbationConfig, reference_norm: float) -> Perturbation:
    """The configured method; `reference_norm` is m (see `Perturbation`). Raises UserError for an unknown name."""
    method = METHODS.get(config.method)
    if method is None:
        near = difflib.get_close_matches(config.method, METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(METHODS))}"
        raise UserError(f"perturbation.method: unknown method{hint} (got {config.method!r})")
    return method(config, reference_norm)
