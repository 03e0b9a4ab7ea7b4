"""A trial's checkpoint: weights, optimiser, loss scale, step and last evaluations, in a folder that is whole or absent.

Random streams and the position in the data are functions of (seed, step), so the step restores them. Frozen weights are
those of the pristine encoder and are not stored. Written aside, fsynced, renamed; every file has a checksum.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from trainables.scores import Evaluation
from trainables.storage import files, tensors

if TYPE_CHECKING:  # a study's process tidies checkpoints up without reading weights, and does without torch
    import torch
    from torch import Tensor, nn

NUMBERING = 2
"""What is written today; 1 where a checkpoint does not say."""

WEIGHTS, OPTIMIZER, MEAN, META = "weights.safetensors", "optimizer.safetensors", "mean.safetensors", "meta.json"
CARRIED = "carried.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a trial continues from."""

    step: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    evaluations: tuple[Evaluation, ...]
    """What was reported at this step."""
    best: tuple[int, float] | None
    """Step and source score of the evaluation best on the source language so far, where the trial keeps that one."""
    train_seconds: float
    evaluation_seconds: float
    scaler: Mapping[str, Any]
    """State of the gradient scaler; empty where there is none."""
    mean: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the weights at the evaluations so far, where the trial averages them."""
    averaged: int = 0
    """How many those were."""
    carried: Mapping[str, Tensor] = field(default_factory=dict)
    """What the method carries from step to step."""
    kin: str = ""
    """Of a finished trial: what its weights must have in common with others' to be averaged with them
    (`trainables.training.average`); empty where it does not say."""
    meters: Mapping[str, Any] = field(default_factory=dict)
    """What was summed up since the last evaluation (`training.trial.Meters`); empty where it does not say."""
    limits: tuple[int | None, int | None] | None = None
    """Items and tokens that a worker has at once (`training.passes.Limits`), where memory did not suffice for more."""
    numbering: int = NUMBERING
    """How the rows of its word embeddings are numbered (`trainables.training.rows`)."""


def save(directory: Path, *state_of: Any, **named: Any) -> Path:
    """`write` the `state` of a model, at once."""
    return write(directory, state(*state_of, **named))


def state(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    evaluations: Sequence[Evaluation],
    best: tuple[int, float] | None = None,
    seconds: tuple[float, float] = (0.0, 0.0),
    scaler: Mapping[str, Any] | None = None,
    memory: dict[str, Tensor] | None = None,
    carried: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    """What `write` writes, of a model and an optimiser as they are now; without an optimiser, weights only.

    `seconds` are those spent so far in training and in evaluation, `scaler` is the gradient scaler's state, `carried`
    what the method carries. With
    `memory`, of one's own and empty at first, the tensors are copies in it, until it is given again; without it, those
    on the CPU are the model's and the optimiser's own.
    """
    weights = _trained(model)
    moments = {} if optimizer is None else _optimizer_tensors(model, optimizer)
    own = {f"{CARRIED}//{name}": tensor for name, tensor in (carried or {}).items()}
    whole = {**weights, **moments, **own}
    kept = {n: t.cpu() for n, t in whole.items()} if memory is None else _copied(whole, memory)
    return Checkpoint(
        step=step,
        weights={name: kept[name] for name in weights},
        optimizer={name: kept[name] for name in moments},
        evaluations=tuple(evaluations),
        best=best,
        train_seconds=seconds[0],
        evaluation_seconds=seconds[1],
        scaler=dict(scaler or {}),
        carried={name.removeprefix(f"{CARRIED}//"): kept[name] for name in own},
    )


def write(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write ``directory/<step>``, replacing an earlier one of that step. Raises `OSError` where it can't be written."""
    target = directory / str(checkpoint.step)
    with files.replaced(target) as aside:
        aside.mkdir()
        checksums = {WEIGHTS: _write_tensors(checkpoint.weights, aside / WEIGHTS)}
        if checkpoint.optimizer:
            checksums[OPTIMIZER] = _write_tensors(checkpoint.optimizer, aside / OPTIMIZER)
        if checkpoint.mean:
            checksums[MEAN] = _write_tensors(checkpoint.mean, aside / MEAN)
        if checkpoint.carried:
            checksums[CARRIED] = _write_tensors(checkpoint.carried, aside / CARRIED)
        write_meta(
            aside,
            {
                "step": checkpoint.step,
                "evaluations": [evaluation.to_json() for evaluation in checkpoint.evaluations],
                "best": checkpoint.best,
                "seconds": (checkpoint.train_seconds, checkpoint.evaluation_seconds),
                "scaler": dict(checkpoint.scaler),
                "numbering": NUMBERING,
                "meters": dict(checkpoint.meters),
                "averaged": checkpoint.averaged,
                "kin": checkpoint.kin,
                "limits": checkpoint.limits,
                "checksums": checksums,
            },
        )
    return target


def latest(directory: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a trial; a corrupt one falls back to the one before it."""
    for step in sorted(steps(directory), reverse=True):
        checkpoint = read(directory / str(step))
        if checkpoint is not None:
            return checkpoint
    return None


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint in a folder, or None where it is absent, torn or corrupt."""
    from safetensors.torch import load_file

    try:
        meta = read_meta(folder)
        if any(tensors.checksum(folder / name) != checksum for name, checksum in meta["checksums"].items()):
            return None
        return Checkpoint(
            step=meta["step"],
            weights=load_file(folder / WEIGHTS),
            optimizer=load_file(folder / OPTIMIZER) if OPTIMIZER in meta["checksums"] else {},
            evaluations=_evaluations(meta),
            best=tuple(meta["best"]) if meta["best"] else None,
            train_seconds=meta["seconds"][0],
            evaluation_seconds=meta["seconds"][1],
            scaler=meta.get("scaler", {}),
            mean=load_file(folder / MEAN) if MEAN in meta["checksums"] else {},
            averaged=meta.get("averaged", 0),
            carried=load_file(folder / CARRIED) if CARRIED in meta["checksums"] else {},
            kin=meta.get("kin", ""),
            meters=meta.get("meters", {}),
            limits=tuple(meta["limits"]) if meta.get("limits") else None,
            numbering=meta.get("numbering", 1),
        )
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def last_evaluations(directory: Path) -> tuple[Evaluation, ...]:
    """What was reported at the newest checkpoint of a trial, without reading its weights; empty where it is corrupt."""
    for step in reversed(steps(directory)):
        try:
            return _evaluations(read_meta(directory / str(step)))
        except (OSError, ValueError, KeyError):
            continue
    return ()


def kin(directory: Path) -> str:
    """What the weights of a finished trial's newest checkpoint have in common with others'; empty if it is unknown."""
    for step in reversed(steps(directory)):
        try:
            return str(read_meta(directory / str(step)).get("kin", ""))
        except (OSError, ValueError, KeyError):
            continue
    return ""


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write what a checkpoint's folder has beside numbers, with a checksum."""
    body = json.dumps(meta)
    (folder / META).write_text(json.dumps({"checksum": _digest(body.encode()), "meta": body}), encoding="utf-8")


def read_meta(folder: Path) -> dict[str, Any]:
    """The same again. Raises `OSError`, `ValueError` or `KeyError` where it is absent, torn or corrupt."""
    envelope = json.loads((folder / META).read_text(encoding="utf-8"))
    if _digest(envelope["meta"].encode()) != envelope["checksum"]:
        raise ValueError(f"{folder / META} is corrupt")
    meta: dict[str, Any] = json.loads(envelope["meta"])
    return meta


def _evaluations(meta: dict[str, Any]) -> tuple[Evaluation, ...]:
    return tuple(Evaluation.from_json(e) for e in meta["evaluations"])


def steps(directory: Path) -> list[int]:
    """Steps that have a checkpoint folder, whole or not."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def keep_only(directory: Path, kept: set[int]) -> None:
    """Delete the checkpoints of all other steps, and what crashed writers left behind."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        if files.is_wreck(path) or (path.name.isdigit() and int(path.name) not in kept):
            shutil.rmtree(path, ignore_errors=True)


def keep_weights_only(directory: Path) -> None:
    """Reduce a finished trial to its last checkpoint, which is weights only."""
    keep_only(directory, set(steps(directory)[-1:]))


def trainable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, on the CPU: there they are the model's own, elsewhere copies."""
    return {name: tensor.cpu() for name, tensor in _trained(model).items()}


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put saved weights into a model whose frozen part is pristine. Names must match exactly."""
    import torch

    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert parameters.keys() == weights.keys(), "the checkpoint belongs to another configuration"
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def load_carried(tensors: Mapping[str, Tensor], carried: Mapping[str, Tensor]) -> None:
    """Put what a method carried into its tensors; a finished trial's checkpoint has none, and needs none."""
    for name, tensor in carried.items():
        tensors[name].copy_(tensor)


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore its state (inverse of what `save` wrote); its settings stay those of the configuration."""
    numbers = {name: number for number, name in enumerate(_optimised(model, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("//")
        state.setdefault(numbers[name], {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = _optimised(model, optimizer)
    return {
        f"{names[number]}//{key}": value.detach()
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def _optimised(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the parameters by the numbers that the optimiser's state dict knows them by."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _copied(tensors: Mapping[str, Tensor], memory: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory, which devices reach by themselves where it is pinned."""
    import torch

    for name, tensor in tensors.items():
        if name not in memory:
            memory[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        memory[name].copy_(tensor, non_blocking=True)
    for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.synchronize(device)
    return {name: memory[name] for name in tensors}


def _write_tensors(named: Mapping[str, Tensor], path: Path) -> str:
    """A file of them, and its checksum, which the content gives while it is written."""
    import torch

    dtypes = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"}
    dtypes |= {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
    entries = {name: tensors.Entry(dtypes[t.dtype], tuple(t.shape), t.nbytes) for name, t in named.items()}
    return tensors.write(path, entries, map(_numbers, named.values()))


def _numbers(tensor: Tensor) -> memoryview:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
