"""The links between the words of sentence pairs by an encoder's own states: found once, for all objectives on words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.alignment.sentences import Sentences
from trainables.alignment.words import Links, mutual, one_to_one, read_links, write_links
from trainables.model.encoder import Encoder
from trainables.progress import told
from trainables.storage import cache

FORMAT = 1
"""Version of how words are linked; part of the key. What is aligned by them has a version of its own."""

Sides = Mapping[str, tuple[Sentences, Sentences]]
"""Language -> the source's sentences and their translations, as many."""


def kept_links(encoder: Encoder, key: str, sides: Sides, layer: int | None) -> dict[str, list[Links]]:
    """`links_of` each language's pairs, out of the cache if they were found before.

    `key` is the encoder's; the sentences, as they are tokenised, and the layer are added to it. An entry has the form
    of ``alignment.links``, with a line for each pair that is given.
    """

    def build(folder: Path) -> None:
        for code, each in told(sides.items(), "linking words", "languages", len(sides)):
            write_links(folder / f"{code}.txt", links_of(encoder, *each, layer))

    name = f"links-{_digest(key, sides, layer_of(encoder, layer))}"
    folder = cache.build_once(name, build, "the links between words", 24 * 3600.0)
    return {code: read_links(folder / f"{code}.txt") for code in sides}


def _digest(key: str, sides: Sides, layer: int) -> str:
    digest = blake2b(f"{FORMAT} {key} {layer}".encode(), digest_size=12)
    for code, both in sorted(sides.items()):
        digest.update(f"\n{code} {[side.number for side in both]}".encode())
        for side in both:
            for words, ids in zip(side.words, side.ids, strict=True):
                digest.update(f"\n{words}".encode())
                digest.update(ids.tobytes())
    return digest.hexdigest()


def layer_of(encoder: Encoder, layer: int | None) -> int:
    """The layer in which words are compared, counted from 1; None: two thirds of the way up.

    There words of one meaning are nearest (awesome-align: 8 of 12).
    """
    return layer or max(1, round(2 / 3 * int(encoder.model.config.num_hidden_layers)))


def links_of(encoder: Encoder, source: Sentences, target: Sentences, layer: int | None, batch: int = 64) -> list[Links]:
    """One-to-one links of each pair by the encoder's own similarities (`words.mutual`) of the words' first tokens.

    `layer` as in `layer_of`. Words that are written alike are left out.
    """
    layer = layer_of(encoder, layer)
    found: list[Links] = [frozenset()] * len(source.ids)
    # Pairs of like lengths together: of a program's texts, padding is most of a batch otherwise.
    order = sorted(range(len(found)), key=lambda i: max(len(source.ids[i]), len(target.ids[i])))
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        one, two = (_first_states(encoder, side, chosen, layer) for side in (source, target))
        for i, x, y in zip(chosen, one, two, strict=True):
            left, right = (np.flatnonzero(side.firsts[i] >= 0).tolist() for side in (source, target))
            links = frozenset((left[a], right[b]) for a, b in mutual(x @ y.T))
            found[i] = one_to_one(links, source.words[i], target.words[i])
    return found


@torch.no_grad()
def _first_states(encoder: Encoder, side: Sentences, chosen: Sequence[int], layer: int) -> list[Tensor]:
    """States (words, d) of the first tokens of some sentences' words, those that have none left out."""
    batch = side.batch(chosen, next(encoder.parameters()).device)
    states = encoder.states_at(encoder.embed(batch.input_ids), batch.layout, layer).float()
    return [states[row][torch.from_numpy(side.firsts[i][side.firsts[i] >= 0])] for row, i in enumerate(chosen)]
