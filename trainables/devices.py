"""What a device is to a trial: its memory, the precisions it computes in, the kernels its attention takes.

`cards` and `processor` ask torch; everything else is a function of what they found.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from trainables import machine

SOFTWARE = " in software"


def whole_precision(kind: str) -> AbstractContextManager[object]:
    """Within, products of fp32 numbers are fp32 on a kind of device, though passes are computed in half precision."""
    import torch

    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


@dataclass(frozen=True)
class Device:
    """What torch says of one device."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory: int
    """Bytes."""
    capability: tuple[int, int] = (0, 0)
    """Compute capability of a card, such as (9, 0)."""
    cores: int = 0
    """Of a CPU: those that are ours."""
    instructions: frozenset[str] = frozenset()
    """Of a CPU: the sets that it has, such as ``avx512_bf16``."""


def cards() -> list[Device]:
    """The cards of this machine, in torch's order. Takes hold of each."""
    import torch

    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [Device("cuda", card.name, card.total_memory, (card.major, card.minor)) for card in found]


def reported(lines: str) -> list[Device]:
    """Cards as ``nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv,noheader,nounits`` lists them.

    That takes hold of none, and sees those that are hidden from a process.
    """
    found = []
    for line in lines.splitlines():
        if line.count(",") >= 2:
            name, memory, capability = (part.strip() for part in line.rsplit(",", 2))
            major, _, minor = capability.partition(".")
            found.append(Device("cuda", name, int(float(memory) * 2**20), (int(major), int(minor or 0))))
    return found


def processor() -> Device:
    """The CPUs of this machine as one device."""
    import torch

    said = torch.cpu.get_capabilities()
    name = str(said.get("cpu_name") or platform.processor() or platform.machine())
    sets = frozenset(key for key, there in said.items() if there is True)
    return Device("cpu", name, machine.memory(), cores=machine.cpus(), instructions=sets)


def precisions(device: Device) -> tuple[str, ...]:
    """What it computes in; with ``in software`` where no instruction of its own does it, which is no gain."""
    if device.kind == "cpu":
        halves = ("bf16", "fp16")
        return ("fp32", *(h if any(h in s for s in device.instructions) else h + SOFTWARE for h in halves))
    if device.capability >= (8, 0):  # Ampere
        return ("fp32", "tf32", "bf16", "fp16")
    # Volta has units for fp16; torch emulates bf16 on what is older than Ampere.
    return ("fp32", "bf16" + SOFTWARE, "fp16" if device.capability >= (7, 0) else "fp16" + SOFTWARE)


def attention(device: Device) -> str:
    """Which kernels torch's scaled dot-product attention takes for our batches.

    By the conditions of torch.nn.functional.scaled_dot_product_attention: flash attention takes half precision, no mask
    (a batch whose texts are of one length), and a card from Ampere on; masks and fp32 are for the memory-efficient one.
    """
    if device.kind == "cpu":
        return "in full where it drops out, else flash"
    if device.capability >= (8, 0):
        return "flash in bf16 and fp16 without padding, else memory-efficient"
    return "memory-efficient"


def words(device: Device) -> str:
    """``NVIDIA H200, 139.8 GiB; fp32, tf32, bf16, fp16; attention: …``."""
    cores = f", {device.cores} core{'s' * (device.cores > 1)}" if device.kind == "cpu" else ""
    size = f"{device.memory / 2**30:.1f} GiB"
    return f"{device.name}{cores}, {size}; {', '.join(precisions(device))}; attention: {attention(device)}"
