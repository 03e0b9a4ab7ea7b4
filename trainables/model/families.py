"""The families of encoders: what each calls its parts, and what it is given beside the embeddings.

Whatever perturbs, freezes, trims, packs or looks inside an encoder asks its `Family`, never the encoder's attributes.
A further family is one more `Family`, registered by `register`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from trainables.errors import UserError

if TYPE_CHECKING:
    from torch import nn

EMBEDDINGS = -1
"""In place of a layer's number: the embedding layer."""

ABOVE = -2
"""In place of a layer's number: a part of the encoder that is in no layer, and that nothing freezes."""


@dataclass(frozen=True)
class Family:
    """How the encoders of some kinds are built. Parts are named by their paths from the model without a head."""

    kinds: tuple[str, ...]
    """`model_type` of their configurations."""
    embeddings: tuple[str, ...] = ("embeddings",)
    """What makes up the embedding layer: words, positions, types, and their norm."""
    layers: tuple[str, ...] = ("encoder.layer",)
    """The lists whose i-th members together are layer i, the lowest first."""
    above: tuple[str, ...] = ()
    """What is neither: a last norm, a projection between embeddings and layers."""
    takes_positions: bool = True
    """Whether it is told the position of each token."""
    counts_from_padding: bool = False
    """Whether positions are counted from behind the padding token's number on (RoBERTa), not from 0."""
    takes_segments: bool = True
    """Whether it is told the segment of each token."""
    plain: bool = False
    """Whether only attention looks beyond a token, and its layers can be entered in the middle: so that batches go
    without their padding, and what frozen layers give is kept. Elsewhere more happens between embeddings and layers
    (RemBERT's projection, a convolution beside DeBERTa's first layer)."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """The fastest attention that the library has for it."""
    dropout: str = "hidden_dropout_prob"
    """Key of its configuration that holds the dropout probability of its states."""

    def embedding_layer(self, model: nn.Module) -> list[nn.Module]:
        """The modules of the embedding layer; those that a checkpoint does not have are left out."""
        top = dict(model.named_modules())
        return [top[path] for path in self.embeddings if path in top]

    def layers_of(self, model: nn.Module) -> list[tuple[nn.Module, ...]]:
        """The modules of each layer, the lowest first."""
        return list(zip(*(attrgetter(path)(model) for path in self.layers), strict=True))

    def part(self, parameter: str) -> int | None:
        """The layer, counted from 0, of a parameter by its name in a checkpoint, whatever prefix that has.

        `EMBEDDINGS` or `ABOVE` where it is in none, None where it is no part of the encoder (a head, the pooler).
        """
        if (found := self._parts.search(parameter)) is None:
            return None
        if found["layer"] is not None:
            return int(found["layer"])
        return EMBEDDINGS if found["embeddings"] is not None else ABOVE

    def longest(self, positions: int, pad_id: int) -> int:
        """Tokens, special ones included, that an encoder with so many positions takes."""
        return positions - self.first_position(pad_id)

    def first_position(self, pad_id: int) -> int:
        """Position of a sequence's first token."""
        return pad_id + 1 if self.counts_from_padding else 0

    @cached_property
    def _parts(self) -> re.Pattern[str]:
        def either(paths: tuple[str, ...]) -> str:
            return "|".join(map(re.escape, paths)) or r"(?!)"

        return re.compile(
            rf"(?:^|\.)(?:(?P<embeddings>{either(self.embeddings)})|(?:{either(self.layers)})\.(?P<layer>\d+)"
            rf"|(?P<above>{either(self.above)}))\."
        )


_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Make encoders of a family's kinds known."""
    for kind in family.kinds:
        assert kind not in _FAMILIES, f"encoders of the kind {kind!r} are registered already"
        _FAMILIES[kind] = family
    return family


def families() -> Iterator[Family]:
    """All that are known, each once."""
    yield from dict.fromkeys(_FAMILIES.values())


def family_of(kind: str) -> Family:
    """The family of a `model_type`. Raises `UserError` for one that is not known."""
    if kind not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise UserError(f"encoder.name_or_path: must be an encoder of a known kind, {known} (got {kind!r})")
    return _FAMILIES[kind]


def is_plain(kind: str) -> bool:
    """Whether encoders of a `model_type` are known to be plain."""
    return kind in _FAMILIES and _FAMILIES[kind].plain


register(Family(kinds=("bert",), plain=True))
register(Family(kinds=("ernie", "roc_bert")))
register(Family(kinds=("electra",), above=("embeddings_project",)))
register(Family(kinds=("roberta", "xlm-roberta", "camembert"), counts_from_padding=True, plain=True))
register(Family(kinds=("xlm-roberta-xl",), counts_from_padding=True, plain=True, above=("encoder.LayerNorm",)))
register(Family(kinds=("roberta-prelayernorm",), counts_from_padding=True, above=("LayerNorm",)))
register(Family(kinds=("xmod",), counts_from_padding=True))
