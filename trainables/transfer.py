"""Many small tensors brought to a device by one copy: each would be a launch, and would wait where it is not pinned.

A copy that is asked not to wait does so all the same out of pageable memory, since the driver has to copy it first to
where the card can reach it. So all are laid side by side in one piece of pinned memory, which torch keeps and hands out
again once the copy is done, and there they are views of what arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainables.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

ALIGNED = 16
"""Bytes whose multiples tensors begin at: no type is wider, nor what a kernel reads at once of so few numbers."""


def move(device: torch.device, *owners: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors among each owner's values, on a device. Out of host memory the copy waits for nothing there."""
    given = [{name: value for name, value in each.items() if isinstance(value, torch.Tensor)} for each in owners]
    tensors = [tensor for each in given for tensor in each.values()]
    if device.type == "cpu" or any(tensor.device.type != "cpu" for tensor in tensors):
        return [{name: tensor.to(device) for name, tensor in each.items()} for each in given]
    arrived = iter(_at_once(tensors, device))
    return [{name: next(arrived) for name in each} for each in given]


def _at_once(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    begins, end = [], 0
    for tensor in tensors:
        begins.append(end)
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    sent = torch.empty(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for begin, tensor in zip(begins, tensors, strict=True):
        sent[begin : begin + tensor.nbytes].view(tensor.dtype).copy_(tensor.reshape(-1))
    there = sent.to(device, non_blocking=True)
    return [
        there[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for begin, tensor in zip(begins, tensors, strict=True)
    ]
