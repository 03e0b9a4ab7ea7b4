"""The items of one evaluation, all languages together, in batches of like length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.batch import Encoded
from trainables.materials.materials import Materials
from trainables.materials.noised import chosen_rows
from trainables.scores import Split


@dataclass(frozen=True)
class Stream:
    """The items of one evaluation, all languages together, in batches of like length within a token budget.

    `items[language]` are the evaluated items. `batches` name representatives (language, item) of groups of identical
    inputs; `copies` maps a representative to every (language, position in `items`) that shares its input.
    """

    items: dict[str, list[int]]
    batches: list[list[tuple[str, int]]]
    copies: dict[tuple[str, int], list[tuple[str, int]]]


def stream(
    materials: Materials, split: Split, examples: int | None, token_budget: int, labelled: bool = False
) -> Stream:
    """Plan an evaluation of `examples` rows per language (None: all).

    Shapes that read sequences one by one have a plan of their own (`sequences`): no batches here.
    """
    items = {k: subset(e, examples, k) for k, e in materials.evaluation[split].items()}
    if materials.shape.whole_item is not None:
        return Stream(items, [], {})
    return stream_of(materials, split, items, token_budget, labelled)


def stream_of(
    materials: Materials, split: Split, items: dict[str, list[int]], token_budget: int, labelled: bool = False
) -> Stream:
    """Plan an evaluation of these items of each language.

    `labelled`: what is found depends on the label, as an attack does; equal texts of other labels are then two inputs.
    """
    first: dict[bytes, tuple[str, int]] = {}
    copies: dict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
    for language, chosen in items.items():
        encoded = materials.evaluation[split][language]
        for position, item in enumerate(chosen):
            representative = first.setdefault(_input(materials, encoded, item, labelled), (language, item))
            copies[representative].append((language, position))
    c = materials.shape.sequences_per_item

    def length(key: tuple[str, int]) -> int:
        offsets = materials.evaluation[split][key[0]].offsets
        return int(np.diff(offsets[key[1] * c : key[1] * c + c + 1]).max())

    return Stream(
        items, list(batches_of(sorted(copies, key=lambda k: (length(k), k)), length, token_budget // c)), copies
    )


def _input(materials: Materials, encoded: Encoded, item: int, labelled: bool) -> bytes:
    """The tokens of an item with their boundaries and trees, and languages that the encoder is told: equal for equal
    inputs.

    Labels are part of it where they are asked for, and for shapes that predict from them (where they mark which
    positions are scored).
    """
    c = materials.shape.sequences_per_item
    first = encoded.offsets[item * c]
    bounds = encoded.offsets[item * c : item * c + c + 1] - first
    tokens = encoded.ids[first : encoded.offsets[item * c + c]]
    scored = encoded.item_labels(item)
    tree = b"" if encoded.parents is None else encoded.parents[first : encoded.offsets[item * c + c]].tobytes()
    told = b"" if encoded.languages is None else encoded.languages[item * c : item * c + c].tobytes()
    given = bounds.tobytes() + tokens.tobytes() + told + tree
    return bytes(given + (scored.tobytes() if labelled or len(scored) > 1 else b""))


def batches_of(keys: Iterable[tuple[str, int]], length: Any, token_budget: int) -> Iterator[list[tuple[str, int]]]:
    """Cut a length-sorted list of keys into runs whose padded size stays within the budget (one item always fits)."""
    batch: list[tuple[str, int]] = []
    for key in keys:
        if batch and length(key) * (len(batch) + 1) > token_budget:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def subset(encoded: Encoded, examples: int | None, language: str) -> list[int]:
    """Items of a fixed random choice of rows: the same in every trial, and nested (20 are among the 40)."""
    chosen = chosen_rows(np.unique(encoded.rows), examples, language)
    return [int(i) for i in np.flatnonzero(np.isin(encoded.rows, chosen))]


def join(parts: Sequence[tuple[Encoded, int]], sequences_per_item: int) -> Encoded:
    """Items picked out of one or several languages, as an `Encoded` of their own; `rows` keep their meaning."""
    c = sequences_per_item
    sequences = [(encoded, item * c + k) for encoded, item in parts for k in range(c)]
    labels = [encoded.item_labels(item) for encoded, item in parts]
    languages = [encoded.languages[i] for encoded, i in sequences if encoded.languages is not None]
    has_trees = any(encoded.parents is not None for encoded, _ in parts)
    return Encoded(
        ids=np.concatenate([e.sequence(i) for e, i in sequences]),
        special=np.concatenate([e.special[e.offsets[i] : e.offsets[i + 1]] for e, i in sequences]),
        offsets=np.cumsum([0, *(e.offsets[i + 1] - e.offsets[i] for e, i in sequences)]),
        labels=np.concatenate(labels),
        label_offsets=np.cumsum([0, *map(len, labels)]),
        rows=np.asarray([encoded.rows[item] for encoded, item in parts], dtype=np.int64),
        languages=np.asarray(languages, dtype=np.int64) if languages else None,
        parents=np.concatenate([e.tree(i) for e, i in sequences]) if has_trees else None,
    )


def planned(
    materials: Materials, split: Split, examples: int | None, token_budget: int, labelled: bool = False
) -> Stream:
    """As `stream`, remembered from trial to trial."""
    plan: Stream = materials.remember(
        ("stream", split, examples, token_budget, labelled),
        lambda: stream(materials, split, examples, token_budget, labelled),
    )
    return plan
