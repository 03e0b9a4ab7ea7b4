"""AdamW, its learning rate, and the scale of fp16 losses."""

from __future__ import annotations

import math

import torch

from trainables.config import TrainingConfig
from trainables.model.encoder import Model
from trainables.schedule import rate


def build_optimizer(model: Model, config: TrainingConfig) -> torch.optim.Optimizer:
    """Fused AdamW; no decay on biases and layer norms, nor on IA3's factors.

    The head, and what syntax adds, may have their own peak rate.
    """
    groups = []
    fresh = config.head_learning_rate or config.learning_rate
    parts = [(model.encoder, config.learning_rate), (model.head, fresh)]
    parts += [] if model.syntax is None else [(model.syntax, fresh)]
    for module, peak in parts:
        trained = [p for p in module.parameters() if p.requires_grad]
        # The library shapes IA3's vectors as matrices. What they decay to, zero, is not where they rest.
        least = math.inf if module is model.encoder and model.encoder.adapter.method == "ia3" else 2
        matrices, vectors = [p for p in trained if p.ndim >= least], [p for p in trained if p.ndim < least]
        for parameters, decay in ((matrices, config.weight_decay), (vectors, 0.0)):
            if parameters:
                groups.append({"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)


def loss_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """For fp16, its scale in place: it makes one when it first scales a loss, which methods do themselves."""
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    scaler.scale(torch.zeros((), device=device))
    return scaler


def learning_rate_factor(step: int, steps: int, config: TrainingConfig) -> float:
    """Share of the peak rate at a step counted from 0: linear warm-up, then linear decay towards zero, or constant."""
    return rate(step, steps, config.warmup_fraction, config.schedule != "constant")
