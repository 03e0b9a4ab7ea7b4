"""Jobs for Slurm: what is refused, and what sbatch is given."""

from __future__ import annotations

import re
import subprocess

import pytest

from study.planning import slurm
from study.question.config import ScalingConfig
from tests.conftest import REPOSITORY
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
