"""Shapes whose sequences are read one by one (retrieval): each different sequence is encoded once per evaluation.

Whichever items and languages it stands in, as whatever half: an item that lacks one costs nothing for it, and a
question is batched with texts of its own length, not with the sentence beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from trainables.batch import Batch, Encoded
from trainables.distributed import Group
from trainables.materials.materials import Materials
from trainables.scores import Split
from trainables.scoring.stream import batches_of
from trainables.tasks.base import collate

Key = tuple[str, int]
"""Language, and number of a sequence there, which stands for all that are equal to it."""


@dataclass(frozen=True)
class Sequences:
    """The different sequences of an evaluation, numbered in the order of `batches`.

    `numbers[language]` (items, sequences per item) are those of its evaluated items, -1 where an item has none.
    """

    batches: list[list[Key]]
    numbers: dict[str, npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return sum(map(len, self.batches))


def sequences(materials: Materials, split: Split, items: Mapping[str, Sequence[int]], token_budget: int) -> Sequences:
    """The different sequences of evaluated items, those of like length together."""
    evaluation, c = materials.evaluation[split], materials.shape.sequences_per_item
    first: dict[bytes, int] = {}
    keys: list[Key] = []
    numbers: dict[str, npt.NDArray[np.int64]] = {}
    for language, chosen in items.items():
        encoded = evaluation[language]
        own = numbers[language] = np.full((len(chosen), c), -1, dtype=np.int64)
        for position, item in enumerate(chosen):
            present = materials.shape.present(encoded.item_labels(item))
            for k in (k for k in range(c) if present[k]):
                i = item * c + k
                told = b"" if encoded.languages is None else encoded.languages[i].tobytes()
                # A digest, since there may be a million of them.
                digest = blake2b(told + encoded.sequence(i).tobytes(), digest_size=16).digest()
                own[position, k] = found = first.setdefault(digest, len(keys))
                if found == len(keys):
                    keys.append((language, i))

    def length(key: Key) -> int:
        return len(evaluation[key[0]].sequence(key[1]))

    order = sorted(range(len(keys)), key=lambda number: (length(keys[number]), keys[number]))
    renumbered = np.full(len(keys) + 1, -1, dtype=np.int64)  # the last for -1
    renumbered[order] = np.arange(len(keys))
    ordered = (keys[number] for number in order)
    return Sequences(
        list(batches_of(ordered, length, token_budget)), {code: renumbered[own] for code, own in numbers.items()}
    )


def batches(materials: Materials, split: Split, plan: Sequences, group: Group) -> Iterator[tuple[list[Key], Batch]]:
    """This worker's batches, with the sequences in them; the last of a batch may be there again, to fill an item."""
    c = materials.shape.sequences_per_item
    for keys in plan.batches[group.rank :: group.world]:
        filled = [*keys, *keys[-1:] * (-len(keys) % c)]
        joined = _joined(materials, split, filled)
        yield keys, collate(materials.shape, joined, range(len(joined)), materials.pad_id).to(group.device)


def _joined(materials: Materials, split: Split, keys: Sequence[Key]) -> Encoded:
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
