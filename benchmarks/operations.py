"""Operations that a training step dispatches: an accelerator's time, where its kernels are shorter than their launch.

Counted are those that are no views, of a whole step over 8 texts, dropout 0.1, nothing frozen: the batch's way to the
device, all passes, clipping and the update, which is plain SGD's for all. The library's step is its own encoder over
the padded batch, by `scaled_dot_product_attention`, with the same head and loss, and brings there what it needs. On the
CPU the texts are of the data's own lengths. An *accelerator* is stood in for by a device whose tensors have no values:
dropout and attention take the ways that they take there, but for fused attention kernels, which such a device lacks on
both sides; there the texts are 12 tokens long each.

    python benchmarks/operations.py [--layers 12]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _studies import configuration
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import BertConfig, BertModel

from trainables.batch import Encoded
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.materials.materials import Materials, load
from trainables.model.encoder import Encoder
from trainables.perturbation.ascent import inputs_only
from trainables.tasks.base import collate
from trainables.training.step import train_step
from trainables.training.trial import Trial, start

TEXTS, TOKENS = 8, 12

METHODS = {
    "clean": {"perturbation.method": "none"},
    "PGD-1": {"perturbation.method": "adversarial", "perturbation.ascent_steps": 1},
    "PGD-3": {"perturbation.method": "adversarial", "perturbation.ascent_steps": 3},
    "FreeLB-3": {"perturbation.method": "freelb", "perturbation.ascent_steps": 3},
    "SMART-1": {"perturbation.method": "smart", "perturbation.ascent_steps": 1},
}


class Counted(TorchDispatchMode):
    """How many operations were dispatched to a device within that are no views."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.number, self._device = 0, device

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute one, and count it."""
        found = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, found)) if isinstance(each, torch.Tensor)]
        self.number += not func.is_view and any(each.device.type == self._device.type for each in tensors)
        return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    layers = parser.parse_args().layers
    print("| step | CPU | accelerator |")
    print("|---|---:|---:|")
    devices = [torch.device("cpu"), torch.device("meta")]
    trained = {name: [step(point, device, layers) for device in devices] for name, point in METHODS.items()}
    for name, (cpu, other) in trained.items():
        print(f"| {name} | {cpu} | {other} |", flush=True)
    ascent = [to_inputs(device, layers) for device in devices]
    print(f"| forward pass and gradient to the inputs | {ascent[0]} | {ascent[1]} |")
    whole = [library(device, layers) for device in devices]
    print(f"| the library's clean step | {whole[0]} | {whole[1]} |")
    bound = [clean + 3 * each for clean, each in zip(trained["clean"], ascent, strict=True)]
    print(f"| clean + 3 · (forward and gradient), which PGD-3 is to stay within | {bound[0]} | {bound[1]} |")


def begun(point: dict[str, Any], device: torch.device, layers: int) -> Trial:
    """A trial of random weights in the embedded encoder's shape on texts of the data."""
    config = configuration("operations", 2, 2, 1, frozen=False).trial
    config = apply_point(config, {"training.batch_size": TEXTS, "encoder.dropout": 0.1, **point})
    materials = load(config)
    if device.type != "cpu":
        materials = replace(materials, train=_even(materials.train), _memory={})
    materials.remember("encoder", lambda: encoder(materials, layers))
    with tempfile.TemporaryDirectory() as folder:
        trial = start(config, materials, Group(device=device), Path(folder))
    trial.optimizer = torch.optim.SGD([p for p in trial.model.parameters() if p.requires_grad], lr=0.0, foreach=True)
    for group in trial.optimizer.param_groups:
        group["peak"] = 0.0
    return trial


def encoder(materials: Materials, layers: int) -> Encoder:
    """BERT of random weights with as many words as the data use."""
    rows = len(materials.kept) if materials.kept is not None else 30_000
    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    config = BertConfig(vocab_size=rows, num_hidden_layers=layers, **sizes)
    return Encoder(BertModel(config, add_pooling_layer=False), uses_segments=False).eval()


def _even(encoded: Encoded) -> Encoded:
    """Items of one length, made of the same words."""
    count = len(encoded.ids) // TOKENS
    return replace(
        encoded,
        ids=encoded.ids[: count * TOKENS],
        special=np.zeros(count * TOKENS, dtype=np.bool_),
        offsets=np.arange(count + 1) * TOKENS,
        labels=encoded.labels[:count],
        label_offsets=np.arange(count + 1),
        rows=encoded.rows[:count],
    )


def step(point: dict[str, Any], device: torch.device, layers: int) -> int:
    """Operations of a step."""
    trial = begun(point, device, layers)
    train_step(trial)  # the first one allocates
    with Counted(device) as counted:
        train_step(trial)
    return counted.number


def to_inputs(device: torch.device, layers: int) -> int:
    """Operations of one pass forward, with masks of its own, and back to the embeddings alone."""
    trial = begun(METHODS["clean"], device, layers)
    batch, _ = trial.feed.take(0, trial.batches.at(0), lambda: None)
    trial.model.train()
    with Counted(device) as counted:
        point = trial.model.embed(batch).detach().requires_grad_()
        inputs_only(trial.materials.shape.loss(trial.model.logits(point, batch), batch.labels), point)
    return counted.number


def library(device: torch.device, layers: int) -> int:
    """Operations of the library's own clean step."""
    trial = begun(METHODS["clean"], device, layers)
    torch.manual_seed(0)
    model = encoder(trial.materials, layers).model.to(device).train()
    model.set_attn_implementation("sdpa")
    head = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(384, len(trial.materials.shape.labels))).to(
        device
    )
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.0, foreach=True)
    shape, items = trial.materials.shape, trial.batches.at(0).tolist()
    with Counted(device) as counted:
        batch = collate(shape, trial.materials.train, items, trial.materials.pad_id)
        ids, tokens, labels = (each.to(device) for each in (batch.input_ids, batch.attention_mask, batch.labels))
        # Without a mask where nothing is padded: the library would read it back to see that.
        states = model(input_ids=ids, attention_mask=None if batch.layout.is_full else tokens).last_hidden_state
        weights = tokens.to(states.dtype)[..., None]
        logits = head((states * weights).sum(1) / weights.sum(1))
        functional.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return counted.number


if __name__ == "__main__":
    main()
