"""What a study's start costs: CPU seconds by process, from the command to the first report of a trial.

A study as the recipe `quickstart` begins it (the embedded encoder, two trials at once, a local Ray), with trials of one
step, in a folder of its own each time; data and encoder are in the cache. The processes under the command are looked at
five times a second, so what is as short-lived as that is missed.

    python benchmarks/start.py [--rounds 3]

Wall-clock seconds hang on what else the machine does; CPU seconds much less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import psutil
import yaml
from _studies import configuration

from study.record.lines import LEDGER, read_events
from trainables.loading import apply_point
from trainables.materials.materials import prepare

LOOK_SECONDS = 0.2
LIMIT_SECONDS = 600.0

OWN, OTHERS, IDLE = "the study's own", "others", "Ray's idle workers"

KINDS = {
    "raylet/raylet": "raylet",
    "gcs/gcs_server": "gcs_server",
    "ray::ResourceTrainable": "trial driver",
    "ray::TrainController": "Ray Train's controller",
    "ray::RayTrainWorker": "worker",
    "ray::SynchronizationActor": "Ray Train's synchronisation",
    "ray::_AutoscalingCoordinatorActor": "Ray Train's autoscaling",
    "ray::Mailbox": "mailbox",
    "ray::DashboardAgent": "Ray's agents",
    "ray::RuntimeEnvAgent": "Ray's agents",
    "ray::IDLE": IDLE,
    "default_worker.py": IDLE,
    "dashboard/dashboard.py": "Ray's dashboard",
}
"""What is in a process's title -> row."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    config = configuration("start", trials=2, steps=1, examples=1, concurrent_trials=2)
    config = config.model_copy(
        update={"trial": apply_point(config.trial, {"task.target_languages": ["de", "sv", "pl"]})}
    )
    prepare(config.trial)
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "start.yaml"
            file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
            found.append(start(file, Path(folder) / "studies", config.name))
    kinds = sorted({kind for each, _, _ in found for kind in each}, key=lambda kind: -_median(found, kind))
    processes = {kind: statistics.median(counts[kind] for _, counts, _ in found) for kind in kinds}
    print("| process | number | CPU, s |\n|---|---:|---:|")
    for kind in kinds:
        print(f"| {kind} | {processes[kind]:.0f} | {_median(found, kind):.1f} |")
    totals = [sum(each.values()) for each, _, _ in found]
    print(f"| all | {sum(processes.values()):.0f} | {statistics.median(totals):.1f} |")
    print(f"\nall, each round: {', '.join(f'{total:.1f}' for total in totals)}")
    print(f"wall, each round: {', '.join(f'{wall:.1f}' for _, _, wall in found)} s")


def _median(found: list[tuple[dict[str, float], Counter[str], float]], kind: str) -> float:
    return statistics.median(each.get(kind, 0.0) for each, _, _ in found)


def start(file: Path, root: Path, name: str) -> tuple[dict[str, float], Counter[str], float]:
    """CPU seconds and number of processes by kind until a study's first report, and the seconds that it took."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "study", "run", str(file), "--root", str(root), "--plain"]
    output, ledger = file.parent / "output.txt", root / name / LEDGER
    seconds: dict[psutil.Process, float] = {}
    kinds: dict[psutil.Process, str] = {}
    began = time.perf_counter()
    with output.open("wb") as written:
        process = psutil.Popen(command, env=variables, stdout=written, stderr=subprocess.STDOUT)
    while not (ledger.exists() and any(event["event"] == "report" for event in read_events(ledger))):
        if process.poll() is not None or time.perf_counter() - began > LIMIT_SECONDS:
            process.terminate()
            raise SystemExit(output.read_text(encoding="utf-8"))
        for each in [psutil.Process(process.pid), *process.children(recursive=True)]:
            with suppress(psutil.Error):
                used, title = each.cpu_times(), " ".join(each.cmdline())
                seconds[each] = used.user + used.system
                if kinds.get(each, OTHERS) in (OTHERS, IDLE):  # what a worker of Ray's becomes shows later
                    kinds[each] = OWN if each.pid == process.pid else _kind(title)
        time.sleep(LOOK_SECONDS)
    wall = time.perf_counter() - began
    process.wait()
    summed: dict[str, float] = defaultdict(float)
    for each, used in seconds.items():
        summed[kinds[each]] += used
    return summed, Counter(kinds.values()), wall


def _kind(title: str) -> str:
    return next((kind for part, kind in KINDS.items() if part in title), OTHERS)


if __name__ == "__main__":
    main()
