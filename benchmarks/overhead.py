"""What a trial costs beside its training and evaluation, with warm and with fresh worker processes.

One trial at a time. From the end of a trial in the ledger to the end of the next, the seconds of training and
evaluation, which each trial measures itself, are taken off; what is left lies between a trial's last step and its end,
between two trials, and between a trial's start and its first step. The first trial, which pays for Ray, is left out.

    python benchmarks/overhead.py [--trials 8] [--steps 4]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from _studies import configuration, intervals, timed

EXECUTORS = ("warm", "fresh")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    print("| workers | trials | overhead a trial, s | least | most | training and evaluation, s |")
    print("|---|---:|---:|---:|---:|---:|")
    medians = {}
    for executor in EXECUTORS:
        with tempfile.TemporaryDirectory() as folder:
            config = configuration(executor, options.trials, options.steps, 1, executor=executor, concurrent_trials=1)
            record, _ = timed(config, Path(folder))
        found = list(intervals(record, 1))
        beside = [each.wall - each.arithmetic for each in found]
        medians[executor] = statistics.median(beside)
        arithmetic = statistics.median(each.arithmetic for each in found)
        print(
            f"| {executor} | {len(found)} | {medians[executor]:.2f} | {min(beside):.2f} | {max(beside):.2f} "
            f"| {arithmetic:.1f} |",
            flush=True,
        )
    print(f"\nfresh over warm: {medians['fresh'] / medians['warm']:.0f}")


if __name__ == "__main__":
    main()
