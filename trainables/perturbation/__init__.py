"""Robust training methods in the embedding space: `create` turns a configuration into one.

In: a function from embeddings to logits, embeddings, mask, labels (`base.Perturbable`). Out: a loss, and diagnostics.
base       the interface; start here
balls      start, normalise, project; ascent: the one ascent loop; noise: random numbers that depend on counters alone
attack     scores under attack; certify: certificates of the smoothed classifier
none, adversarial, freelb, random_perturbation, ear  a method each; divergences: SMART, VAT and R3F

perturbation      what is added to the word embeddings during training; shape (batch, tokens, dim)
epsilon           radius of the ball that holds the perturbation; never a division guard, never a noise scale
norm, scope       ``l2`` or ``linf``; per ``token`` or per ``sentence``
ascent steps      projected-gradient steps of the inner maximisation (K)
step size         relative to epsilon, so that the two can be searched independently
sigma             standard deviation of smoothing noise
certified radius  l2 radius within which the smoothed classifier provably keeps its answer, at failure probability alpha
"""

from __future__ import annotations

from importlib import import_module

from trainables.config import PerturbationConfig
from trainables.errors import UserError, shown, suggestion
from trainables.perturbation import adversarial, divergences, ear, freelb, none, random_perturbation
from trainables.perturbation.base import METHODS, Perturbation

__all__ = ["METHODS", "create", "is_paired"]

_SHIPPED = (adversarial, divergences, ear, freelb, none, random_perturbation)  # importing them registers their methods


def create(config: PerturbationConfig, reference_norm: float = 1.0) -> Perturbation:
    """The configured method; `reference_norm` is m (see `Perturbation`).

    Raises `UserError` for an unknown name and for settings that the method refuses; the latter need no real m.

    >>> create(PerturbationConfig(method="adversarial", ascent_steps=3)).forward_equivalents
    9.0
    """
    return _find(config.method)(config, reference_norm)


def is_paired(config: PerturbationConfig) -> bool:
    """Whether the configured method compares training examples with copies of them. Raises as `create` does."""
    return _find(config.method).paired


def _find(name: str) -> type[Perturbation]:
    """A registered method, or the class under ``package.module:Class``."""
    if ":" in name:
        return _imported(name)
    if name not in METHODS:
        near = suggestion(name, list(METHODS)) or f", known: {', '.join(METHODS)}, or package.module:Class"
        raise UserError(f"perturbation.method: unknown method{near} (got {shown(name)})")
    return METHODS[name]


def _imported(name: str) -> type[Perturbation]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"perturbation.method: cannot be imported, {error} (got {shown(name)})") from error
    if not (isinstance(found, type) and issubclass(found, Perturbation)):
        raise UserError(f"perturbation.method: must name a subclass of Perturbation (got {shown(name)})")
    return found
