"""A trained encoder and head as a class of the transformers library, which anyone loads without this project.

Heads on tokens are the library's own. A pooled head is a linear layer on the mean, or the first, of the token states;
the library's classes for whole texts have a dense layer, tanh and a linear layer on the first one. They are made to
compute the same, to the rounding of fp32, by three devices, each with a bound that holds for every text:

*Small signals.* Below 2^-12 tanh is the identity in fp32. Logits go through it divided by a power of two, and are
multiplied by it again. |logit| is bounded, because the states come out of a layer norm: with a head w, b and a norm
g, c of d values it is at most |w·g| sqrt(d) + |w·c + b|.

*Pooling by attention.* A further layer with queries of zero attends to all tokens alike: it gives each the mean of the
values, and the values are the logits.

*A loud constant.* That layer adds its input and normalises. Its output is a constant so large that the input vanishes
beside it in fp32, and that the norm's divisor does not depend on the logits. They stand there twice, with both signs:
in the difference the norm's mean cancels.

bf16 has the range for that, fp16 has not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging

from trainables.errors import UserError
from trainables.model.encoder import Encoder
from trainables.model.heads import PooledHead

EMBEDDINGS = "AutoModel"
"""The class of encoders without a head."""

FAINT = 2.0**-12
"""Below this the fp32 tanh of a number is that number, and one plus its square is one."""

LOUD = 2.0**27
"""What is smaller than this many times less vanishes beside it in fp32, with three bits to spare."""


class NoStockClassError(UserError):
    """The library has no class that computes what a trial's head does."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            "encoder.name_or_path: no class of transformers computes what this trial's head computes on such an "
            f"encoder; those of the BERT and RoBERTa kinds have one (got {kind})"
        )


def load(folder: Path, auto_class: str) -> Any:
    """The model in a folder, as ``transformers.<auto_class>`` loads it: in fp32 and evaluation mode.

    Raises OSError or ValueError, as the library does, where it cannot be loaded.
    """
    loader: Any = getattr(transformers, auto_class)
    options = {"use_safetensors": True, "dtype": torch.float32, "trust_remote_code": False}
    return loader.from_pretrained(folder, **options).eval()


def stock(encoder: Encoder, head: nn.Module, auto_class: str, labels: Sequence[str] = ()) -> Any:
    """The model that ``transformers.<auto_class>`` loads, in evaluation mode: same weights, same logits.

    `labels` name the logits. Raises `NoStockClassError` where the encoder's kind has no such class.
    """
    if encoder.maps is not None:
        raise UserError("alignment.objective: transformers loads no encoder with maps of languages (got 'linear_map')")
    if encoder.language_numbers:
        raise NoStockClassError(encoder.model.config.model_type)
    linear = next((m for m in head.modules() if isinstance(m, nn.Linear)), None)
    pooled = next((m for m in head.modules() if isinstance(m, PooledHead)), None)
    config = copy.deepcopy(encoder.model.config)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
    if pooled is not None:
        config.num_hidden_layers += pooled.pooling == "mean"
    try:
        model = getattr(transformers, auto_class).from_config(config, attn_implementation="sdpa").eval()
        _fill(model.base_model, encoder)
        if auto_class == EMBEDDINGS and hasattr(model, "pooler"):
            model.pooler = None  # its weights would be random ones
        with torch.no_grad():
            if pooled is not None:
                _pool(model, encoder, pooled)
            elif linear is not None:
                _copy(linear, model.qa_outputs if hasattr(model, "qa_outputs") else model.classifier)
    except (AttributeError, ValueError) as error:
        raise NoStockClassError(encoder.model.config.model_type) from error
    return model


def pipeline(folder: Path, task: str) -> Any:
    """The library's pipeline over an exported folder. Raises `UserError` for a task that it has none for."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return transformers.pipeline(task, model=str(folder))
    except KeyError as error:
        raise UserError(f"task.name: transformers has no pipeline for such tasks (got {task})") from error


def _fill(base: nn.Module, encoder: Encoder) -> None:
    """The encoder's weights; what remains as it was made are the pooler and a further layer."""
    missing, unexpected = base.load_state_dict(encoder.model.state_dict(), strict=False)
    further = f"encoder.layer.{len(encoder.model.encoder.layer)}."
    if unexpected or not all(name.startswith(("pooler.", further)) for name in missing):
        raise ValueError(f"{type(base).__name__} has other weights than {type(encoder.model).__name__}")


def _copy(source: nn.Linear, target: nn.Linear) -> None:
    target.weight.copy_(source.weight)
    target.bias.copy_(source.bias)


def _pool(model: Any, encoder: Encoder, head: PooledHead) -> None:
    """Give a class for whole texts the weights with which it computes a pooled head."""
    first, last = _ends(model)
    weight, bias = head.linear.weight, head.linear.bias
    classes = len(weight)
    largest = _bound(encoder, weight, bias)
    for parameter in (*first.parameters(), *last.parameters()):
        parameter.zero_()
    scale = _power(largest / FAINT)
    if head.pooling == "first":
        first.weight[:classes], first.bias[:classes] = weight / scale, bias / scale
    else:
        unit = _attend(model.base_model.encoder.layer[-1], weight, bias, largest)
        own = torch.arange(classes)
        first.weight[own, own], first.weight[own, classes + own] = unit / 2 / scale, -unit / 2 / scale
    if last.out_features == classes:
        last.weight[:, :classes] = torch.eye(classes) * scale
    else:
        raise ValueError(f"the class has {last.out_features} logits, the head {classes}")


def _ends(model: Any) -> tuple[nn.Linear, nn.Linear]:
    """The two linear layers of a class for whole texts: BERT's pooler and classifier, or RoBERTa's in one module."""
    if not isinstance(model.classifier, nn.Linear):
        return model.classifier.dense, model.classifier.out_proj
    return model.base_model.pooler.dense, model.classifier


def _bound(encoder: Encoder, weight: Tensor, bias: Tensor) -> float:
    """What no logit of any text exceeds: the states are those of a layer norm."""
    norm: nn.LayerNorm = encoder.model.encoder.layer[-1].output.LayerNorm
    spread = (weight * norm.weight).norm(dim=1) * math.sqrt(weight.shape[1])
    return float((spread + (weight @ norm.bias + bias).abs()).max())


def _attend(layer: Any, weight: Tensor, bias: Tensor, largest: float) -> float:
    """Make a layer give each token the mean logits, and minus them, in some unit; returns the unit."""
    classes, size = weight.shape
    places = (size - 2 * classes) // 2 * 2
    if places <= 0:
        raise UserError(f"encoder.name_or_path: {classes} labels are too many for states of {size} (got {size})")
    for parameter in layer.parameters():
        parameter.zero_()
    attention, output = layer.attention.self, layer.attention.output
    attention.value.weight[:classes], attention.value.bias[:classes] = weight, bias
    own = torch.arange(classes)
    output.dense.weight[own, own], output.dense.weight[classes + own, own] = LOUD, -LOUD
    constant = _power(largest * math.sqrt(2 * classes / places) / FAINT)
    signs = torch.tensor([1.0, -1.0]).repeat(places // 2)
    output.dense.bias[2 * classes : 2 * classes + places] = LOUD * constant * signs
    for norm in (output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1.0)
    return constant * math.sqrt(places / size) * math.sqrt(1 + layer.output.LayerNorm.eps)


def _power(value: float) -> float:
    """The next power of two: multiplying by it changes no digit."""
    return 2.0 ** math.ceil(math.log2(max(value, 2.0**-60)))
