"""A checkpoint is whole or absent, and gives back exactly what was saved."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from trainables.scores import Evaluation, LanguageScores
from trainables.storage import checkpoint


def evaluation(step: int) -> Evaluation:
    return Evaluation(step, "validation", {"accuracy": LanguageScores({"sw": 0.5}, {"sw": 4})})


def trained(device: torch.device | None = None) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(device)
    model[0].bias.requires_grad_(False)
    optimizer = fresh_optimizer(model)
    step(model, optimizer)
    return model, optimizer


def fresh_optimizer(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    """In groups, as a trial's: the order of its parameters is not the model's."""
    trained = [p for p in model.parameters() if p.requires_grad]
    vectors, matrices = [p for p in trained if p.ndim < 2], [p for p in trained if p.ndim > 1]
    return torch.optim.AdamW([{"params": vectors, "weight_decay": 0.0}, {"params": matrices}], lr=lr, fused=True)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(2, 3, device=model[1].bias.device)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [evaluation(1)], best=(1, 0.5), seconds=(3.0, 4.0))
    step(model, optimizer)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.step, found.best, found.train_seconds, found.evaluation_seconds) == (1, (1, 0.5), 3.0, 4.0)
    assert found.evaluations == (evaluation(1),)
    other, fresh = trained()
    with torch.no_grad():
        for p in other.parameters():
            if p.requires_grad:
                p.zero_()
    checkpoint.load_weights(other, found.weights)
    checkpoint.load_optimizer(other, fresh, found.optimizer)
    step(other, fresh)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_optimisers_state_is_stored_by_the_names_of_weights(tmp_path: Path) -> None:
    """As by every version so far, so that each reads what others wrote."""
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [])
    found = checkpoint.latest(tmp_path)
    assert found is not None
    expected = {
        f"{name}//{key}": value
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for key, value in optimizer.state[parameter].items()
    }
    assert len(expected) == 9 and found.optimizer.keys() == expected.keys()
    assert all(torch.equal(found.optimizer[name], value) for name, value in expected.items())


def test_an_optimisers_settings_are_not_the_checkpoints(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [])
    found = checkpoint.latest(tmp_path)
    assert found is not None
    fresh = fresh_optimizer(model, lr=0.7)
    checkpoint.load_optimizer(model, fresh, found.optimizer)
    assert [group["lr"] for group in fresh.param_groups] == [0.7, 0.7]


def test_all_of_an_optimisers_state_is_where_its_weights_are(tmp_path: Path) -> None:
    """The step too: fused AdamW on a GPU reads it there."""
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [])
    found = checkpoint.latest(tmp_path)
    assert found is not None
    elsewhere = model.to("meta")
    fresh = fresh_optimizer(elsewhere)
    checkpoint.load_optimizer(elsewhere, fresh, found.optimizer)
    assert {value.device.type for state in fresh.state.values() for value in state.values()} == {"meta"}


def test_files_are_those_of_the_library(tmp_path: Path) -> None:
    """Of every type that a state may have, also where it is no block of memory, empty, or a single number."""
    numbers = torch.arange(12).view(3, 4)
    tensors = {"turned": numbers.float().t(), "empty": torch.zeros(0, 3), "step": torch.tensor(7.0)}
    types = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
    tensors |= {str(dtype): numbers.to(dtype) for dtype in types}
    state = checkpoint.state(1, nn.Linear(1, 1), None, [])
    written = checkpoint.write(tmp_path, dataclasses.replace(state, weights=tensors))
    found = load_file(written / checkpoint.WEIGHTS)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in tensors.items())
    assert checkpoint.read(written) is not None, "its checksum is that of its content"


def test_a_copy_of_the_state_stays_as_it_was(device: torch.device) -> None:
    model, optimizer = trained(device)
    memory: dict[str, torch.Tensor] = {}
    first = checkpoint.state(1, model, optimizer, [], memory=memory)
    expected = {name: tensor.clone() for name, tensor in {**first.weights, **first.optimizer}.items()}
    step(model, optimizer)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in {**first.weights, **first.optimizer}.items())
    assert {(t.device.type, t.is_pinned()) for t in memory.values()} == {("cpu", device.type == "cuda")}
    places = {name: tensor.data_ptr() for name, tensor in memory.items()}
    second = checkpoint.state(2, model, optimizer, [], memory=memory)
    assert {name: tensor.data_ptr() for name, tensor in {**second.weights, **second.optimizer}.items()} == places
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in second.weights.items())


def test_a_disk_that_takes_no_more_is_an_error_of_the_system(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [evaluation(1)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            checkpoint.save(tmp_path, 2, model, optimizer, [evaluation(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG and str(caught.value.filename).endswith(checkpoint.WEIGHTS)
    found = checkpoint.latest(tmp_path)
    assert found is not None and found.step == 1


def test_frozen_weights_are_not_stored(tmp_path: Path) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [])
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert sorted(found.weights) == ["0.weight", "1.bias", "1.weight"]


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, checkpoint.META])
@pytest.mark.parametrize("damage", ["cut", "flip", "flip at the end", "absent"])
def test_a_corrupt_checkpoint_falls_back(tmp_path: Path, name: str, damage: str) -> None:
    model, optimizer = trained()
    for n in (1, 2):
        checkpoint.save(tmp_path, n, model, optimizer, [evaluation(n)])
    newest = checkpoint.latest(tmp_path)
    assert newest is not None and newest.step == 2
    file = tmp_path / "2" / name
    content = file.read_bytes()
    if damage == "absent":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        # The middle lies in the names of these small files' tensors, the end in their numbers, which anything may be.
        at = len(content) // 2 if damage == "flip" else len(content) - 1
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_crash_while_writing_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = trained()
    checkpoint.save(tmp_path, 1, model, optimizer, [evaluation(1)])

    def crash(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(tmp_path, 2, model, optimizer, [evaluation(2)])
    assert checkpoint.steps(tmp_path) == [1]
    (tmp_path / ".3.999999").mkdir()
    checkpoint.keep_only(tmp_path, {1})
    assert not (tmp_path / ".3.999999").exists()


@pytest.mark.parametrize("weights_only", [False, True])
def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_only: bool
) -> None:
    """A machine that loses its power keeps what was flushed, in the order of the flushes, and maybe nothing else."""
    done: list[tuple[str, int, int]] = []
    flush, rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        flush(descriptor)
        found = os.fstat(descriptor)
        done.append(("flushed", found.st_ino, found.st_size))

    def renamed(self: Path, target: Path) -> Path:
        done.append(("renamed", self.stat().st_ino, 0))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    model, optimizer = trained()
    written = checkpoint.save(tmp_path, 3, model, None if weights_only else optimizer, [evaluation(3)])
    at = done.index(("renamed", written.stat().st_ino, 0))
    before = {(inode, size) for _, inode, size in done[:at]}
    files = [path.stat() for path in written.iterdir()]
    assert len(files) == (2 if weights_only else 3)
    assert {(found.st_ino, found.st_size) for found in files} <= before, "every file, with all of its content"
    assert written.stat().st_ino in {inode for inode, _ in before}, "the names of the files"
    assert tmp_path.stat().st_ino in {inode for _, inode, _ in done[at + 1 :]}, "the name of the checkpoint"


def test_only_what_is_asked_for_stays(tmp_path: Path) -> None:
    model, _ = trained()
    for n in (1, 2, 3):
        checkpoint.save(tmp_path, n, model, None, [evaluation(n)])
    checkpoint.keep_only(tmp_path, {1, 3})
    assert checkpoint.steps(tmp_path) == [1, 3]
    assert checkpoint.last_evaluations(tmp_path) == (evaluation(3),)
    checkpoint.keep_weights_only(tmp_path)
    assert checkpoint.steps(tmp_path) == [3]
    assert checkpoint.latest(tmp_path / "nothing") is None


def test_what_is_on_a_card_is_copied_to_pinned_memory_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[object] = []

    class Room:
        def copy_(self, tensor: object, non_blocking: bool) -> None:
            happened.append(("copy", non_blocking))

    def empty(shape: object, dtype: object, pin_memory: bool) -> Room:
        happened.append(("room", pin_memory))
        return Room()

    card = SimpleNamespace(shape=(3,), dtype=torch.float32, is_cuda=True, device="cuda:1")
    memory: dict[str, Any] = {}
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: happened.append(("wait", device)))
    for _ in range(2):
        assert list(checkpoint._copied({"w": card}, memory)) == ["w"]  # type: ignore[dict-item]
    assert happened == [("room", True), ("copy", True), ("wait", "cuda:1"), ("copy", True), ("wait", "cuda:1")]
