"""The mean of the weights at a trial's evaluations (Schmidt et al., arXiv 2305.16834, CA): one model, trained once."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from trainables.config import EvaluationConfig
from trainables.storage.checkpoint import trainable_weights


def counts(config: EvaluationConfig, step: int, steps: int) -> bool:
    """Whether the evaluation at a step is one of those whose weights are averaged.

    >>> config = EvaluationConfig(checkpoint="average", every=2, average_last=3)
    >>> [step for step in (2, 4, 6, 7) if counts(config, step, steps=7)]
    [4, 6, 7]
    """
    if config.checkpoint != "average":
        return False
    every = config.every or steps
    last, this = math.ceil(steps / every), math.ceil(step / every)
    return config.average_last is None or last - this < config.average_last


def joined(mean: Mapping[str, Tensor], count: int, model: nn.Module) -> dict[str, Tensor]:
    """The mean of `count` models and one more, of the parameters that training changes; fp32 on the CPU.

    A running mean, so that there are never more than two of them. New tensors: the old ones may be on their way to a
    checkpoint.
    """
    weights = trainable_weights(model)
    if count == 0:
        return {name: weight.clone() for name, weight in weights.items()}
    return {name: mean[name] + (weight - mean[name]) / (count + 1) for name, weight in weights.items()}
