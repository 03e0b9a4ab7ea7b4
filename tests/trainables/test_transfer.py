"""Tensors come to another device in one copy, as they were."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from trainables import transfer
from trainables.batch import Batch, View
from trainables.layout import Paths
from trainables.transfer import move

CPU = torch.device("cpu")


class Elsewhere:
    """A device that is not the host's to those who ask, and gives what is brought there for a look."""

    def __init__(self) -> None:
        self.type, self.copies, self.pinned = "cuda", list[torch.Tensor](), list[bool]()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        empty, to = torch.empty, torch.Tensor.to

        def pinning(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
            self.pinned.append(pin_memory)
            return empty(*shape, **options)

        def bringing(tensor: torch.Tensor, *where: Any, non_blocking: bool = False, **options: Any) -> torch.Tensor:
            if not where or where[0] is not self:
                return to(tensor, *where, non_blocking=non_blocking, **options)
            assert non_blocking, "the caller would wait"
            self.copies.append(tensor)
            return tensor.clone()

        patch.setattr(transfer.torch, "empty", pinning)
        patch.setattr(torch.Tensor, "to", bringing)


def batch() -> Batch:
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    return Batch(
        input_ids=torch.tensor([[0, 7, 2], [0, 2, 1]]),
        attention_mask=mask,
        special=torch.tensor([[True, False, True], [True, True, False]]),
        labels=torch.tensor([1, 0]),
        sequence_keys=torch.tensor([2**60, 5]),
        languages=torch.tensor([4, 5]),
        paths=Paths(torch.arange(18, dtype=torch.uint8).view(2, 3, 3), torch.ones(2, 3, dtype=torch.uint8)),
    )


def assert_same(found: Any, expected: Any) -> None:
    for each in fields(expected):
        mine, theirs = getattr(found, each.name), getattr(expected, each.name)
        if isinstance(theirs, torch.Tensor):
            assert mine.dtype == theirs.dtype and torch.equal(mine, theirs), each.name


def test_a_batch_is_brought_in_one_copy_out_of_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    there, given = Elsewhere(), batch()
    assert given.layout.ordinary.tolist() == [[False, True, False], [False, False, False]]
    there.install(monkeypatch)
    found = given.to(there)  # type: ignore[arg-type]
    assert there.pinned == [True] and len(there.copies) == 1
    monkeypatch.undo()
    assert_same(found, given)
    assert_same(found.layout, given.layout)
    assert_same(found.paths, given.paths)
    assert found.layout.paths is found.paths and found.layout.longest == 3 and not found.layout.is_full


def test_so_is_its_second_view(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Elsewhere()
    places = (torch.tensor([[0, 1, -1], [0, -1, -1]]), torch.tensor([[0, 1, 1], [0, -1, -1]]))
    whole = View(batch(), torch.tensor([True, False]), places, 2, torch.tensor([1, 2]))
    bare = replace(whole, places=None, labels=None)
    there.install(monkeypatch)
    found, other = whole.to(there), bare.to(there)  # type: ignore[arg-type]
    assert len(there.copies) == 4 and all(there.pinned)
    monkeypatch.undo()
    assert_same(found, whole)
    assert found.places is not None and all(map(torch.equal, found.places, places)) and found.width == 2
    assert_same(found.batch, whole.batch)
    assert other.places is None and other.labels is None and torch.equal(other.there, bare.there)


def test_nothing_is_copied_that_is_there_already() -> None:
    tensor = torch.ones(3)
    assert move(CPU, {"a": tensor, "b": "no tensor"}, {}) == [{"a": tensor}, {}]
    assert move(CPU, {"a": tensor})[0]["a"] is tensor
    assert move(torch.device("meta"), {"a": tensor.to("meta")})[0]["a"].device.type == "meta"
