"""A study against what one would write instead: the same trials, in wall and CPU time.

Sides: this project; Hugging Face `Trainer.hyperparameter_search` with `backend="ray"` and with `backend="optuna"` (two
processes); Ray Tune with a `TorchTrainer` for each trial. All train the embedded encoder adversarially on the same
tokens (one ascent step, same batches' size, steps, rates, radii), two trials at a time, one thread each, score all
languages on the same examples and log them to MLflow. What is prepared once (download, tokens, MLflow's tables) counts
on no side.

Rows: `as written` (nothing frozen; the others with full vocabulary, random batches, an ascent by `loss.backward()`) and
`equal savings` (embeddings and six layers frozen, vocabulary trimmed, batches of like length, an ascent without weight
gradients, on all sides), of 60 steps a trial and, `short`, of 20.

    python benchmarks/peers.py [--trials 4] [--examples 20] [--rows short …] [--sides "ray tune, train" …]

On two cores all of it takes two and a half hours. Needs `pip install '.[bench]'`: Hugging Face's Trainer asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import yaml
from _peers import SIDES, Peer, save_data
from _studies import POOL, configuration

from study.question.config import StudyConfig
from study.record.lines import LEDGER, read_study
from study.tracking import database
from study.tracking.server import default_uri
from trainables.batch import Encoded
from trainables.loading import apply_point
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.model.pretrained import resolve
from trainables.scoring.stream import subset

OURS = "this project"


@dataclass(frozen=True)
class Row:
    """One set of trials, which every side runs."""

    equal: bool
    """Whether the others are given our savings of arithmetic."""
    steps: int
    trials: int
    """So many that the start of a study, which its trials share, does not decide."""


ROWS = {
    "as written": Row(equal=False, steps=60, trials=12),
    "short": Row(equal=False, steps=20, trials=16),
    "equal savings": Row(equal=True, steps=60, trials=8),
    "short, equal savings": Row(equal=True, steps=20, trials=16),
}


def main() -> None:
    """Print the table, side by side as they are measured."""
    options = _options()
    if options.sides != [OURS] and find_spec("accelerate") is None:
        raise SystemExit("peers.py: Hugging Face's Trainer needs accelerate: pip install '.[bench]'")
    print("| row | steps | trials | side | wall, s | CPU, s | times our wall | mean accuracy |")
    print("|---|---:|---:|---|---:|---:|---:|---:|", flush=True)
    for title in options.rows:
        row = ROWS[title]
        trials = options.trials or row.trials
        ours = 0.0
        for side in options.sides:
            with tempfile.TemporaryDirectory() as name:
                config = configuration("peers", trials, row.steps, options.examples, frozen=row.equal)
                trial = apply_point(config.trial, {"training.length_pool": POOL if row.equal else 1})
                command = prepare(side, config.model_copy(update={"trial": trial}), row.equal, Path(name))
                wall, cpu = measured(command, Path(name) / "log.txt")
                mean = statistics.mean(found(side, Path(name), trials))
            ours = wall if side == OURS else ours
            times = f"{wall / ours:.2f}" if ours else ""
            cells = (title, row.steps, trials, side, f"{wall:.0f}", f"{cpu:.0f}", times, f"{mean:.4f}")
            print("|", " | ".join(map(str, cells)), "|", flush=True)


def prepare(side: str, config: StudyConfig, equal: bool, folder: Path) -> list[str]:
    """Write what a side reads; the command that runs it."""
    prepared = materials_of.load(config.trial)  # builds our cache, so that nobody waits for it
    if side == OURS:
        database.ensure(default_uri(folder))  # as for the others below
        content = config.model_dump(mode="json", exclude_defaults=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return [sys.executable, "-m", "study", "run", str(folder / "study.yaml"), "--root", str(folder), "--quiet"]
    radii = config.search.levels["perturbation.epsilon"]
    whole = materials_of.load(config.trial.model_copy(update={"encoder": _untrimmed(config)}))
    source = prepared if equal else whole
    peer = Peer(
        folder=str(folder),
        encoder=str(source.encoder_folder) if equal else resolve(config.trial.encoder),
        norm=source.reference_norm,
        pad_id=source.pad_id,
        labels=len(source.shape.labels),
        steps=config.trial.training.budget.steps or 0,
        radii=(0.0, *(float(each) for each in radii)),
        frozen_layers=config.trial.encoder.freeze_lower_layers,
        cheap=equal,
    )
    save_data(folder / "data", _rows(source.train, None, "en"), _evaluated(source, config))
    (folder / "peer.json").write_text(json.dumps(asdict(peer)), encoding="utf-8")
    mlflow.set_tracking_uri(peer.tracking)
    mlflow.search_experiments()  # makes the tables, which two processes must not do at once
    return [sys.executable, "-c", "import _peers; _peers.main()", side, str(folder / "peer.json")]


def _untrimmed(config: StudyConfig) -> Any:
    return config.trial.encoder.model_copy(update={"trim_vocabulary": False})


def _evaluated(materials: Materials, config: StudyConfig) -> dict[str, Any]:
    examples = config.trial.evaluation.examples_per_language
    return {code: _rows(each, examples, code) for code, each in materials.evaluation["validation"].items()}


def _rows(encoded: Encoded, examples: int | None, language: str) -> tuple[list[list[int]], list[int]]:
    items = subset(encoded, examples, language)
    return [encoded.sequence(i).tolist() for i in items], [int(encoded.item_labels(i)[0]) for i in items]


def measured(command: list[str], log: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command and all that it starts, sampled twice a second."""
    used: dict[tuple[int, float], float] = {}
    over = threading.Event()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", ""))),
    }
    began = time.perf_counter()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

        def watch() -> None:
            root = psutil.Process(process.pid)
            while not over.wait(0.5):
                for each in [root, *_descendants(root)]:
                    try:
                        times = each.cpu_times()
                        used[each.pid, each.create_time()] = times.user + times.system
                    except psutil.Error:
                        continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        wall = time.perf_counter() - began
        over.set()
        watcher.join()
    if status:
        raise SystemExit(f"{command} failed:\n{log.read_text(encoding='utf-8')[-5000:]}")
    return wall, sum(used.values())


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def found(side: str, folder: Path, trials: int) -> list[float]:
    """Mean accuracy over languages of each trial, as recorded."""
    if side == OURS:
        record = read_study(folder / "peers" / LEDGER)
        evaluations = [trial.evaluation() for trial in record.trials.values()]
        means = [float(np.mean(list(e.primary.values.values()))) for e in evaluations if e is not None]
    else:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
        means = [float(np.mean(list(run.data.metrics.values()))) for run in runs]
    assert len(means) == trials, f"{side}: {len(means)} of {trials} trials were recorded"
    return means


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="instead of the row's own number")
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--sides", nargs="+", choices=(OURS, *SIDES), default=[OURS, *SIDES])
    return parser.parse_args()


if __name__ == "__main__":
    main()
