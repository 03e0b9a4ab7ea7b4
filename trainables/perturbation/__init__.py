"""Robust training methods in the embedding space: `create` turns a configuration into one.

In: a function from embeddings to logits, embeddings, mask, labels (`base.Perturbable`). Out: a loss, and diagnostics.
base       the interface; start here
balls      start, normalise, project; ascent: the one ascent loop; noise: random numbers that depend on counters alone
attack     scores under attack; certify: certificates of the smoothed classifier
carried    what a method carries from step to step, in checkpoints too
none, adversarial, creat, freeat, tavat, random_perturbation, ear, mvr, xtune  a method each
freelb: also VILLA; divergences: SMART, VAT and R3F
rdrop, bregman, moved  what stands around a method: a second dropout mask, earlier weights, weights that are moved
sharpness, mixout  the ways to move them: where the loss is worse (SAM), back to what they were

perturbation      what is added to the word embeddings during training; shape (batch, tokens, dim)
epsilon           radius of the ball that holds the perturbation; never a division guard, never a noise scale
norm, scope       ``l2`` or ``linf``; per ``token`` or per ``sentence``
replays           steps in a row that take one batch (FreeAT)
ascent steps      projected-gradient steps of the inner maximisation (K)
step size         relative to epsilon, so that the two can be searched independently
rho               length of the step by which weights are moved
probability       chance of a weight to be what it was before training
sigma             standard deviation of smoothing noise
view              an example once more, segmented otherwise or in other words, which a method compares it with
certified radius  l2 radius within which the smoothed classifier provably keeps its answer, at failure probability alpha
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from trainables.config import PerturbationConfig
from trainables.errors import UserError, shown, suggestion
from trainables.perturbation import (
    adversarial,
    creat,
    divergences,
    ear,
    freeat,
    freelb,
    mixout,
    mvr,
    none,
    random_perturbation,
    sharpness,
    tavat,
    xtune,
)
from trainables.perturbation.base import METHODS, AtOutput, AtPoint, MovedWeights, Perturbation, Supervision, View
from trainables.perturbation.bregman import Bregman
from trainables.perturbation.moved import WEIGHTS, AtMovedWeights
from trainables.perturbation.rdrop import RDrop

__all__ = [
    "METHODS",
    "WEIGHTS",
    "Parts",
    "RDrop",
    "around",
    "combinations",
    "create",
    "refusal",
    "supervision",
    "view_of",
    "with_inputs",
]

_SHIPPED = (
    *(adversarial, creat, divergences, ear, freeat, freelb, mixout, mvr, none),
    *(random_perturbation, sharpness, tavat, xtune),
)
"""Importing them registers their methods."""


def create(config: PerturbationConfig, reference_norm: float = 1.0) -> Perturbation:
    """The configured method, or several joined by ``+``; `reference_norm` is m (see `Perturbation`).

    At most one is of the inputs (none: the clean ones); ``rdrop`` stands around one that trains at a point, ``bregman``
    around one that trains the output of a pass, a method of `WEIGHTS` around any. Raises `UserError` for an unknown
    name, for what does not combine, and for settings that the method refuses; the latter need no real m.

    >>> create(PerturbationConfig(method="adversarial", ascent_steps=3)).forward_equivalents
    9.0
    >>> create(PerturbationConfig(method="adversarial+sam", ascent_steps=3)).forward_equivalents
    18.0
    """
    parts = Parts.of(config.method)
    method = parts.inputs(config, reference_norm)
    if parts.masks is not None:
        assert isinstance(method, AtPoint), "nothing else combines"
        method = parts.masks(method)
    if parts.outputs is not None:
        assert isinstance(method, AtOutput), "nothing else combines"
        method = parts.outputs(method)
    return method if parts.weights is None else AtMovedWeights(method, parts.weights(config))


def view_of(config: PerturbationConfig) -> View | None:
    """What the configured method compares training examples with. Raises as `create` does."""
    return create(config).view


def supervision(method: str) -> Supervision:
    """What a method, or several joined by ``+``, needs beside source labels. Raises as `create` does."""
    return Parts.of(method).inputs.supervision


def with_inputs(method: str, inputs: str) -> str:
    """The same with another method of the inputs; what stands around it stays.

    >>> with_inputs("adversarial+sam", "random_perturbation")
    'random_perturbation+sam'
    """
    parts = Parts.of(method)
    return "+".join([inputs, *(way.name for way in (parts.masks, parts.outputs, parts.weights) if way is not None)])


def around() -> list[type[RDrop] | type[Bregman] | type[MovedWeights]]:
    """What may stand around a method."""
    return [RDrop, Bregman, *WEIGHTS.values()]


def combinations() -> Iterator[tuple[str, str, str | None]]:
    """Of every method, and everything that may stand around one, with each of the latter: both names, and `refusal`."""
    ways = [way.name for way in around()]
    for name in (*METHODS, *ways):
        for way in ways:
            yield name, way, refusal(f"{name}+{way}")


def refusal(name: str) -> str | None:
    """Why what is joined in the name of a method does not combine; None if it does.

    Raises `UserError` for an unknown name. All conflicts are between two: three combine if any two of them do.
    """
    names, ways = name.split("+"), [way.name for way in around()]
    inputs = [each for each in names if each not in ways]
    methods = [_find(each, name) for each in inputs] or [none.Clean]
    of_the_weights = [each for each in names if each in WEIGHTS]
    alike = [[each for each in names if each == way] for way in NEEDS]
    kinds = ((inputs, "of the inputs"), (of_the_weights, "of the weights"), *((found, "of a kind") for found in alike))
    for found, what in kinds:
        if len(found) > 1:
            return f"at most one method {what} ({', '.join(found)})"
    for way, (base, words) in NEEDS.items():
        if way in names and not issubclass(methods[0], base):
            return f"{way} needs a method that {words}"
    return None


NEEDS: dict[str, tuple[type[Perturbation], str]] = {
    RDrop.name: (AtPoint, "trains at one point"),
    Bregman.name: (AtOutput, "trains the output of one pass"),
}
"""Of what stands around a method: what that must be, and in words. The others stand around any."""


@dataclass(frozen=True)
class Parts:
    """What is joined in the name of a method. `of` raises as `create` does."""

    inputs: type[Perturbation]
    masks: type[RDrop] | None
    outputs: type[Bregman] | None
    weights: type[MovedWeights] | None

    @classmethod
    def of(cls, name: str) -> Parts:
        if (why := refusal(name)) is not None:
            raise UserError(f"perturbation.method: does not combine, {why} (got {shown(name)})")
        names, ways = name.split("+"), [way.name for way in around()]
        return cls(
            next((_find(each, name) for each in names if each not in ways), none.Clean),
            RDrop if RDrop.name in names else None,
            Bregman if Bregman.name in names else None,
            next((WEIGHTS[each] for each in names if each in WEIGHTS), None),
        )


def _find(name: str, whole: str) -> type[Perturbation]:
    """A registered method, or the class under ``package.module:Class``."""
    if ":" in name:
        return _imported(name)
    if name not in METHODS:
        known = [*METHODS, *(way.name for way in around())]
        near = suggestion(name, known) or f", known: {', '.join(known)}, or package.module:Class"
        raise UserError(f"perturbation.method: unknown method{near} (got {shown(whole)})")
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
