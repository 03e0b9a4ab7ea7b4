"""How fast MLflow catches up with a ledger, and what a running study feels of it.

A ledger of finished trials x languages x reports is sent to an empty SQLite file of MLflow, by its client alone and as
rows, then once more; with `--server` to a server of this benchmark's own. Then a tracker catches up with the first
trials beside a loop that wants to wake every 5 ms, as a study's driver would: how late it wakes, with and without the
tracker.

    python benchmarks/tracking.py [--trials 500] [--languages 50] [--reports 5] [--server]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from study.question.config import StudyConfig
from study.record import roots
from study.record.lines import LEDGER, encode
from study.tracking import whole
from study.tracking.answers import settings
from study.tracking.mirror import Mirror
from study.tracking.server import QUIET
from study.tracking.tracker import Tracker
from trainables.loading import validate
from trainables.scores import Evaluation, LanguageScores

BESIDE = 30
"""Trials that the tracker catches up with beside the loop."""


def main() -> None:
    """Print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
        root = Path(folder)
        stack.enter_context(settings())
        ledger = write(root / "studies", "all", options.trials, options.languages, options.reports)
        size = ledger.stat().st_size / 1e6
        print(f"{options.trials} trials x {options.languages} languages x {options.reports} reports, {size:.1f} MB")
        with server(root) if options.server else _nothing() as uri:
            place = roots.place(root / "studies", "all")
            mirror = Mirror(place, uri, print)
            seconds, _ = timed(lambda: mirror.store.client.search_experiments())
            print(f"{'first connection':32} {seconds:8.1f} s")
            if uri is None:
                by_client(ledger, root / "client", options.trials)
            report("all of it", options.trials, *timed(lambda: send(mirror)))
            report("once more: nothing to do", options.trials, *timed(lambda: send(Mirror(place, uri, print))))
            small = write(root / "studies", "beside", BESIDE, options.languages, options.reports)
            latencies(small, uri)
        memory = psutil.Process().memory_info().rss / 1e6
        print(f"{'memory of this process':32} {memory:8.0f} MB")


def by_client(ledger: Path, root: Path, trials: int) -> None:
    """A row on a file of which no more is known than that MLflow's client can write to it."""
    (root / "all").mkdir(parents=True)
    shutil.copy(ledger, root / "all" / LEDGER)
    mirror = Mirror(roots.place(root, "all"), None, print)
    mirror.store.client.search_experiments()
    known, whole.REVISION = whole.REVISION, ""
    report("all of it, by MLflow's client", trials, *timed(lambda: send(mirror)))
    whole.REVISION = known


def send(mirror: Mirror) -> None:
    """Everything."""
    while mirror.advance():
        pass
    mirror.finish()


def timed(work: Any) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(what: str, trials: int, wall: float, cpu: float) -> None:
    """One row."""
    print(f"{what:32} {wall:8.1f} s {trials / wall:8.1f} runs/s, CPU {1000 * cpu / trials:6.1f} ms a run")


def latencies(ledger: Path, uri: str | None) -> None:
    """Rows on the loop, without and with a tracker at work in the same process."""
    for busy in (False, True):
        tracker = Tracker(uri, roots.place(ledger.parent.parent, ledger.parent.name)) if busy else None
        late = []
        for _ in range(600):
            began = time.perf_counter()
            time.sleep(0.005)
            late.append(1000 * (time.perf_counter() - began - 0.005))
        if tracker is not None:
            tracker.close(timeout=120.0)
        late.sort()
        what = "loop late, tracker at work" if busy else "loop late, no tracker"
        print(f"{what:32} {late[300]:8.2f} ms median, {late[-7]:8.2f} p99")


def write(root: Path, name: str, trials: int, languages: int, reports: int) -> Path:
    """A ledger as a finished study leaves it."""
    config = validate(
        StudyConfig,
        {"name": name, "search": {"space": "adversarial", "trials": trials}, "protocol": {"pivots": ["l1"]}},
    )
    codes = ["en", *(f"l{i}" for i in range(1, languages))]
    path = root / name / LEDGER
    path.parent.mkdir(parents=True)
    clock = 1.75e9
    study = {"uuid": f"{name:0>32}", "config": config.model_dump(mode="json"), "code_version": "benchmark"}
    rows = [{"event": "study", "time": clock, **study, "fingerprints": {"data": "0" * 64}, "protocol_hash": "0"}]
    for number in range(trials):
        point = {"perturbation.epsilon": 0.001 * number, "perturbation.ascent_steps": 1 + number % 3}
        asked = {"phase": "run", "kind": "sampled", "control": None, "point": point}
        rows.append({"event": "asked", "time": clock, "trial": number, **asked})
        rows.append({"event": "started", "time": clock, "trial": number, "attempt": 1})
        for step in range(1, reports + 1):
            clock += 1.0
            scores = LanguageScores(
                {k: (i + step + number % 7) / 500 for i, k in enumerate(codes)}, dict.fromkeys(codes, 20)
            )
            training = {"loss": 1 / step, "perturbation_norm": 0.1, "clip_rate": 0.5, "examples_per_second": 20.0}
            cost = {"train_seconds": float(step), "forward_equivalents": 5.0 * step}
            evaluation = Evaluation(step, "validation", {"accuracy": scores}, training, cost, step == reports)
            common = {"trial": number, "attempt": 1, "step": step}
            rows.append({"event": "report", "time": clock, **common, "evaluation": evaluation.to_json()})
        end = {"attempt": 1, "outcome": "COMPLETE", "error": None}
        rows.append({"event": "finished", "time": clock, "trial": number, **end})
    path.write_bytes(b"".join(encode(row) for row in rows))
    return path


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server over an SQLite file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder)]
    quiet = subprocess.DEVNULL
    running = subprocess.Popen(command, env={**os.environ, **QUIET}, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5.0).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--languages", type=int, default=50)
    parser.add_argument("--reports", type=int, default=5)
    parser.add_argument("--server", action="store_true", help="through HTTP, not straight to a file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
