"""The memory that a trial needs of a device, before it runs: a sum of named terms, each with the reason for its size.

Nothing is loaded and nothing computed. What a step keeps for its backward pass is held against what autograd really
saves (tests/trainables/training/test_memory.py) for the passes over an encoder of the BERT or RoBERTa kind: another
kind keeps more, such as DeBERTa's attention. All sizes are bytes.

Suffixes: s sequences, t tokens of the longest, n tokens of all without padding, d hidden size, f feed-forward size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from torch import nn

from trainables.config import TrialConfig
from trainables.materials import weights
from trainables.model.adapters import Linear, Shapes
from trainables.model.families import is_plain
from trainables.model.frozen import LIMIT_BYTES
from trainables.model.heads import ChoiceHead, EmbeddingHead, TokenHead
from trainables.perturbation import Parts, create, view_of
from trainables.perturbation.freeat import FreeAT
from trainables.perturbation.tavat import Tavat

FULL, HALF = 4, 2
"""Bytes of a number in fp32, and in what autocast computes in."""

MOMENTS = 2
"""Numbers that AdamW keeps for each that is trained."""

GRAPHS: Mapping[str, tuple[int, bool]] = {
    "none": (1, False),
    "random_perturbation": (1, False),
    "adversarial": (1, True),
    "freelb": (1, True),
    "villa": (1, True),
    "smart": (2, True),
    "vat": (2, True),
    "r3f": (2, False),
    "creat": (2, True),
    "freeat": (1, True),
    "tavat": (1, True),
    "ear": (2, False),
    "mvr": (2, False),
    "xtune": (2, False),
}
"""Of each method: the passes whose graphs it keeps at once, and whether one of them is differentiated to its inputs
(an ascent's). A graph of an ascent is gone before the next pass: projected gradient keeps one, as FreeLB does."""

UNKNOWN = (2, True)
"""Of a method that is registered elsewhere: the most that ours need."""


SLACK = {"cpu": 0.4}
"""What an allocator holds beside what is saved, as a part of it, by device: on a CPU it was 0.27 to 0.55 (12 layers of
384, batches of 16 and 32 texts of 16 and 64 tokens, five methods and precisions). Not measured on others: none."""


@dataclass(frozen=True)
class Network:
    """What of an encoder and a head memory depends on."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int
    kind: str
    drops: bool
    """Whether training drops out."""
    shapes: Shapes
    """The encoder's parameters."""
    head: nn.Module
    """Only its kind and the shapes of its parameters are looked at: it may be on the device ``meta``."""

    @classmethod
    def of(cls, known: Mapping[str, Any], shapes: Shapes, head: nn.Module, dropout: float | None = None) -> Network:
        """From what an encoder's ``config.json`` says; `dropout` where that is not the encoder's own.

        Raises KeyError where it says less than an encoder of the BERT kind.
        """
        own = max(known.get("hidden_dropout_prob", 0.0), known.get("attention_probs_dropout_prob", 0.0))
        return cls(
            layers=known["num_hidden_layers"],
            hidden=known["hidden_size"],
            heads=known["num_attention_heads"],
            feed_forward=known["intermediate_size"],
            kind=known["model_type"],
            drops=(own if dropout is None else dropout) > 0.0,
            shapes=shapes,
            head=head,
        )

    @property
    def matrices(self) -> int:
        """Numbers in the weights of one layer: four of attention, two of the feed-forward."""
        return 4 * self.hidden**2 + 2 * self.hidden * self.feed_forward


@dataclass(frozen=True)
class Load:
    """The largest batch that goes through a network at once."""

    sequences: int
    longest: int
    """t."""
    tokens: int
    """n; at most s t."""

    @classmethod
    def of(cls, sequences: int, longest: int) -> Load:
        """All as long as the longest: the most there can be."""
        return cls(sequences, longest, sequences * longest)

    @property
    def padded(self) -> int:
        """s t."""
        return self.sequences * self.longest


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for, at the moment of a step at which they are most."""

    parameters: int = 0
    """Of encoder, adapter and head, in fp32; whatever is frozen is there all the same."""
    gradients: int = 0
    """Of what is trained."""
    optimizer: int = 0
    """AdamW's two moments, and one number of steps a tensor."""
    moved: int = 0
    """Weights as they were before they were moved, and by how much (SAM), or as they began, and dropped (mixout)."""
    carried: int = 0
    """What the method carries from step to step, and what it finds in one."""
    teacher: int = 0
    """Parameters of a frozen model that the trial is held to, with the whole vocabulary."""
    exchange: int = 0
    """The flat copy of the gradients that several workers add up."""
    norms: int = 0
    """Inputs of layer norms, which autocast leaves in fp32, and their means and deviations."""
    inputs: int = 0
    """Inputs of trained linear layers, or of an adapter. Autocast casts one for queries, keys and values each."""
    activation: int = 0
    """Inputs of the feed-forward's GELU."""
    attention: int = 0
    """Queries, keys, values, and what else the kernel keeps: probabilities before and after dropout, or its output."""
    masks: int = 0
    """Dropout's, of all layers: one of each for all passes over a batch."""
    casts: int = 0
    """Weights as autocast computes with them."""
    syntax: int = 0
    """What is added looks at pairs of tokens: scores and their softmax, before and after dropout, and the states."""
    head: int = 0
    """States that the head pools or classifies, and logits."""
    states: int = 0
    """At most what is kept of frozen layers from evaluation to evaluation."""
    working: int = 0
    """What comes and goes within one layer's backward pass, or one parameter's."""
    slack: int = 0
    """What the allocator holds and nobody uses."""

    @property
    def saved(self) -> int:
        """What waits for the backward pass."""
        names = ("norms", "inputs", "activation", "attention", "syntax", "masks", "casts", "head")
        return sum(getattr(self, name) for name in names)

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, each.name) for each in fields(self))


def needed(config: TrialConfig, network: Network, load: Load, *, device: str = "cpu", world: int = 1) -> Memory:
    """What one worker's share of a trial needs on a `device` (``cpu``, ``cuda``), as one of `world` workers."""
    changed = weights.unfrozen(network.shapes, config.encoder)
    added = [shape for name, shape in changed.items() if name not in network.shapes]
    syntax = weights.of_syntax(config, network.shapes)
    heads = [*network.head.parameters(), *([] if syntax is None else syntax.parameters())]
    trained = [*changed.values(), *(tuple(each.shape) for each in heads if each.requires_grad)]
    gradients = FULL * _count(trained)
    passes = Passes(config, network, load, device)
    moments = [passes.of_step()]
    if config.evaluation.attack is not None and config.evaluation.attack.kind == "embeddings":
        scored = Load.of(max(1, config.evaluation.tokens_on(device) // load.longest), load.longest)
        moments.append(Passes(config, replace(network, drops=False), scored, device).of_attack())
    most = max(moments, key=lambda each: sum(each.values()))
    parts = Parts.of(config.perturbation.method)
    way = parts.weights
    return Memory(
        moved=0 if way is None else way.copies * gradients,
        carried=_carried(config, network, load) + (gradients if parts.outputs is not None else 0),
        teacher=FULL * (weights.whole(config.encoder) or 0) if create(config.perturbation).teacher is not None else 0,
        parameters=FULL * _count([*network.shapes.values(), *added, *(tuple(each.shape) for each in heads)]),
        gradients=gradients,
        optimizer=MOMENTS * gradients + FULL * len(trained),
        exchange=gradients if world > 1 else 0,
        states=LIMIT_BYTES if passes.frozen and not config.encoder.trains_embedding_layer else 0,
        working=max(passes.within_layer(), *(FULL * math.prod(each) for each in trained)),
        slack=int(SLACK.get(device, 0.0) * sum(most.values())),
        **most,
    )


def _carried(config: TrialConfig, network: Network, load: Load) -> int:
    """Rows of perturbation, and of each the sum that a step finds and how many wrote it."""
    method = Parts.of(config.perturbation.method).inputs
    if method not in (FreeAT, Tavat):
        return 0
    words, width = weights.words(network.shapes)
    places = config.training.batch_size * _sequences_per_item(network.head) * load.longest
    return FULL * (words if method is Tavat else places) * (2 * width + 1)


@dataclass(frozen=True)
class Passes:
    """The passes of one batch through a network, as a trial's configuration has them computed on a device."""

    config: TrialConfig
    network: Network
    load: Load
    device: str

    def of_step(self) -> dict[str, int]:
        """What waits for the backward pass at the moment of a training step at which it is most."""
        parts = Parts.of(self.config.perturbation.method)
        again = parts.masks is not None
        kept, ascends = GRAPHS.get(parts.inputs.name, UNKNOWN)
        kept += again  # a second dropout mask has a graph more
        views = view_of(self.config.perturbation) == "segments" or self.config.perturbation.view.masks == "two"
        sets = 1 + (again or views)  # of masks: another shape has its own
        # What augments layers is trained through all of them, frozen or not.
        augments = self.config.syntax.kind == "augmented"
        clean = self.graph(to_words=self.config.encoder.trains_embedding_layer or augments)
        # The last pass, to the weights, or one of an ascent: that one goes through all layers, frozen or not.
        last = self.graph(to_words=True) if ascends else clean
        found = {name: (kept - 1) * clean[name] + last[name] for name in clean}
        return found | {"masks": self.masks() * sets, "casts": self.casts(kept, ascends)}

    def of_attack(self) -> dict[str, int]:
        """The same of an attack on the trained model."""
        return self.graph(to_words=True) | {"masks": self.masks(), "casts": self.casts(1, True)}

    def graph(self, to_words: bool) -> dict[str, int]:
        """What one pass keeps: down to the embeddings, or to the lowest layer that is trained."""
        if self.config.training.gradient_checkpointing:
            return self._recomputed(to_words)
        n, padded, d, a = self.tokens, self.load.padded, self.network.hidden, self.width
        of_feed_forward = n * self.network.feed_forward * a
        trained = self.network.layers - self.frozen
        passed = self.network.layers if to_words else trained
        if self.in_full:
            of_attention = 3 * padded * d * a + self.scores * (a + (FULL if self.reads else a))
        else:
            of_attention = 4 * padded * d * a + FULL * padded * self.network.heads
        states = padded * d * (FULL + a if isinstance(self.network.head, TokenHead) else FULL)
        return {
            "norms": (2 * passed + to_words) * n * (d + 2) * FULL,
            "inputs": trained * self.inputs_of_layer(),
            "activation": passed * of_feed_forward,
            "attention": passed * of_attention + (2 * self.scores * FULL if self.reads else 0),
            "syntax": self.of_syntax(),
            "head": states + 3 * _logits(self.network, self.load) * FULL,
        }

    def of_syntax(self) -> int:
        """What layers of syntax keep of one pass, in a batch whose texts all have trees."""
        syntax, a, d = self.config.syntax, self.width, self.network.hidden
        pairs, padded = self.load.sequences * self.load.longest**2, self.load.padded
        dropped = self.network.drops or a < FULL  # else the softmax is what is multiplied
        if syntax.kind == "gate":
            heads = len(syntax.deltas)
            inner = heads * max(1, d // heads)
            return heads * pairs * (FULL + dropped * a) + padded * (4 * inner * a + d * (2 * FULL + a * (a < FULL)))
        if syntax.kind == "augmented":
            width = syntax.graph_heads * (d // self.network.heads)
            of_layer = pairs * (syntax.graph_heads * (2 * FULL + dropped * a) + 1) + 2 * padded * width * a
            return syntax.graph_layers * of_layer + 2 * padded * width * FULL
        return 0

    def inputs_of_layer(self) -> int:
        """What a trained layer keeps to train its linear layers, or what an adapter adds to them."""
        n, a, adapter = self.tokens, self.width, self.config.encoder.adapter
        if adapter.method == "none":
            return n * ((3 if a == FULL else 5) * self.network.hidden + self.network.feed_forward) * a
        if adapter.method == "ia3":  # what is scaled; where that enters a layer, autocast is left
            kept = sum(each.into * FULL if each.is_last else each.out * a for each in self.adapted)
        else:  # what enters both matrices; queries and values take one tensor, unless each has a cast or a dropout
            shared = {(each.layer, each.path.rpartition(".")[0], each.into): each.into for each in self.adapted}
            alone = a < FULL or adapter.dropout > 0.0
            entering = sum(each.into for each in self.adapted) if alone else sum(shared.values())
            kept = (entering + adapter.rank * len(self.adapted)) * a
        return n * kept // max(1, len({each.layer for each in self.adapted}))

    def _recomputed(self, to_words: bool) -> dict[str, int]:
        """The same where each layer is computed again: what enters the layers, and all of the one that is."""
        passed = self.network.layers if to_words else self.network.layers - self.frozen
        training = self.config.training.model_copy(update={"gradient_checkpointing": False})
        encoder = self.config.encoder.model_copy(update={"freeze_lower_layers": 0})
        config = self.config.model_copy(update={"training": training, "encoder": encoder})
        found = replace(self, config=config, network=replace(self.network, layers=1)).graph(to_words)
        return found | {"inputs": found["inputs"] + passed * self.tokens * self.network.hidden * FULL}

    def masks(self) -> int:
        """Of dropout: after the embeddings, and of each layer twice, and in its attention; and LoRA's own."""
        drops = self.config.encoder.adapter.dropout > 0.0
        of_adapter = drops * self.tokens * sum(each.into for each in self.adapted) * FULL
        if not self.network.drops:
            return of_adapter
        hidden = self.tokens * self.network.hidden
        in_layer = 2 * hidden + (self.scores if self.in_full else 0)
        return (self.network.layers * in_layer + hidden + self._masks_of_syntax()) * FULL + of_adapter

    def _masks_of_syntax(self) -> int:
        syntax, pairs = self.config.syntax, self.load.sequences * self.load.longest**2
        if syntax.kind == "gate":
            return len(syntax.deltas) * pairs + self.load.padded * self.network.hidden
        return syntax.graph_layers * syntax.graph_heads * pairs if syntax.kind == "augmented" else 0

    def casts(self, kept: int, ascends: bool) -> int:
        """Autocast casts a trained weight once a step, and one that is frozen in every pass that goes through it."""
        encoder = self.config.encoder
        passes = kept if encoder.trains_embedding_layer else ascends
        once = 1 if encoder.adapter.method == "none" else kept
        layers = (self.network.layers - self.frozen) * once + self.frozen * passes
        return 0 if self.width == FULL else HALF * self.network.matrices * layers

    def within_layer(self) -> int:
        """Gradients of what one layer keeps, while it is gone through backwards."""
        of_attention = 3 * self.scores * self.width if self.in_full else 0
        of_feed_forward = 2 * self.tokens * self.network.feed_forward * self.width
        return max(of_attention, of_feed_forward) + 2 * self.tokens * self.network.hidden * FULL

    @property
    def width(self) -> int:
        """Bytes of a number that a linear layer gives."""
        return HALF if self.config.training.precision in ("bf16", "fp16") else FULL

    @property
    def frozen(self) -> int:
        """The lowest layers, of which nothing is trained."""
        lowest = min((each.layer for each in self.adapted), default=self.config.encoder.freeze_lower_layers)
        return min(lowest, self.network.layers)

    @cached_property
    def adapted(self) -> Sequence[Linear]:
        """What an adapter adds parameters to."""
        return weights.adapted(self.network.shapes, self.config.encoder)

    @property
    def scores(self) -> int:
        """Attention probabilities of one layer."""
        return self.network.heads * self.load.sequences * self.load.longest**2

    @property
    def reads(self) -> bool:
        """Whether the method looks at attention: computed in the open, in fp32 after softmax, and one layer's kept."""
        return Parts.of(self.config.perturbation.method).inputs.reads_attention

    @property
    def in_full(self) -> bool:
        """Whether attention's probabilities are there as a tensor: on a CPU with dropout, and where they are read."""
        return self.reads or (self.device == "cpu" and self.network.drops)

    @property
    def packs(self) -> bool:
        """Whether a batch goes through the layers without its padding."""
        return is_plain(self.network.kind) and not self.reads

    @property
    def tokens(self) -> int:
        """What goes through the layers."""
        return self.load.tokens if self.packs else self.load.padded


def _logits(network: Network, load: Load) -> int:
    """Numbers that the head gives."""
    out = max((shape[0] for shape in _shapes(network.head)), default=network.hidden)
    return out * (load.padded if isinstance(network.head, TokenHead) else load.sequences)


def _sequences_per_item(head: nn.Module) -> int:
    if isinstance(head, ChoiceHead):
        return head.choices
    return 2 if isinstance(head, EmbeddingHead) else 1


def _shapes(head: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(each.shape) for each in head.parameters()]


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes))
