"""What evaluation takes of a trial, and what the frozen layers' kept states save of it.

One adversarial trial's steps (one ascent step), then its evaluation of all languages, again and again: with the states
that embeddings and six frozen layers give computed each time (the first evaluation of a worker), and kept from the time
before (all others). CPU seconds of one process of one thread.

    python benchmarks/evaluation.py [--steps 60] [--examples 20] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _studies import configuration

from trainables.distributed import Group
from trainables.materials.materials import load
from trainables.model.frozen import FrozenStates
from trainables.scoring.evaluation import evaluate
from trainables.training.step import train_step
from trainables.training.trial import start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--examples", type=int, default=20, help="per language")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = configuration("evaluation", 2, options.steps, options.examples).trial
    materials = load(config)
    with tempfile.TemporaryDirectory() as folder:
        trial = start(config, materials, Group(), Path(folder))
    training = options.steps * statistics.median(seconds(lambda: train_step(trial)) for _ in range(12))

    def score() -> None:
        evaluate(trial.model, materials, "validation", options.examples, config.evaluation, trial.group)

    score()  # plans the batches
    whole, kept = [], []
    for _ in range(options.rounds):
        for key, value in list(materials._memory.items()):
            if isinstance(value, FrozenStates):
                del materials._memory[key]
        whole.append(seconds(score))
        kept.append(seconds(score))
    print(f"{options.steps} steps x 32, {options.examples} examples in each of 49 languages, six of 12 layers frozen\n")
    print("| evaluation | CPU-s | share of the trial |")
    print("|---|---:|---:|")
    for name, found in (("computed whole", whole), ("states of frozen layers kept", kept)):
        took = statistics.median(found)
        print(f"| {name} | {took:.1f} | {100 * took / (took + training):.0f} % |")
    print(f"\nwhole over kept: {statistics.median(whole) / statistics.median(kept):.2f}")


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main()
