"""A trial in a process of its own, as one of several workers, with what each example was perturbed by.

python -m tests.trainables.recorded CONFIG.json FOLDER RANK WORLD
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trainables.config import TrialConfig
from trainables.distributed import Group
from trainables.materials import materials as materials_of
from trainables.perturbation import adversarial
from trainables.perturbation.balls import Ball
from trainables.storage.checkpoint import trainable_weights
from trainables.training.loop import fit
from trainables.training.trial import start


def recorded(config: TrialConfig, directory: Path, group: Group) -> dict[str, Any]:
    """Train; its losses, diagnostics and scores, its weights, and start and end of the ascent by (draw, example)."""
    starts: dict[tuple[int, int], Tensor] = {}
    ends: dict[tuple[int, int], Tensor] = {}
    uniform, describe = Ball.uniform, adversarial.describe_ascent

    def keep(into: dict[tuple[int, int], Tensor], draw: int, keys: Tensor, mask: Tensor, delta: Tensor) -> None:
        for key, own, each in zip(keys.tolist(), mask, delta.detach(), strict=True):
            into[draw, key] = each[own].clone()  # without padding, whose width depends on the batch's share

    def drawn(ball: Ball, keys: Tensor, draw: int) -> Tensor:
        start = uniform(ball, keys, draw)
        keep(starts, draw, keys, ball.mask, start)
        return start

    def described(batch: Any, ascent: Any, *values: Tensor) -> Any:
        keep(ends, batch.draw, batch.keys, batch.mask, ascent.delta)
        return describe(batch, ascent, *values)

    Ball.uniform, adversarial.describe_ascent = drawn, described  # type: ignore[method-assign]
    try:
        trial = start(config, materials_of.load(config), group, directory)
        evaluations = list(fit(trial))
    finally:
        Ball.uniform, adversarial.describe_ascent = uniform, describe  # type: ignore[method-assign]
    return {
        "training": [e.training for e in evaluations],
        "scores": [dict(e.primary.values) for e in evaluations],
        "counts": [dict(e.primary.counts) for e in evaluations],
        "weights": {name: tensor.clone() for name, tensor in trainable_weights(trial.model).items()},
        "starts": starts,
        "ends": ends,
    }


def main(config: str, folder: str, rank: str, world: str) -> None:
    """Run one worker; what it recorded is written to FOLDER/RANK.pt."""
    torch.set_num_threads(1)
    store = f"file://{Path(folder) / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=int(rank), world_size=int(world))
    trial = TrialConfig.model_validate_json(Path(config).read_text(encoding="utf-8"))
    # A folder of its own each, as where the root is in a store, or the machines share none.
    found = recorded(trial, Path(folder) / f"trial-{rank}", Group(int(rank), int(world)))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
