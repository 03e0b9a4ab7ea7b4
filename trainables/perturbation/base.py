"""The one interface of robust training methods in the embedding space.

A method sees a function from embeddings to logits, the embeddings, the labels (inside `loss`) and the mask. It knows
neither the encoder nor the task. Suffixes: s sequences, n items, t tokens, d embedding size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from trainables.config import EncoderConfig, PerturbationConfig, TrialConfig
from trainables.lazy import torch
from trainables.perturbation.carried import Carried, Weights

if TYPE_CHECKING:
    from torch import Tensor

Supervision = Literal["none", "monolingual", "bilingual", "parallel"]

View = Literal["copies", "segments"]
"""What a method compares an example with: a copy in other words, or itself in another segmentation."""


@dataclass(frozen=True)
class Inside:
    """What one forward pass shows of the model's inside.

    `pooled` (s, d) is the mean over each sequence's tokens of what enters the first layer, `attention` (s, heads, t, t)
    the attention probabilities of one layer, queries before keys, `tokens` (s, t) true where there is no padding.
    """

    logits: Tensor
    pooled: Tensor
    attention: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Other:
    """The items of a batch once more, in the view that a method asked for; v tokens, where the first view has t.

    `forward` maps its embeddings (s, v, d) to logits, under the dropout mask of the first view as far as the shapes are
    alike. `loss` maps them to per-item losses (n,). `common` makes the logits of the first view and of this one
    comparable, and `divergence(p, q)` is the per-item KL(p || q) (n,) of what it gives. `there` (n,) is true for items
    that have such a view; what is computed of the others is finite and means nothing. `mask` as the first view's.
    """

    forward: Callable[[Tensor], Tensor]
    embeddings: Tensor
    mask: Tensor
    there: Tensor
    loss: Callable[[Tensor], Tensor]
    common: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    divergence: Callable[[Tensor, Tensor], Tensor]
    own_divergence: Callable[[Tensor, Tensor], Tensor]
    """The same of two logits that are both of this view."""
    taught: Callable[[], Tensor] | None = None
    """The teacher's logits of this view, where there is one: constant, under no dropout."""


@dataclass(frozen=True)
class Perturbable:
    """One batch as a method sees it.

    `forward` maps embeddings (s, t, d) to logits, under the *same* dropout mask at every call. `embeddings` (s, t, d)
    are the clean word embeddings (they may require grad). `mask` (s, t) is true where a token may be perturbed.
    `loss` maps logits to per-item losses (n,); `divergence(p, q)` is the per-item KL(p || q) (n,); `answers` maps
    logits to integers. `keys` (s,) and `draw` seed the noise: each sequence's noise depends on nothing but (draw, key).
    """

    forward: Callable[[Tensor], Tensor]
    embeddings: Tensor
    mask: Tensor
    loss: Callable[[Tensor], Tensor]
    divergence: Callable[[Tensor, Tensor], Tensor]
    answers: Callable[[Tensor], Tensor]
    keys: Tensor
    draw: int
    forward_again: Callable[[Tensor], Tensor] | None = None
    """As `forward`, under a second dropout mask, likewise the same at every call."""
    words: Tensor | None = None
    """The row of the word embeddings (s, t) that each token is."""
    places: Tensor | None = None
    """Of each sequence (s,): its number in the whole batch, over all workers and micro-batches."""
    encoded: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """As `forward`, with a vector of each sequence (s, d): its last hidden states, pooled."""
    averaged: Callable[[Tensor | None], Tensor] | None = None
    """From what is added to the embeddings (s, t, d; None: nothing) to the logits, without a graph, of the model whose
    trained weights are the tensors that the method carries, under the dropout mask of `forward`."""
    reworded: Callable[[int], tuple[Inside, Inside]] | None = None
    """From the number of a layer, counted from 0, to a pass over the items and one over copies of them in other words,
    padded to one width and under one dropout mask; there for methods whose `view` are copies."""
    other: Other | None = None
    """The second view, for methods that have one."""
    taught: Callable[[], Tensor] | None = None
    """The teacher's logits of the clean items, where there is one: constant, under no dropout."""
    classes: int = 1
    """Of which an answer is one, the width of its logits, where all items have the same; else 1."""


def symmetric(batch: Perturbable, p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p), per item (n,)."""
    return batch.divergence(p, q) + batch.divergence(q, p)


def accumulate(loss: Tensor, scale: float | Tensor) -> None:
    """Accumulate the gradient of ``scale * sum(loss)`` in the leaves; `loss` is (n,)."""
    # Asked for as such, not by way of the sum, which nobody needs and whose own gradient would be computed first.
    factors = scale.expand_as(loss) if isinstance(scale, torch.Tensor) else torch.full_like(loss, scale)
    torch.autograd.backward(loss, factors)


@dataclass
class Diagnostics:
    """Sums over sequences or items, so that steps and workers can be added up."""

    squared_norm: float = 0.0
    """Sum over perturbed tokens of the squared l2 norm of their perturbation (absolute)."""
    tokens: float = 0.0
    """Perturbed tokens."""
    norm_max: float = 0.0
    """Largest l2 norm of one token's perturbation (absolute)."""
    clipped: float = 0.0
    """Balls whose perturbation was projected back in the last ascent step."""
    balls: float = 0.0
    """Balls (tokens or sentences, by scope)."""
    loss_rise: float = 0.0
    """Sum over items of the ascent's objective (the loss, or a divergence) at its end minus at its start."""
    items: float = 0.0
    """Items that sum is over."""
    flipped: float = 0.0
    """Items whose answer differs between the start and the end of the ascent."""
    answered: float = 0.0
    """Items of which that was looked at."""
    apart: float = 0.0
    """Sum over items of the divergence between two outputs that are kept alike."""
    compared: float = 0.0
    """Items that sum is over."""
    pieces: float = 0.0
    """Tokens of the first view, of items that have a second."""
    other_pieces: float = 0.0
    """Tokens of that."""
    views_apart: float = 0.0
    """Sum over items of the divergence between the outputs of both views."""
    pairs: float = 0.0
    """Items that have both."""

    def add(self, other: Diagnostics) -> None:
        """Accumulate another step's, or another worker's."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, max(mine, value) if name == "norm_max" else mine + value)


@dataclass(frozen=True)
class Measured:
    """Diagnostics that are still on the device: reading them waits for it, so that is done for many steps at once."""

    values: Tensor
    """In the order of the fields."""

    @classmethod
    def of(cls, **sums: Tensor) -> Measured:
        """Some of the fields by name, the others zero."""
        zero = next(iter(sums.values())).new_zeros((), dtype=torch.float64)
        return cls(torch.stack([sums.get(each.name, zero).double() for each in fields(Diagnostics)]))


def masks_problems(trial: TrialConfig) -> list[str]:
    """Why a second view cannot have a dropout mask of its own, where it is to have one."""
    if trial.perturbation.view.masks == "one":
        return []
    found = []
    if trial.training.gradient_checkpointing:
        found.append(
            "perturbation.view.masks: training.gradient_checkpointing computes passes again under one mask (got 'two')"
        )
    if trial.encoder.dropout == 0.0:
        found.append("perturbation.view.masks: without encoder.dropout there is nothing to mask (got 'two')")
    return found


def describe_views(batch: Perturbable, other: Other, apart: Tensor) -> Measured:
    """Diagnostics of two views whose outputs are `apart` (n,), by item."""
    # Several sequences of one item (multiple choice) count as one.
    in_both = other.there.repeat_interleave(len(batch.mask) // len(other.there), output_size=len(batch.mask))
    pieces, others = ((each.mask & in_both[:, None]).sum() for each in (batch, other))
    both = (apart.detach() * other.there).sum()
    return Measured.of(pieces=pieces, other_pieces=others, views_apart=both, pairs=other.there.sum())


Describe: TypeAlias = "Callable[[Tensor, Tensor], Diagnostics | Measured]"
"""From the per-item loss (n,) and the logits at a point to the diagnostics of how it was found."""


def compared(found: Diagnostics | Measured, apart: Tensor) -> Measured:
    """The same, and the divergence (n,) between two outputs that are kept alike."""
    values = found.values if isinstance(found, Measured) else apart.new_tensor([*vars(found).values()])
    own = Measured.of(apart=apart.detach().sum(), compared=apart.new_full((), len(apart))).values
    return Measured(values + own.to(values.dtype))


def read(found: Sequence[Diagnostics | Measured]) -> Diagnostics:
    """All of them added up, in one transfer from the device."""
    total, measured = Diagnostics(), [each.values for each in found if isinstance(each, Measured)]
    for values in torch.stack(measured).tolist() if measured else ():
        total.add(Diagnostics(*values))
    for each in found:
        if isinstance(each, Diagnostics):
            total.add(each)
    return total


Drop: TypeAlias = "Callable[[str, Tensor, float, Tensor], Tensor]"
"""From a parameter's name, its weights, a probability and room for them to factors in their shape: 0 with that
probability, else one over the rest, the same at every call in a step and on every worker."""


class MovedWeights(ABC):
    """A way to have the gradient that trains the weights taken at other weights. It stands around any method."""

    name: ClassVar[str]
    description: ClassVar[str]
    dose: ClassVar[str] = "relative_weight_norm"
    """As of a `Perturbation`."""
    of_encoder: ClassVar[bool] = False
    """Whether it moves the encoder's weights alone."""
    looks_first: ClassVar[bool]
    """Whether it needs the gradient where the weights are: then the whole batch is gone through twice."""
    copies: ClassVar[int]
    """Of the trained weights that it has at once, with the one that a trial takes to put them back."""

    def __init__(self, config: PerturbationConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def reach(self) -> float:
        """What `magnitude` multiplies; at 0 nothing is moved."""

    def begin(self, pretrained: Weights) -> None:
        """Told once of the encoder's trained weights, before training: the trial's own, which will change."""
        return

    @abstractmethod
    def move(self, weights: Weights, gradients: Weights, magnitude: float, drop: Drop) -> Tensor:
        """Add e to the weights in place. Returns ||e|| and ||w|| as they were before, (2,); nothing is read back.

        `gradients` are the whole batch's, over all workers, up to a common factor (fp16's scale), of those that have
        one; none unless it `looks_first`.
        """

    def bring_back(self, gradients: Weights) -> None:
        """Make of the gradients at the moved weights those of the trained ones, in place."""
        return


class Perturbation(ABC):
    """A robust training method. One class, registered by `register`; immutable once built, but for what it carries."""

    name: ClassVar[str]
    description: ClassVar[str]
    supervision: ClassVar[Supervision] = "none"
    reads_attention: bool = False
    """Whether it looks at attention (`Perturbable.reworded`)."""
    two_masks: bool = False
    """Whether it passes over a batch under two dropout masks."""
    dose: str = ""
    """What says how much of it there was, on which its doses are compared: a diagnostic, or the path of a setting."""
    weights: MovedWeights | None = None
    """What moves the weights meanwhile, if anything does."""
    replays: int = 1
    """Steps in a row that take the same batch."""
    carries: Carried | None = None
    """What it carries from step to step, if anything."""

    def __init__(self, config: PerturbationConfig, reference_norm: float) -> None:
        """`reference_norm` is m: the occurrence-weighted mean l2 norm of the pretrained word embeddings."""
        self.config = config
        self.reference_norm = reference_norm

    @property
    def strength(self) -> float:
        """What `magnitude` multiplies: epsilon, or the sigma of Gaussian noise."""
        return self.config.epsilon

    @property
    def view(self) -> View | None:
        """What it compares each training example with, as it is configured; None: with nothing."""
        return None

    @property
    def teacher(self) -> Path | None:
        """Folder of the frozen model that it is held to; None: it is held to none."""
        return None

    def problems(self, trial: TrialConfig) -> list[str]:
        """What in the rest of a trial's configuration this method cannot work with, one line each."""
        return []

    @abstractmethod
    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        """Per-item training loss (n,) with its graph, and diagnostics. Nothing is read back from the device.

        `magnitude` in [0, 1] multiplies the radius or sigma (warm-up and decay).
        """

    def backward(
        self, batch: Perturbable, magnitude: float, scale: float | Tensor
    ) -> tuple[Tensor, Diagnostics | Measured]:
        """Accumulate the gradient of ``scale * sum(loss)`` in the leaves; return the detached per-item loss (n,).

        Methods whose weight gradients come from several points (FreeLB) override this.
        """
        loss, diagnostics = self.loss(batch, magnitude)
        accumulate(loss, scale)
        return loss.detach(), diagnostics

    @property
    @abstractmethod
    def forward_equivalents(self) -> float:
        """Cost of a training step in passes over the batch: forward 1, backward to the inputs 1, weight gradients 1."""

    @property
    def weight_gradients(self) -> float:
        """How many of those passes are weight gradients."""
        return 1.0

    def cost(self, encoder: EncoderConfig) -> float:
        """`forward_equivalents` of a step that trains what is configured of an encoder.

        An adapter trains next to nothing: gradients go through the encoder's weights, and none to them. Layers that are
        frozen beside trained ones count in full.
        """
        spared = 0.0 if encoder.adapter.method == "none" else self.weight_gradients
        return self.forward_equivalents - spared


@dataclass(frozen=True)
class Passed:
    """The per-item loss of a method (n,), its diagnostics, and the pass whose output it trains."""

    loss: Tensor
    diagnostics: Diagnostics | Measured
    point: Tensor
    """The embeddings (s, t, d) that were passed: the batch's own, the same object, where they are the clean ones."""
    logits: Tensor
    """With their graph."""


class AtOutput(Perturbation):
    """Base of the methods that train the output of one pass, whatever else is in their loss."""

    @abstractmethod
    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        """That pass, with the loss."""

    def loss(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Diagnostics | Measured]:
        passed = self.passed(batch, magnitude)
        return passed.loss, passed.diagnostics


class AtPoint(AtOutput):
    """Base of the methods whose loss is the task's at one point: L(f(x + delta))."""

    @abstractmethod
    def point(self, batch: Perturbable, magnitude: float) -> tuple[Tensor, Describe]:
        """The embeddings (s, t, d) to train at, and what describes them."""

    def passed(self, batch: Perturbable, magnitude: float) -> Passed:
        point, describe = self.point(batch, magnitude)
        logits = batch.forward(point)
        loss = batch.loss(logits)
        return Passed(loss, describe(loss, logits), point, logits)


class Around(Perturbation):
    """Base of what stands around another method, and is like it in all that it does not change."""

    def __init__(self, inner: Perturbation) -> None:
        super().__init__(inner.config, inner.reference_norm)
        self.inner = inner
        self.dose = inner.dose or self.dose
        self.reads_attention, self.two_masks = inner.reads_attention, inner.two_masks
        self.carries, self.replays = inner.carries, inner.replays

    @property
    def view(self) -> View | None:
        return self.inner.view

    @property
    def teacher(self) -> Path | None:
        return self.inner.teacher

    @property
    def strength(self) -> float:
        return self.inner.strength

    def problems(self, trial: TrialConfig) -> list[str]:
        return self.inner.problems(trial)


METHODS: dict[str, type[Perturbation]] = {}
"""Registered methods by name."""


def register(method: type[Perturbation]) -> type[Perturbation]:
    """Class decorator: make a method available under its name."""
    assert method.name not in METHODS, f"method {method.name!r} is registered already"
    METHODS[method.name] = method
    return method
