"""The workers of one trial as a group: who am I, sums and gathers. With one worker nothing is communicated."""

from __future__ import annotations

import re
from collections import deque
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


BUCKET_BYTES, IN_FLIGHT = 25 << 20, 4
"""Size of what gradients are exchanged in, and how many of them are on their way at once: memory beside the gradients
that does not grow with the model. DDP's size (torch.nn.parallel.DistributedDataParallel, bucket_cap_mb)."""


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


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours that are not larger than a bucket together, or one that is; the same on every worker."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.nbytes > BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket


class _Bucket:
    """Tensors on their way to becoming their sums over the workers: one by itself where it is, several in a copy."""

    def __init__(self, tensors: list[Tensor]) -> None:
        import torch
        import torch.distributed as dist

        in_place = len(tensors) == 1 and tensors[0].is_contiguous()
        self._sent = tensors[0].view(-1) if in_place else torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._copied = [] if in_place else tensors
        self._work = dist.all_reduce(self._sent, async_op=True)

    def arrive(self) -> None:
        """Wait for the sums; on a device what is computed next does so, not the caller."""
        self._work.wait()
        end = 0
        for tensor in self._copied:
            begin, end = end, end + tensor.numel()
            tensor.copy_(self._sent[begin:end].view(tensor.shape))


@dataclass(frozen=True)
class Group:
    """One worker's view of its group: rank in [0, world), and the device it computes on."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=_cpu)

    def sum_gradients(self, parameters: Iterable[Tensor], values: Tensor) -> Tensor:
        """Replace each gradient by its sum over the workers. Returns the values (n,), summed in the same exchange.

        In buckets of `BUCKET_BYTES`, some on their way while others are packed or unpacked. Explicit, because robust
        training runs several backward passes a step: gradients leave only once, after the last. During it would be too
        early: memory that does not suffice there has the step's passes done again, in smaller parts.
        """
        if self.world == 1:
            return values
        import torch

        total = values.clone()
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # this worker had no item of a small last batch
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self._sum([total], *_buckets(gradients))
        return total

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the workers."""
        if self.world > 1:
            self._sum(*_buckets(tensors))

    def _sum(self, *buckets: list[Tensor]) -> None:
        under_way: deque[_Bucket] = deque()
        with together():
            for tensors in buckets:
                if len(under_way) == IN_FLIGHT:
                    under_way.popleft().arrive()
                under_way.append(_Bucket(tensors))
            for bucket in under_way:
                bucket.arrive()

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
