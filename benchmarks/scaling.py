"""Two workers a trial against one: examples a second in training, beside the bound that the all-reduce sets.

Studies of four trials each, one at a time on two CPUs; the unperturbed one and the first, which warms up, are left out.
The bound: half of a step of one worker, and the all-reduce of the trained weights' gradients, measured between two
processes without a study. (A worker is one process of one thread on both sides.)

    python benchmarks/scaling.py [--steps 30] [--rounds 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _studies import configuration, timed

BATCH = 32


def main() -> None:
    """Print the table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, found in speeds.items():
            found += examples_per_second(workers, options.steps)
    reduce = all_reduce_seconds(trained_numbers())
    one, two = (statistics.median(found) for found in speeds.values())
    bound = BATCH / (BATCH / one / 2 + reduce)
    print("| workers | trials | examples a second | times one |")
    print("|---|---:|---:|---:|")
    print(f"| 1 | {len(speeds[1])} | {one:.1f} | 1 |")
    print(f"| 2 | {len(speeds[2])} | {two:.1f} | {two / one:.2f} |")
    print(f"| bound of two | | {bound:.1f} | {bound / one:.2f} |")
    print(f"\nall-reduce of {trained_numbers() / 1e6:.1f} million gradients: {1000 * reduce:.0f} ms a step")


def examples_per_second(workers: int, steps: int) -> list[float]:
    """Of each adversarial trial of a study but the first one."""
    with tempfile.TemporaryDirectory() as folder:
        config = configuration("scaling", 4, steps, 1, workers_per_trial=workers, concurrent_trials=1)
        record, _ = timed(config, Path(folder))
    evaluations = [trial.evaluation() for number, trial in sorted(record.trials.items()) if number > 1]
    return [e.training["examples_per_second"] for e in evaluations if e is not None]


def trained_numbers() -> int:
    """Weights whose gradients two workers add up in every step."""
    from trainables.distributed import Group
    from trainables.materials.materials import load
    from trainables.training.trial import start

    trial = configuration("scaling", 2, 1, 1).trial
    with tempfile.TemporaryDirectory() as folder:
        model = start(trial, load(trial), Group(), Path(folder)).model
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def all_reduce_seconds(numbers: int) -> float:
    """Median seconds of one all-reduce between two processes on this machine."""
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=_reduce, args=(rank, folder, numbers, answers)) for rank in range(2)]
        for process in processes:
            process.start()
        seconds = max(answers.get(timeout=300) for _ in processes)
        for process in processes:
            process.join(60)
    return float(seconds)


def _reduce(rank: int, folder: str, numbers: int, answers: Any) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    gradients = torch.randn(numbers)
    took = []
    for _ in range(20):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(gradients)
        took.append(time.perf_counter() - began)
    dist.destroy_process_group()
    answers.put(statistics.median(took))


if __name__ == "__main__":
    main()
