"""What batches of like length save and cost: the same trials with random batches and with pooled ones, seed by seed.

Adversarial trials with the embedded encoder, nothing frozen; CPU seconds are of the whole trial, evaluation included.

    python benchmarks/batches.py [--pool 8] [--seeds 5] [--steps 60] [--examples 20]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from _studies import POOL, configuration

from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.training.loop import run_trial

EPSILON = 0.1


def main() -> None:
    """Print the table, seed by seed, and the mean differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--examples", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = configuration("batches", 2, options.steps, options.examples, frozen=False).trial
    print("| seed | like length, accuracy | random, accuracy | like length, CPU-s | random, CPU-s |")
    print("|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    for seed in range(1, options.seeds + 1):
        pooled, random = (measured(base, seed, pool) for pool in (options.pool, 1))
        rows.append((pooled[0], random[0], pooled[1], random[1]))
        print(f"| {seed} | {pooled[0]:.4f} | {random[0]:.4f} | {pooled[1]:.1f} | {random[1]:.1f} |", flush=True)
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print("| mean | {:.4f} | {:.4f} | {:.1f} | {:.1f} |".format(*means))


def measured(base: TrialConfig, seed: int, pool: int) -> tuple[float, float]:
    """Mean accuracy over languages, and CPU seconds of the whole trial."""
    point = {"perturbation.epsilon": EPSILON, "training.seed": seed, "training.length_pool": pool}
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        *_, last = run_trial(apply_point(base, point), Path(folder))
    return statistics.mean(last.primary.values.values()), time.process_time() - began


if __name__ == "__main__":
    main()
