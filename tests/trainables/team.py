"""The workers of a group as threads of this process, whose collectives meet in memory.

Quick enough to be tried hundreds of times, and with the real `Group`: only what it calls of `torch.distributed` is
replaced. As with processes, a collective fails where a worker has left, or takes part in another one.
"""

from __future__ import annotations

import pickle
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar
from unittest import mock

import torch
import torch.distributed
from torch import Tensor

from trainables.distributed import Group, PeerLostError

T = TypeVar("T")

LIMIT = 60.0
"""Seconds that a worker waits for the others."""


class Work:
    """A collective that was begun. Its result is there when it is waited for, and not before."""

    under_way: ClassVar[dict[int, set[Work]]] = defaultdict(set)
    """Thread -> what was begun in it and not waited for."""
    most: ClassVar[int] = 0
    """The largest number of those, since this was last set to zero."""

    def __init__(self, meet: Callable[[], None]) -> None:
        self._meet = meet
        mine = Work.under_way[threading.get_ident()]
        mine.add(self)
        Work.most = max(Work.most, len(mine))

    def wait(self) -> None:
        Work.under_way[threading.get_ident()].remove(self)
        self._meet()


class _Meeting:
    def __init__(self, world: int) -> None:
        self.world = world
        self.brought: dict[int, dict[int, tuple[str, Any]]] = defaultdict(dict)
        """Number of the collective -> rank -> its kind, and what this worker brings."""
        self.counts = [0] * world
        self.gone: set[int] = set()
        self.changed = threading.Condition()
        self.own = threading.local()

    def exchange(self, kind: str, value: Any) -> list[Any]:
        """What every worker brings to its next collective, in rank order."""
        rank: int = self.own.rank
        with self.changed:
            here = self.brought[self.counts[rank]]
            self.counts[rank] += 1
            here[rank] = (kind, value)
            self.changed.notify_all()
            self.changed.wait_for(lambda: len(here) == self.world or bool(self.gone - here.keys()), LIMIT)
            kinds = sorted({each for each, _ in here.values()})
            if len(here) < self.world or len(kinds) > 1:
                raise RuntimeError(f"{len(here)} of {self.world} workers met for {', '.join(kinds)}")
            return [here[each][1] for each in range(self.world)]

    def leave(self) -> None:
        with self.changed:
            self.gone.add(self.own.rank)
            self.changed.notify_all()

    def all_reduce(self, tensor: Tensor, async_op: bool = False) -> Work | None:
        brought = (f"a sum of {tuple(tensor.shape)}", tensor.clone())

        def add() -> None:
            tensor.copy_(torch.stack(self.exchange(*brought)).sum(0))

        if async_op:
            return Work(add)
        add()
        return None

    def all_gather_object(self, values: list[Any], value: Any) -> None:
        values[:] = [pickle.loads(part) for part in self.exchange("a gathering", pickle.dumps(value))]

    def all_gather(self, parts: list[Tensor], tensor: Tensor) -> None:
        for part, found in zip(
            parts, self.exchange(f"a gathering of {tuple(tensor.shape)}", tensor.clone()), strict=True
        ):
            part.copy_(found)

    def broadcast(self, tensor: Tensor, src: int) -> None:
        tensor.copy_(self.exchange(f"a broadcast of {tuple(tensor.shape)}", tensor.clone())[src])

    def broadcast_object_list(self, box: list[Any], src: int) -> None:
        box[:] = pickle.loads(self.exchange("a broadcast", pickle.dumps(box))[src])


def together(world: int, work: Callable[[Group], T]) -> list[T]:
    """What each of `world` workers makes of its view of the group, in rank order; raises what one of them raised."""
    if world == 1:
        return [work(Group())]
    meeting = _Meeting(world)

    def run(rank: int) -> T:
        meeting.own.rank = rank
        try:
            return work(Group(rank, world))
        finally:
            meeting.leave()

    names = ("all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list")
    with (
        mock.patch.multiple(torch.distributed, **{name: getattr(meeting, name) for name in names}),
        ThreadPoolExecutor(world) as pool,
    ):
        running = [pool.submit(run, rank) for rank in range(world)]
        errors = [error for each in running if (error := each.exception()) is not None]
        for error in sorted(errors, key=lambda each: isinstance(each, PeerLostError)):
            raise error  # the others only lost this one
        return [each.result() for each in running]
