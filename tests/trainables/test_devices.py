"""What is said of a device, by what torch says of it: pretended cards and CPUs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trainables import devices
from trainables.devices import Device


@pytest.mark.parametrize(
    ("capability", "precisions", "attention"),
    [
        ((9, 0), "fp32, tf32, bf16, fp16", "flash in bf16 and fp16 without padding, else memory-efficient"),
        ((8, 0), "fp32, tf32, bf16, fp16", "flash in bf16 and fp16 without padding, else memory-efficient"),
        ((7, 5), "fp32, bf16 in software, fp16", "memory-efficient"),
        ((6, 1), "fp32, bf16 in software, fp16 in software", "memory-efficient"),
    ],
)
def test_a_card_by_its_capability(capability: tuple[int, int], precisions: str, attention: str) -> None:
    card = Device("cuda", "NVIDIA A Card", 80 << 30, capability)
    assert devices.words(card) == f"NVIDIA A Card, 80.0 GiB; {precisions}; attention: {attention}"


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ((), ("fp32", "bf16 in software", "fp16 in software")),
        (("avx512_bf16", "avx2"), ("fp32", "bf16", "fp16 in software")),
        (("amx_bf16", "avx512_fp16"), ("fp32", "bf16", "fp16")),
    ],
)
def test_a_cpu_by_its_instructions(instructions: tuple[str, ...], expected: tuple[str, ...]) -> None:
    cpu = Device("cpu", "A CPU", 16 << 30, cores=4, instructions=frozenset(instructions))
    assert devices.precisions(cpu) == expected
    assert devices.words(cpu).startswith("A CPU, 4 cores, 16.0 GiB; fp32, ")


def test_the_cards_are_those_that_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(name=f"card {i}", total_memory=i << 30, major=8, minor=i) for i in (6, 9)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found[number])
    assert devices.cards() == [
        Device("cuda", "card 6", 6 << 30, (8, 6)),
        Device("cuda", "card 9", 9 << 30, (8, 9)),
    ]


def test_cards_as_their_driver_lists_them() -> None:
    lines = "NVIDIA A10G, 23028, 8.6\nNVIDIA H200, 143771, 9.0\n"
    assert devices.reported(lines) == [
        Device("cuda", "NVIDIA A10G", 23028 << 20, (8, 6)),
        Device("cuda", "NVIDIA H200", 143771 << 20, (9, 0)),
    ]
    assert devices.reported("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == []


def test_this_machine_has_a_processor() -> None:
    cpu = devices.processor()
    assert cpu.name
    assert cpu.memory > 2**28
    assert cpu.cores >= 1
