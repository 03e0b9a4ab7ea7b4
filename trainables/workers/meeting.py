"""Where the workers of one trial meet on one machine: at a file, and on loopback, so that nothing listens beyond it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import ray

from trainables.distributed import Group, backend

PATIENCE = timedelta(minutes=30)
"""Longest wait in a collective; also Ray Train's."""


@contextmanager
def meeting(mailbox: Any, slot: str, group: Group, folder: str | None) -> Iterator[None]:
    """Within, the workers of a group can exchange tensors. `folder` is one that they share; none: they can already."""
    if folder is None or group.world == 1:
        yield
        return
    import torch.distributed as dist

    if dist.is_initialized():  # by a Ray that does so in any case
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = loopback()
    # A file of its own for each meeting: one that earlier workers have used would let these wait for them.
    name = ray.get(mailbox.meet.remote(slot, group.rank, group.world))
    place = (Path(folder) / f"meeting-{name}").as_uri()
    by = backend(group.device.type)
    dist.init_process_group(by, init_method=place, rank=group.rank, world_size=group.world, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def loopback() -> str:
    """The loopback interface: ``lo``, ``lo0``."""
    return next(
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(each.family == socket.AF_INET and each.address == "127.0.0.1" for each in addresses)
    )
