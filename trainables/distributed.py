"""The workers of one trial as a group: who am I, sums and gathers. With one worker nothing is communicated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # two seconds, which whoever only names a group does without
    import torch
    from torch import Tensor


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


OWN = re.compile(r"\bout of memory\b|\bCUDA error\b|device-side assert|HIP error")
"""What errors say that a worker's own device had, where their class does not tell."""


class PeerLostError(RuntimeError):
    """Another worker of the group is gone: no fault of the trial, which is to be tried again."""


@contextmanager
def together() -> Iterator[None]:
    """A collective fails because a worker that should have taken part did not, unless the device failed before it.

    Devices compute asynchronously: an error of a kernel, or of memory, that is the trial's own may come up here.
    """
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:
        if OWN.search(str(error)):
            raise
        raise PeerLostError(str(error)) from error


def backend(device: str) -> str:
    """Of torch.distributed, what workers on a kind of device (``cpu``, ``cuda``) meet by.

    NCCL moves tensors from card to card, and wants a card for each worker; gloo serves CPUs.
    """
    return "nccl" if device == "cuda" else "gloo"


@dataclass(frozen=True)
class Group:
    """One worker's view of its group: rank in [0, world), and the device it computes on."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=_cpu)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the workers, in one all-reduce of one flat buffer.

        Explicit, because robust training runs several backward passes a step: gradients leave only once, at the end.
        """
        if self.world == 1:
            return
        import torch
        import torch.distributed as dist

        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # this worker had no item of a small last batch
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([g.reshape(-1) for g in gradients])
        with together():
            dist.all_reduce(flat)
        for gradient, piece in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the workers."""
        if self.world == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        total = torch.tensor(values, dtype=torch.float64).to(self.device)
        with together():
            dist.all_reduce(total)
        return [float(x) for x in total.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Every worker's value, in rank order, on every worker."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world
        with together():
            dist.all_gather_object(values, value)
        return values

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every worker."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        box = [value]
        with together():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def spread(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Rank 0's tensors by name, on the CPU of every worker; what the others give is not looked at.

        One at a time over the workers' devices, so that none has to hold them all.
        """
        if self.world == 1:
            return dict(tensors or {})
        import torch
        import torch.distributed as dist

        own = tensors or {}
        layout = self.share({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()})
        found = {}
        for name, (shape, dtype) in layout.items():
            if self.rank == 0:
                buffer = own[name].to(self.device)
            else:
                buffer = torch.empty(shape, dtype=dtype, device=self.device)
            with together():
                dist.broadcast(buffer, src=0)
            found[name] = buffer.cpu()
        return found

    def barrier(self) -> None:
        """Wait until every worker is here."""
        self.gather(None)
