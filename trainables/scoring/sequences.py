"""Shapes whose sequences are read one by one (retrieval): each different sequence is encoded once per evaluation.

Whichever items and languages it stands in, as whatever half: an item that lacks one costs nothing for it, and a
question is batched with texts of its own length, not with the sentence beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.batch import Batch, Encoded
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.scores import Split
from trainables.scoring.stream import Stream, batches_of
from trainables.tasks.base import collate

Place = tuple[str, int, int]
"""Language, position among its evaluated items, and which of the item's sequences."""


@dataclass(frozen=True)
class Sequences:
    """`batches` name different sequences (language, number), `places` map each to wherever its tokens stand."""

    batches: list[list[tuple[str, int]]]
    places: dict[tuple[str, int], list[Place]]
    per_item: int


def sequences(materials: Materials, split: Split, plan: Stream, token_budget: int) -> Sequences:
    """The different sequences of planned items, those of like length together."""
    evaluation, c = materials.evaluation[split], materials.shape.sequences_per_item
    first: dict[bytes, tuple[str, int]] = {}
    places: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for language, items in plan.items.items():
        encoded = evaluation[language]
        for position, item in enumerate(items):
            present = materials.shape.present(encoded.item_labels(item))
            for k in (k for k in range(c) if present[k]):
                i = item * c + k
                told = b"" if encoded.languages is None else encoded.languages[i].tobytes()
                representative = first.setdefault(told + encoded.sequence(i).tobytes(), (language, i))
                places[representative].append((language, position, k))

    def length(key: tuple[str, int]) -> int:
        return len(evaluation[key[0]].sequence(key[1]))

    ordered = sorted(places, key=lambda key: (length(key), key))
    return Sequences(list(batches_of(ordered, length, token_budget)), dict(places), c)


def batches(
    materials: Materials, split: Split, plan: Sequences, group: Group
) -> Iterator[tuple[list[tuple[str, int]], Batch]]:
    """This worker's batches, with the sequences in them; the last of a batch may be there again, to fill an item."""
    c = materials.shape.sequences_per_item
    for keys in plan.batches[group.rank :: group.world]:
        filled = [*keys, *keys[-1:] * (-len(keys) % c)]
        joined = _joined(materials, split, filled)
        yield keys, collate(materials.shape, joined, range(len(joined)), materials.pad_id).to(group.device)


def _joined(materials: Materials, split: Split, keys: Sequence[tuple[str, int]]) -> Encoded:
    """Whole items of sequences that need not belong together."""
    evaluation, whole = materials.evaluation[split], materials.shape.whole_item
    assert whole is not None
    parts = [(evaluation[language], i) for language, i in keys]
    items = len(parts) // materials.shape.sequences_per_item
    told = [encoded.languages[i] for encoded, i in parts if encoded.languages is not None]
    return Encoded(
        ids=np.concatenate([encoded.sequence(i) for encoded, i in parts]),
        special=np.concatenate([encoded.special[encoded.offsets[i] : encoded.offsets[i + 1]] for encoded, i in parts]),
        offsets=np.cumsum([0, *(len(encoded.sequence(i)) for encoded, i in parts)]),
        labels=np.tile(np.asarray(whole, dtype=np.int64), items),
        label_offsets=np.arange(items + 1, dtype=np.int64) * len(whole),
        rows=np.arange(items, dtype=np.int64),
        languages=np.asarray(told, dtype=np.int64) if told else None,
    )


def of_items(plan: Stream, own: Sequences, found: Sequence[tuple[tuple[str, int], Any]]) -> dict[str, list[Any]]:
    """Predictions of items, each a list of what its sequences gave; None for one that is not there."""
    items: dict[str, list[Any]] = {
        language: [[None] * own.per_item for _ in chosen] for language, chosen in plan.items.items()
    }
    for key, prediction in found:
        for language, position, k in own.places[key]:
            items[language][position][k] = prediction
    return items
