"""What syntax adds to a model, as it is configured: `create`. And what that costs.

Suffixes: s sequences, t tokens, e embedding size, z size of an attention head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from trainables.config import SyntaxConfig
from trainables.layout import Layout
from trainables.syntax.gate import Gate
from trainables.syntax.graph import Graph
from trainables.syntax.probes import Probes
from trainables.syntax.trees import APART


@dataclass(frozen=True)
class Sizes:
    """Of an encoder."""

    layers: int
    hidden: int
    heads: int
    embedding: int
    """Of its word embeddings."""

    @classmethod
    def of(cls, config: Any, embedding: int) -> Sizes:
        """As the library's configuration of an encoder has them; `embedding` may be another than it says."""
        return cls(int(config.num_hidden_layers), int(config.hidden_size), int(config.num_attention_heads), embedding)


class Augmented(nn.Module):
    """A graph over the word embeddings, mapped to what is added to the keys and values of each layer's first head.

    Syntax-augmented Multilingual BERT (Ahmad et al., ACL 2021).
    """

    def __init__(self, config: SyntaxConfig, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        size = sizes.hidden // sizes.heads
        self.delta, self.weight = config.delta, config.probe_weight
        self.graph = Graph(sizes.embedding, config.graph_layers, config.graph_heads, size, dropout)
        width = config.graph_heads * size
        self.keys, self.values = (nn.ModuleList(nn.Linear(width, size) for _ in range(sizes.layers)) for _ in range(2))
        # Without a weight they have no gradient: several workers would add up zeros, which AdamW takes for one.
        self.probes = Probes(width).requires_grad_(self.weight > 0.0)

    def forward(self, embeddings: Tensor, layout: Layout) -> list[tuple[Tensor, Tensor]] | None:
        """From embeddings (s, t, e) what each layer's keys and values (s, t, z) are given; nothing without a tree."""
        if layout.paths is None:
            return None
        states, there = self._states(embeddings, layout), (layout.paths.depths != APART)[..., None]
        return [(key(states) * there, value(states) * there) for key, value in zip(self.keys, self.values, strict=True)]

    def auxiliary(self, embeddings: Tensor, layout: Layout) -> Tensor | None:
        """The probes' losses of each sequence (s,), by their weight; None where that is 0 or no tree is there."""
        if layout.paths is None or self.weight == 0.0:
            return None
        found: Tensor = self.weight * self.probes(self._states(embeddings, layout), layout.paths)
        return found

    def _states(self, embeddings: Tensor, layout: Layout) -> Tensor:
        assert layout.paths is not None
        states: Tensor = self.graph(embeddings, layout.paths.between <= min(self.delta, APART - 1))
        return states


Syntax: TypeAlias = Augmented | Gate


def create(config: SyntaxConfig, sizes: Sizes, dropout: float) -> Syntax | None:
    """As it is configured, with weights drawn from torch's generator; None: nothing is added."""
    if config.kind == "none":
        return None
    if config.kind == "gate":
        return Gate(sizes.hidden, config.deltas, dropout)
    return Augmented(config, sizes, dropout)


def passes(syntax: Syntax | None, encoder: float, others: float) -> float:
    """Forward-equivalents of a step that has `others` without syntax, on an encoder with so many weights in its layers.

    Weights that several layers share count in each. What is added counts by its weights over the encoder's; the probes
    go over the graph three times more (forward, backward, weight gradients).
    """
    if syntax is None:
        return others
    if isinstance(syntax, Gate):
        return others * (1 + count(syntax) / encoder)
    probed = count(syntax.graph) + count(syntax.probes)
    share = (count(syntax) - count(syntax.probes)) / encoder
    return others * (1 + share) + 3 * (syntax.weight > 0) * probed / encoder


def count(module: nn.Module) -> int:
    """Numbers in a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
