"""A frozen model that a trial is held to: a folder that transformers loads, as `study model` writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from trainables.batch import Batch
from trainables.errors import UserError
from trainables.materials.materials import Materials
from trainables.model.stock import load
from trainables.training.library import logits, whole


def teacher(folder: Path, materials: Materials, device: torch.device) -> Callable[[Batch], Tensor]:
    """From a trial's batch to the model's logits of it, in fp32, without dropout and without a gradient.

    In fp32, since a head that is made of the library's parts needs that (`model/stock`). Raises `UserError` where it
    cannot be loaded.
    """
    try:
        model = load(folder, materials.shape.auto_class)
    except (OSError, ValueError) as error:
        raise UserError(f"perturbation.teacher: cannot be loaded, {error} (got {folder})") from error
    model = model.eval().requires_grad_(False).to(device)
    kept = None if materials.kept is None else torch.from_numpy(materials.kept).to(device)

    def answer(batch: Batch) -> Tensor:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                return logits(model, whole(batch, kept), materials)
        finally:
            torch.set_float32_matmul_precision(before)

    return answer
