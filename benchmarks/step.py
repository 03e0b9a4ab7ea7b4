"""What each saving of the training step saves: CPU time and peak memory of one adversarial step (one ascent step).

*Untuned* is the step as it is often written: full vocabulary, AdamW as a loop over parameters, random batches padded to
the longest text of the data, dropout masks drawn by every pass, weight gradients in the ascent. Each other row mends
one of these, the last all that studies do; they take random batches, which teach more. Attention that shares masks is
also what can do without padding, so these two come together. Every measurement is a process of its own, in rounds over
all rows.

    python benchmarks/step.py [--model small|base] [--steps 6] [--rounds 3]
    python benchmarks/step.py --family modernbert [--steps 6]

`small` is the embedded encoder, `base` random weights in the shape of XLM-R base (12 layers of 768, 250,002 rows). With
`--family` a step of a small random model of that kind stands beside one as it is written with the library alone: the
same ascent and batches, padded, with the library's attention and dropout.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from _studies import POOL, configuration
from torch import Tensor, nn
from transformers import AutoConfig, XLMRobertaConfig, XLMRobertaModel

from trainables.batch import Batch
from trainables.distributed import Group
from trainables.loading import apply_point
from trainables.materials.materials import Materials, load
from trainables.model.dropout import SharedDropout
from trainables.model.encoder import Encoder, Model
from trainables.model.families import family_of
from trainables.tasks import base
from trainables.tasks.base import collate
from trainables.training.step import train_step
from trainables.training.trial import Trial, start

VARIANTS = {
    "untuned": (),
    "vocabulary trimmed": ("trim",),
    "AdamW fused": ("fused",),
    "batches padded to their own longest": ("own",),
    "batches of like length": ("own", "bucket"),
    "masks drawn once, no padding": ("masks",),
    "no weight gradients in the ascent": ("ascent",),
    "as studies do": ("trim", "fused", "own", "masks", "ascent"),
}


def main() -> None:
    """Print the table; with `--one` (for its own use) measure one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("small", "base"), default="small")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--family", help="model_type of a kind of encoders")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.family is not None:
        compare(options.family, options.steps)
        return
    if options.one is not None:
        print(json.dumps(measure(VARIANTS[options.one], options.model, options.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name in VARIANTS:
            words = [sys.executable, __file__, "--one", name, "--model", options.model, "--steps", str(options.steps)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=3600)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    median = {n: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for n, rows in found.items()}
    first = median["untuned"]
    print(f"{options.model}, 32 texts a step, median of {options.rounds} rounds of {options.steps} steps, one thread\n")
    print("| step | CPU-s | times less | peak memory, MB | times less |")
    print("|---|---:|---:|---:|---:|")
    for name, row in median.items():
        print(
            f"| {name} | {row['seconds']:.2f} | {first['seconds'] / row['seconds']:.2f} | {row['megabytes']:.0f} "
            f"| {first['megabytes'] / row['megabytes']:.2f} |"
        )


def measure(savings: tuple[str, ...], model: str, steps: int) -> dict[str, float]:
    """CPU seconds of a step (median after the first, which allocates) and the process's peak memory in MB."""
    torch.set_num_threads(1)
    trial = configuration("step", 2, steps + 1, 1, frozen=False).trial
    pool = POOL if "bucket" in savings else 1
    trial = apply_point(trial, {"encoder.trim_vocabulary": "trim" in savings, "training.length_pool": pool})
    materials = load(trial)
    if model == "base":
        materials.remember("encoder", partial(base_encoder, materials, trimmed="trim" in savings))
    with tempfile.TemporaryDirectory() as folder:
        running = start(trial, materials, Group(), Path(folder))
    _undo(running, savings)
    took = []
    for _ in range(steps + 1):
        began = time.process_time()
        train_step(running)
        took.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(took[1:]), "megabytes": peak}


def compare(kind: str, steps: int) -> None:
    """Print CPU seconds of a step of a small random encoder of this kind, ours and the library's."""
    torch.set_num_threads(1)
    trial = configuration("step", 2, steps + 1, 1, frozen=False).trial
    trial = apply_point(trial, {"encoder.trim_vocabulary": True, "encoder.dropout": 0.1})
    materials = load(trial)
    materials.remember("encoder", partial(small_encoder, kind, materials))
    found: dict[str, list[float]] = {"ours": [], "the library's": []}
    with tempfile.TemporaryDirectory() as folder:
        running = start(trial, materials, Group(), Path(folder))
    encoder = small_encoder(kind, materials)
    encoder.set_dropout(0.1)
    theirs, head = encoder.model.train(), copy.deepcopy(running.model.head).train()
    optimizer = torch.optim.AdamW([*theirs.parameters(), *head.parameters()], lr=trial.training.learning_rate)
    radius = trial.perturbation.epsilon * materials.reference_norm

    def loss(embedded: Tensor, batch: Batch) -> Tensor:
        states = theirs(inputs_embeds=embedded, attention_mask=batch.attention_mask).last_hidden_state
        return materials.shape.loss(head(states, batch.attention_mask), batch.labels).mean()

    for step in range(steps + 1):
        batch = collate(materials.shape, materials.train, running.batches.at(step).tolist(), materials.pad_id)
        began = time.process_time()
        train_step(running)
        found["ours"].append(time.process_time() - began)
        began = time.process_time()
        embedded = theirs.get_input_embeddings()(batch.input_ids)
        delta = torch.zeros_like(embedded, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(embedded.detach() + delta, batch), [delta])
        norm = gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        loss(embedded + radius * gradient / norm, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        found["the library's"].append(time.process_time() - began)
    ours, library = (statistics.median(values[1:]) for values in found.values())
    print(f"{kind}: {ours:.3f} CPU-s a step, the library's padded step {library:.3f} ({library / ours:.2f} times that)")


def small_encoder(kind: str, materials: Materials) -> Encoder:
    """Six layers of 256 with random weights, of any kind that is told no languages."""
    rows = json.loads((materials.encoder_folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    sizes = {"vocab_size": rows, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 1024, "max_position_embeddings": 130, "pad_token_id": materials.pad_id}
    family = family_of(kind)
    config = AutoConfig.for_model(kind, **sizes)
    torch.manual_seed(0)
    model = getattr(transformers, family.auto_class).from_config(config, attn_implementation=family.attention)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return Encoder(model, uses_segments=False).eval()


def _undo(running: Trial, savings: tuple[str, ...]) -> None:
    """Take out of a trial what it shall not save."""
    if "fused" not in savings:
        running.optimizer = torch.optim.AdamW(running.optimizer.param_groups, foreach=False, fused=False)
    if "own" not in savings:
        base.collate = partial(collate, least=int(running.batches.lengths.max()))  # type: ignore[attr-defined]
    if "masks" not in savings:
        _draw_each_time(running.model)
    if "ascent" not in savings:
        words = running.model.encoder.model.get_input_embeddings().weight
        others = [p for p in running.model.parameters() if p is not words]
        maximise = running.perturbation._maximise  # type: ignore[attr-defined]
        running.perturbation._maximise = partial(  # type: ignore[attr-defined]
            maximise, differentiate=partial(_with_weights, others)
        )


def _with_weights(parameters: list[nn.Parameter], values: Tensor, point: Tensor) -> Tensor:
    """As `loss.backward()` does, but for the word embeddings, of which the point is mostly detached."""
    return torch.autograd.grad(values.sum(), [point, *parameters], allow_unused=True)[0]


def _draw_each_time(model: Model) -> None:
    model.encoder.model.set_attn_implementation("sdpa")
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, SharedDropout):
                setattr(module, name, nn.Dropout(child.p))


def base_encoder(materials: Materials, trimmed: bool) -> Encoder:
    """XLM-R base with random weights; trimmed, with as many rows as the data use."""
    rows = json.loads((materials.encoder_folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    sizes: dict[str, Any] = {
        "vocab_size": rows if trimmed else 250_002,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    }
    return Encoder(XLMRobertaModel(XLMRobertaConfig(**sizes), add_pooling_layer=False), uses_segments=False).eval()


if __name__ == "__main__":
    main()
