"""Nothing is lost on the seam, whatever is killed, torn or full (``python -m tests.chaos.seam`` and
``tests.chaos.cluster`` for more of it)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.execution.simulation import run
from study.execution.trials import Trials
from study.question.config import ProtocolConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.views.optuna_export import export_optuna
from tests.chaos import invariants, seam

EXPECTED = {
    "killed before a write",
    "killed within a write",
    "killed after a write",
    "killed after a sync",
    "disk full within a write",
    "killed while a full disk was cleaned up",
    "killed after a report",
    "killed before a checkpoint",
    "worker lost",
}
"""Faults that a campaign of any size must have met."""


def test_a_short_campaign_of_faults() -> None:
    counts, studies = seam.campaign(seed=100, faults=150)
    assert studies >= len(seam.SEARCHES) and set(counts) >= EXPECTED


@pytest.mark.slow
def test_a_thousand_faults() -> None:
    counts, _ = seam.campaign(seed=1000, faults=1000)
    assert sum(counts.values()) >= 1000 and set(counts) >= EXPECTED


def test_processes_killed_by_the_kernel() -> None:
    """In a process of its own: a test process has threads, and must not fork."""
    command = [sys.executable, "-m", "tests.chaos.seam", "--seed", "3", "--faults", "0", "--kills", "15"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["processes killed"] == 15


@pytest.mark.slow
def test_a_worker_and_a_trial_driver_killed_on_a_real_ray() -> None:
    """The shortest campaign of `tests.chaos.cluster`: one study, one start of Ray."""
    command = [sys.executable, "-m", "tests.chaos.cluster", "--seed", "5", "--faults", "2", "--kinds", "worker,actor"]
    done = subprocess.run(
        [*command, "--scenes", "local", "--trials", "3"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["local: worker"], result["local: actor"], result["studies"]) == (1, 1, 1)


def test_the_campaign_sees_what_goes_wrong(tmp_path: Path) -> None:
    """A ledger in which a trial was doubled, one lost, and one run again after its end."""
    world = seam.World(tmp_path)
    config = seam.study({"sampler": "random"}, 4)
    seam.suffer(config, world, seam.Fate(0), lives=0)
    assert seam.violations(config, world) == []
    whole = world.ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    end = next(line for line in lines if json.loads(line)["event"] == "finished" and json.loads(line)["trial"] == 2)
    world.ledger.write_bytes(whole + end)
    assert any("2 was finished 2 times" in line for line in seam.violations(config, world))
    world.ledger.write_bytes(b"".join(line for line in lines if json.loads(line).get("trial") != 3))
    assert any("numbers are [0, 1, 2]" in line for line in seam.violations(config, world))
    world.ledger.write_bytes(b"".join(line for line in lines if line != end))
    assert any("trial 2 is running" in line for line in seam.violations(config, world))
    world.ledger.write_bytes(whole)
    world.log("trained", 1, 10)
    assert "trial 1 was trained after its end" in seam.violations(config, world)


def test_the_checks_of_a_real_campaign_see_what_goes_wrong(tmp_path: Path) -> None:
    """`optuna.db` of another ledger, and steps that were trained again though nothing was lost."""
    path, optuna = tmp_path / "ledger.jsonl", tmp_path / "optuna.db"
    search = {"sampler": "random", "objectives": [{"reduce": "target_mean"}]}
    config = seam.study(search, 4)
    config = config.model_copy(update={"protocol": ProtocolConfig(selection="target_validation")})
    with Ledger.open(path) as ledger:
        empty: dict[str, Any] = {"code_version": "", "fingerprints": {}, "protocol_hash": ""}
        ledger.append("study", uuid="0", config=config.model_dump(mode="json"), **empty)
        run(Trials(config, ledger, read_study(path)), seam.trainable())
    export_optuna(read_study(path), optuna)
    assert list(invariants.optuna_file(config, read_study(path), optuna)) == []
    lines = path.read_bytes().splitlines(keepends=True)
    reports = [at for at, line in enumerate(lines) if json.loads(line)["event"] == "report"]
    path.write_bytes(b"".join(line for at, line in enumerate(lines) if at != reports[7]))
    assert list(invariants.optuna_file(config, read_study(path), optuna)) == ["trial 1 is another one in optuna.db"]
    trained = {(1, 1): 2, (1, 2): 2, (1, 3): 1}
    assert list(invariants.redone({1: 2}, trained, 2)) == []
    assert list(invariants.redone({1: 2}, trained, 1)) == ["trial 1: 2 steps redone after 1 interruptions"]
