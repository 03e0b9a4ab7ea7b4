"""How close a study comes to its arithmetic: its trials against the same trials in two bare processes.

The study runs first, two trials at a time; then two processes without Ray, ledger or MLflow run the trials of its
ledger, each taking the next one when it is free. Compared is the time that the trials took of their slots, all but the
first of each slot, which pay for the start; start and end of the study are printed apart.

    python benchmarks/limit.py [--trials 8] [--steps 60] [--examples 20] [--rounds 1]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _studies import configuration, intervals, timed

from study.question.config import StudyConfig
from study.record.record import StudyRecord
from trainables.config import TrialConfig
from trainables.loading import apply_point

SLOTS = 2


def main() -> None:
    """Print both sides and their ratio, round by round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    config = configuration("limit", options.trials, options.steps, options.examples, concurrent_trials=SLOTS)
    print(
        f"{options.trials} trials of {options.steps} steps x 32, {options.examples} examples in each of 49 languages\n"
    )
    print("| study, s a trial | bare, s a trial | ratio | start and end of the study, s |")
    print("|---:|---:|---:|---:|", flush=True)
    ratios = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            record, whole = timed(config, Path(folder))
            took = bare(config, record, Path(folder) / "bare")
        ours = {each.number: each.wall for each in intervals(record, SLOTS)}
        mine, theirs = sum(ours.values()), sum(took[number] for number in ours)
        ratios.append(mine / theirs)
        started = min(t.started for t in record.trials.values() if t.started is not None)
        ended = max(t.finished for t in record.trials.values() if t.finished is not None)
        a_trial, rest = f"{mine / len(ours):.2f} | {theirs / len(ours):.2f}", whole - (ended - started)
        print(f"| {a_trial} | {ratios[-1]:.3f} | {rest:.0f} |", flush=True)
    print(f"\nmedian ratio {statistics.median(ratios):.3f}")


def bare(config: StudyConfig, record: StudyRecord, folder: Path) -> dict[int, float]:
    """Seconds of each trial, by number, run by `SLOTS` processes."""
    context = multiprocessing.get_context("spawn")
    waiting: Any = context.Queue()
    done: Any = context.Queue()
    for trial in record.trials.values():
        waiting.put((trial.number, apply_point(config.trial, trial.point)))
    ready: Any = context.Barrier(SLOTS)
    os.environ["OMP_NUM_THREADS"] = "1"
    processes = [context.Process(target=slot, args=(config.trial, waiting, done, ready, folder)) for _ in range(SLOTS)]
    for process in processes:
        process.start()
    took = dict(done.get(timeout=3600) for _ in record.trials)
    for process in processes:
        process.join(60)
    return took


def slot(base: TrialConfig, waiting: Any, done: Any, ready: Any, folder: Path) -> None:
    """One bare process: a first trial of a step, so that all is loaded, then one after the other."""
    import queue

    import torch

    from trainables.config import Budget
    from trainables.training.loop import run_trial

    torch.set_num_threads(1)
    training = base.training.model_copy(update={"budget": Budget(steps=1)})
    for _ in run_trial(base.model_copy(update={"training": training}), folder / f"first-{os.getpid()}"):
        pass
    ready.wait(600)
    while True:
        try:
            number, trial = waiting.get(timeout=1)
        except queue.Empty:
            return
        began = time.perf_counter()
        for _ in run_trial(trial, folder / str(number)):
            pass
        done.put((number, time.perf_counter() - began))


if __name__ == "__main__":
    main()
