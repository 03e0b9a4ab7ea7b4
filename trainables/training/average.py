"""Means of weights: of a trial's own at its evaluations (Schmidt et al., arXiv 2305.16834, CA), one model, trained
once; and which trials' may be averaged with each other's (`trainables.storage.soup`)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from trainables.alignment import alignment_key
from trainables.config import EvaluationConfig, TrialConfig
from trainables.model.encoder import Model
from trainables.storage.checkpoint import trainable_weights
from trainables.training.rows import words_of

SYNTAX = {"augmented": ("delta", "graph_layers", "graph_heads"), "gate": ("deltas",)}
"""What layers of syntax read of their configuration: how far their heads see is in no shape."""


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


def kin(config: TrialConfig, rows: npt.NDArray[np.int64] | None, model: Model) -> str:
    """What trials share whose weights may be averaged, as 16 hex digits.

    The seed, from which a head and adapters begin alike; the encoder, aligned or not, what of it is trained and how it
    is pooled; layers of syntax and how far they see; `rows` of the vocabulary that data leave of it
    (`Materials.kept`); names and shapes of what is trained. Dropout is none of it.
    """
    words = words_of(model)  # its shape is the rows'
    trained = [(n, list(p.shape) if n != words else []) for n, p in model.named_parameters() if p.requires_grad]
    said = [config.training.seed, config.encoder.model_dump(mode="json", exclude={"dropout"}), trained]
    said += [alignment_key(config)] * (config.alignment.objective != "none")
    if config.syntax.kind != "none":
        said.append(config.syntax.model_dump(mode="json", include={"kind", *SYNTAX[config.syntax.kind]}))
    digest = blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8)
    if rows is not None:
        digest.update(np.asarray(rows, dtype=np.int64).tobytes())
    return digest.hexdigest()
