"""Jobs for Slurm: what is refused, and what sbatch is given."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from study.planning import slurm
from study.question.config import ScalingConfig
from tests.conftest import REPOSITORY
from tests.waiting import wait_for
from trainables.errors import UserError

GPU = ScalingConfig(gpus_per_worker=1)


def test_options_are_those_of_sbatch_and_every_wrong_one_is_named() -> None:
    assert slurm.options(["--nodes=2", "comment='two words' qos=low"]) == {
        "nodes": "2",
        "comment": "two words",
        "qos": "low",
    }
    with pytest.raises(UserError) as error:
        slurm.options(["array=1-4 N=2", "wrap=ls"])
    assert [line.rpartition("(got ")[2] for line in error.value.lines] == ["'array=1-4')", "'N=2')", "'wrap=ls')"]


@pytest.mark.parametrize(
    ("asked", "scaling", "words"),
    [
        ({}, GPU, "add gpus-per-node=1"),
        ({"gres": "gpu:2"}, ScalingConfig(), "scaling.gpus_per_worker: must be more than 0"),
        ({"gpus-per-node": "1", "time": "5:00"}, GPU, "time must be at least 6 minutes"),
        ({"time": "10"}, ScalingConfig(grace_seconds=600), "time must be at least 24 minutes"),
    ],
)
def test_a_job_that_makes_no_sense_for_the_study_is_refused(
    asked: slurm.Options, scaling: ScalingConfig, words: str
) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        slurm.check(asked, scaling)


def test_jobs_that_make_sense_are_taken() -> None:
    slurm.check({}, ScalingConfig())
    slurm.check({"gres": "gpu:a100:2", "time": "unlimited"}, GPU)
    slurm.check({"gpus-per-node": "a100:2", "time": "6"}, GPU)


def last(option: str, script: str) -> str:
    """What sbatch makes of an option: its last value."""
    return re.findall(rf'^#SBATCH --{option}="?([^"\n]*)"?$', script, re.MULTILINE)[-1]


def test_the_script_has_what_was_asked_for_after_its_own() -> None:
    scaling = ScalingConfig(gpus_per_worker=0.5, cpus_per_worker=2, grace_seconds=300)
    asked = {"nodes": "3", "gpus-per-node": "a100:4", "output": "my own.txt", "exclude": "n1"}
    script = slurm.script("first", ["/a b.yaml", "x=[1, 2]"], "/shared/studies", asked, scaling, take_over=True)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert last("signal", script) == "B:USR1@420"
    assert last("nodes", script) == "3" and last("output", script) == "my own.txt"
    assert last("cpus-per-task", script) == "16"  # eight workers of two CPUs on four cards
    assert last("job-name", script) == "first" and last("dependency", script) == "singleton"
    assert "array" not in script.partition("set -uo")[0]
    ours = script.partition("STUDY_BIN=")[2].partition("set -uo")[0]
    told = subprocess.run(
        ["bash", "-c", f'STUDY_BIN={ours}\necho "$STUDY_ROOT $STUDY_TAKE_OVER"; printf "%s\\n" "$@"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["/shared/studies 1", "first", "/a b.yaml", "x=[1, 2]"]
    # sbatch reads options up to the first line that is neither a comment nor empty.
    assert all(line.startswith("#") or not line for line in script.partition("STUDY_BIN=")[0].splitlines())


def test_cpus_are_the_users_affair_where_they_are_named() -> None:
    for own in ("cpus-per-task", "cpus-per-gpu", "exclusive"):
        script = slurm.script("first", [], "/s", {"gpus-per-node": "4", own: "3"}, GPU)
        assert script.count("#SBATCH --cpus-per-task") == (own == "cpus-per-task")


def test_the_file_beside_the_other_clusters_is_the_one_that_is_submitted() -> None:
    assert (REPOSITORY / "cluster" / "slurm.sbatch").resolve() == slurm.SCRIPT.resolve()


STANDS_IN = {
    "scontrol": """
        case "$1 $2" in
          "show node") echo NodeAddr=127.0.0.1 ;;
          "show job") printf 'JobState=%s Reason=None\n   PreemptTime=%s\n' "$STATE" "$PREEMPTED" ;;
          requeue*) echo again >> requeued; (sleep 0.3; kill -TERM "$PPID") & ;;
        esac""",
    "srun": """
        while [ "$1" != bash ]; do shift; done
        echo $$ > step.number
        SLURM_PROCID=0 exec "$@" """,
    "scancel": "exit 1",
    "python": '[ "$1" = - ] || echo 1 2 3',
    "ray": "touch ray.runs; exec sleep 60",
    "study": '[ "$1" != show ] || exit 1; touch study.runs; exec sleep 60',
}
"""What the job calls, as far as its end is concerned."""


@pytest.mark.parametrize(
    ("state", "preempted", "status", "requeued"),
    [
        pytest.param("RUNNING", "2026-01-31T12:00:00", 137, 1, id="GraceTime"),
        pytest.param("COMPLETING", "2026-01-31T12:00:00", 143, 0, id="no GraceTime"),
        pytest.param("COMPLETING", "None", 143, 0, id="scancel"),
    ],
)
def test_a_job_whose_nodes_are_taken_is_queued_again_by_itself_where_slurm_does_not(
    state: str, preempted: str, status: int, requeued: int, tmp_path: Path
) -> None:
    for name, text in STANDS_IN.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "STUDY_BIN": str(tmp_path), "STATE": state, "PREEMPTED": preempted,
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "one",
        "SLURMD_NODENAME": "one", "SLURM_NODEID": "0", "SLURM_CPUS_ON_NODE": "1",
    }  # fmt: skip
    output = tmp_path / "output.txt"
    with output.open("w") as log:
        job = subprocess.Popen(
            ["bash", str(slurm.SCRIPT), "first", "first.yaml"],
            cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: all((tmp_path / name).exists() for name in ("ray.runs", "study.runs")), 20, "the study runs")
        # Slurm tells the steps, and where it ends the job at once, the script too, at no set order.
        os.kill(int((tmp_path / "step.number").read_text()), signal.SIGTERM)
        if state != "RUNNING":
            time.sleep(0.5)
            job.send_signal(signal.SIGTERM)
        job.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
    said = output.read_text(encoding="utf-8")
    assert f"the study has ended with status {status}" in said
    again = tmp_path / "requeued"
    assert (again.read_text().count("again") if again.exists() else 0) == requeued
    assert ("Slurm takes the nodes for another job: queued again" in said) == bool(requeued)
