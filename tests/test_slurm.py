"""`study submit` for real: one study as one job on two nodes, which is preempted, loses a node, and ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.record.lines import read_events, read_study
from tests.conftest import REPOSITORY
from tests.slurm import MISSING, URGENT, Slurm
from tests.study.execution.test_runner import study
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: apt-get install slurm-wlm munge"),
]

STEPS, EVERY = 20, 2


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # sockets have short names only
    try:
        slurm = Slurm(folder)
        try:
            yield slurm
        finally:
            slurm.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_one_job_goes_on_after_a_preemption_and_after_a_lost_node(slurm: Slurm, tmp_path: Path) -> None:
    begun = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - begun:5.0f} s  {words}", flush=True)

    content = study(scaling={"gpus_per_worker": 1}, search={"space": "adversarial", "trials": 2})
    content["search"]["objectives"] = [{"reduce": "target_mean"}]
    content["trial"] = content["trial"] | {
        "training": content["trial"]["training"] | {"budget": {"steps": STEPS}},
        "evaluation": content["trial"]["evaluation"] | {"every": EVERY},
    }
    config, root, output = tmp_path / "tiny.yaml", tmp_path / "studies", tmp_path / "output.txt"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    ledger = root / "tiny" / "ledger.jsonl"
    environment = {**slurm.environment(), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    asked = f"nodes=2 gpus-per-node=1 time=60 output={output}"
    submitted = subprocess.run(
        [sys.executable, "-m", "study", "submit", str(config), "--root", str(root), "--slurm", asked],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "Submitted batch job 1\n" in submitted.stdout

    def log() -> str:
        return output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""

    def events(*kinds: str) -> list[dict[str, Any]]:
        return [row for row in read_events(ledger) if row["event"] in kinds] if ledger.exists() else []

    def job() -> dict[str, str]:
        words = slurm.asked("scontrol", "show", "job", "1").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def ended() -> bool:
        return job()["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")

    def until(condition: Any, seconds: float, what: str) -> None:
        wait_for(lambda: condition() or ended(), seconds, what, every=0.5)
        assert condition(), f"{what}: the job has ended"
        say(what)

    try:
        until(lambda: "run 1: study tiny" in log(), 120, "the job runs")
        until(lambda: events("report"), 300, "a trial reports")
        assert "2 trials at a time, each 1 worker of 1 CPU, 1 GPU" in log()
        # Slurm sends the signal that it sends before a time limit, and the job has its time of grace.
        slurm.asked("sbatch", f"--partition={URGENT}", "--output=/dev/null", "--wrap=true")
        until(lambda: "queued again" in log(), 240, "the job that is preempted queues itself again")
        assert "Slurm takes the nodes for another job" in log()
        assert "the study has ended with status 130" in log()
        assert not events("finished")
        until(lambda: "run 2: study tiny" in log(), 120, "the other job has run, and this one runs again")
        assert "JobState=COMPLETED" in slurm.asked("scontrol", "show", "job", "2")
        until(lambda: log().count("waiting for Ray") == 2, 300, "the study goes on")
        slurm.asked("scontrol", "update", "NodeName=two", "State=DOWN", "Reason=lost")
        until(lambda: job()["JobState"] == "PENDING", 90, "Slurm queues the job of the lost node again")
        slurm.asked("scontrol", "update", "NodeName=two", "State=RESUME")
        until(lambda: "run 3: study tiny" in log(), 240, "a node has come, and the job runs again")
        wait_for(ended, 420, "the study ends", every=0.5)
        say("ended")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log()}\n{slurm.logs()}") from error
    assert (job()["JobState"], job()["Restarts"]) == ("COMPLETED", "2"), log()
    record = read_study(ledger)
    assert [trial.state for trial in record.trials.values()] == ["COMPLETE"] * 2
    for number in range(2):
        steps = [row["step"] for row in events("report") if row["trial"] == number]
        assert steps == list(range(EVERY, STEPS + 1, EVERY))
    assert sorted(row["trial"] for row in events("finished")) == [0, 1]
    # Nothing that Slurm or the study started is left, nor a folder of theirs.
    left = [path.name for path in Path("/tmp").glob("study-1.*") if path.stat().st_uid == os.getuid()]
    assert not left
