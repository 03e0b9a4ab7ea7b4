"""A micro-batch and, for methods that compare it with something, its second view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from trainables.batch import Batch, Encoded, View
from trainables.config import TrialConfig
from trainables.materials.materials import Materials
from trainables.scoring.stream import join
from trainables.tasks.base import TaskShape, collate
from trainables.training.passes import Items


def collated(
    config: TrialConfig, materials: Materials, device: torch.device, epoch: int, items: Items
) -> tuple[Batch, View | None]:
    """Training items on a device, and what the method compares them with in an epoch.

    Where those are copies, the batch are their originals, and both are padded as wide.
    """
    shape, pad_id, chosen = materials.shape, materials.pad_id, items.tolist()
    if materials.originals is not None:
        sides = [(materials.originals, [j // config.augmentation.copies for j in chosen]), (materials.train, chosen)]
        width = max(collate(shape, *side, pad_id).input_ids.shape[1] for side in sides)
        own, copies = (collate(shape, *side, pad_id, least=width).to(device) for side in sides)
        return own, View(copies, torch.ones(len(chosen), dtype=torch.bool)).to(device)
    batch = collate(shape, materials.train, chosen, pad_id)
    if materials.views is None:
        return batch.to(device), None
    found = [materials.views(epoch, item) for item in chosen]
    return batch.to(device), _other(shape, materials.train, chosen, found, batch, pad_id).to(device)


def longest(materials: Materials, epoch: int, items: Items) -> Items:
    """Tokens of the longest sequence of each of these items' second views in an epoch; 0 where it has none."""
    assert materials.views is not None
    found = (materials.views(epoch, item) for item in items.tolist())
    return np.asarray([0 if each is None else int(np.diff(each.offsets).max()) for each in found], dtype=np.int64)


def _other(
    shape: TaskShape, train: Encoded, items: Sequence[int], found: Sequence[Encoded | None], batch: Batch, pad_id: int
) -> View:
    """The second views of some items; an item that has none stands in its own place."""
    labels = [train.item_labels(item) for item in items]
    kept = [
        view if view is not None and shape.keeps_label(own, view.item_labels(0)) else None
        for own, view in zip(labels, found, strict=True)
    ]
    pairs = [(train, item) if view is None else (view, 0) for item, view in zip(items, kept, strict=True)]
    joined = join(pairs, shape.sequences_per_item)
    other = collate(shape, joined, range(len(items)), pad_id)
    same_noise = Batch(
        other.input_ids,
        other.attention_mask,
        other.special,
        other.labels,
        batch.sequence_keys,
        other.languages,
        other.paths,
    )
    there = torch.tensor([view is not None for view in kept])
    places = [shape.places(own, joined.item_labels(k)) for k, own in enumerate(labels)]
    known = [each for each in places if each is not None]
    if not known:
        return View(same_noise, there)
    counts = [int(max(each[0].max(), each[1].max())) + 1 for each in known]
    width = max(1, *counts)
    return View(
        same_noise,
        there,
        (_padded([a for a, _ in known], batch), _padded([b for _, b in known], other)),
        width,
        torch.from_numpy(np.stack([shape.place_labels(count, width) for count in counts])),
    )


def _padded(places: Sequence[npt.NDArray[np.int64]], batch: Batch) -> torch.Tensor:
    padded = np.full(batch.input_ids.shape, -1, dtype=np.int64)
    for row, each in zip(padded, places, strict=True):
        row[: len(each)] = each
    return torch.from_numpy(padded)
