"""How the seam's cost grows with a study: simulated trials x 50 languages x 5 reports, no Ray, no training.

``python benchmarks/scale.py [--sizes 200 1000 10000] [--samplers random tpe]``. Per trial, over the last hundred: wall
and CPU time in the seam without the sampler (ask, start, 5 reports, end; every event fsynced), and the sampler's CPU
time. For the whole study: ledger bytes, CPU time of reading it and of taking it up again, peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from search_spaces import load
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.proposals.proposer import Proposed
from study.proposals.search import Search
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from trainables.loading import validate

LANGUAGES = tuple(f"x{i:02d}" for i in range(49))
WINDOW = 100
"""Trials at the end of a study over which its per-trial cost is taken."""


class Clock:
    """Adds up wall and CPU time of the calls it wraps."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def propose(self, search: Search, number: int) -> Proposed:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return self.inner(search, number)
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu

    def __enter__(self) -> Clock:
        self.inner = Search.propose
        Search.propose = lambda search, number: self.propose(search, number)  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Search.propose = self.inner  # type: ignore[method-assign]


def study(sampler: str, trials: int) -> StudyConfig:
    """A study of five evaluations a trial over the space of eight dimensions below."""
    space = {
        "perturbation.method": "adversarial",
        **{d.path: {"type": "float", "low": d.low, "high": d.high, "log": d.log} for d in load("joint").searched[:1]},
        "perturbation.step_size": {"type": "float", "low": 0.25, "high": 1.5},
        "perturbation.ascent_steps": {"type": "int", "low": 1, "high": 3},
        "perturbation.norm": ["l2", "linf"],
        "perturbation.scope": ["token", "sentence"],
        "training.learning_rate": {"type": "float", "low": 5e-6, "high": 5e-4, "log": True},
        "training.weight_decay": {"type": "float", "low": 0.0, "high": 0.1},
        "training.warmup_fraction": {"type": "float", "low": 0.0, "high": 0.3},
    }
    trial = {"perturbation": {"method": "adversarial"}, "evaluation": {"every": 10}}
    search = {"space": space, "sampler": sampler, "trials": trials}
    return validate(StudyConfig, {"name": "scale", "trial": trial, "search": search})


def measure(sampler: str, trials: int) -> dict[str, float]:
    """One study; its per-trial figures are those of its last trials, the others were proposed at random."""
    trainable = Simulated(lambda t: 0.5 + t.perturbation.epsilon / 2, languages=("en", *LANGUAGES), noise=0.01)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        with Ledger.open(path) as ledger, patch.object(os, "fsync", lambda descriptor: None):
            begin(ledger, study(sampler, trials))
            run(Trials(study("random", trials - WINDOW), ledger, read_study(path)), trainable)
        config = study(sampler, trials)
        started = time.process_time()
        record = read_study(path)
        row = {"read_cpu_s": time.process_time() - started}
        with Ledger.open(path) as ledger:
            seam = Trials(config, ledger, record)
            row["resume_cpu_s"] = time.process_time() - started
            simulated = simulate_only(config, trainable, WINDOW)
            wall, cpu = time.perf_counter(), time.process_time()
            with Clock() as clock:
                run(seam, trainable)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        row["seam_ms"] = (wall - clock.wall - simulated[0]) / WINDOW * 1e3
        row["seam_cpu_ms"] = (cpu - clock.cpu - simulated[1]) / WINDOW * 1e3
        row["sampler_cpu_ms"] = clock.cpu / WINDOW * 1e3
        row["ledger_mb"] = path.stat().st_size / 1e6
    row["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return row


def begin(ledger: Ledger, config: StudyConfig) -> None:
    """The ledger's first event."""
    resolved = config.model_dump(mode="json")
    ledger.append("study", uuid="scale", config=resolved, code_version="", fingerprints={}, protocol_hash="")


def simulate_only(config: StudyConfig, trainable: Simulated, trials: int) -> tuple[float, float]:
    """Wall and CPU time of making up the scores themselves."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(trials):
        for _ in trainable.evaluations(config.trial):
            pass
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200, 1000, 10_000])
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--one", nargs=2, metavar=("SAMPLER", "TRIALS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(" ".join(f"{k}={v:.6g}" for k, v in measure(arguments.one[0], int(arguments.one[1])).items()))
        return
    columns = ("seam_ms", "seam_cpu_ms", "sampler_cpu_ms", "ledger_mb", "read_cpu_s", "resume_cpu_s", "memory_mb")
    print(f"{'sampler':8} {'trials':>6} " + " ".join(f"{c:>14}" for c in columns))
    for sampler in arguments.samplers:
        first: dict[str, float] = {}
        for size in arguments.sizes:
            # A process each, so that memory is that of one study.
            command = [sys.executable, __file__, "--one", sampler, str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = {k: float(v) for k, v in (pair.split("=") for pair in done.stdout.split())}
            print(f"{sampler:8} {size:6} " + " ".join(f"{row[c]:14.2f}" for c in columns), flush=True)
            first = first or row
        print(f"{sampler:8} seam CPU per trial, largest over smallest: {row['seam_cpu_ms'] / first['seam_cpu_ms']:.2f}")


if __name__ == "__main__":
    main()
