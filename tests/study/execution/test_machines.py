"""Studies on a real Ray of several pretended machines on this one: trials that share a card, machines that are lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from study.record.lines import read_events, read_study
from tests.chaos.cluster import HEALTH, TITLES, title
from tests.study.execution.test_runner import command, finished, study, written
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

EVERY = 10
"""Steps between two checkpoints of the trial whose machines are lost."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster without a machine yet; the first one is the head."""
    temporary = Path(tempfile.mkdtemp(prefix="machines-"))  # short: the names of sockets are
    (temporary / "ray").mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(temporary))
    made = Cluster()
    yield made
    made.shutdown()
    shutil.rmtree(temporary, ignore_errors=True)


def head(cluster: Cluster, **resources: float) -> None:
    machine(cluster, resources={"trial_driver": 1000}, _system_config=HEALTH, **resources)


def machine(cluster: Cluster, num_cpus: int = 1, **options: Any) -> Any:
    node = cluster.add_node(wait=False, include_dashboard=False, num_cpus=num_cpus, **options)

    def is_alive() -> bool:
        return any(n["NodeID"] == node.node_id and n["Alive"] for n in cluster.global_state.node_table())

    wait_for(is_alive, 120, "a machine joins the cluster")
    return node


def test_two_trials_share_a_card(cluster: Cluster, tmp_path: Path) -> None:
    head(cluster, num_cpus=4, num_gpus=1)
    config = written(tmp_path / "tiny.yaml", study(scaling={"gpus_per_worker": 0.5}))
    status, output = finished(
        "run", str(config), "--root", str(tmp_path / "studies"), "--address", cluster.address, "--plain"
    )
    assert status == 0, output
    assert "2 trials at a time, each 1 worker of 1 CPU, 0.5 GPU" in output
    events, live, most = read_events(tmp_path / "studies" / "tiny" / "ledger.jsonl"), set[int](), 0
    for event in events:
        if event["event"] == "started":
            live.add(event["trial"])
        elif event["event"] == "finished":
            live.discard(event["trial"])
        most = max(most, len(live))
    assert most == 2


def hosts_a_worker(node: Any) -> bool:
    return any(TITLES["worker"] in title(process) for process in processes(node))


def processes(node: Any) -> list[psutil.Process]:
    (raylet,) = node.all_processes["raylet"]
    with suppress(psutil.NoSuchProcess):
        above = psutil.Process(raylet.process.pid)
        return [above, *above.children(recursive=True)]
    return []


def lose(node: Any) -> None:
    for process in processes(node):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_trial_of_two_workers_goes_on_without_a_machine_and_stops_where_too_few_are_left(
    cluster: Cluster, tmp_path: Path
) -> None:
    head(cluster)
    others = [machine(cluster), machine(cluster)]
    content = study(
        search={"objectives": [{"reduce": "target_mean"}]},
        scaling={"workers_per_trial": 2, "worker_wait_minutes": 2},
    )
    content["trial"] = content["trial"] | {
        "training": content["trial"]["training"] | {"budget": {"steps": 1000 * EVERY}},
        "perturbation": {"method": "none"},
        "evaluation": content["trial"]["evaluation"] | {"every": EVERY},
    }
    config, root = written(tmp_path / "tiny.yaml", content), tmp_path / "studies"
    ledger = root / "tiny" / "ledger.jsonl"

    def reports(attempt: int) -> int:
        """How many of the trial's there are, of an attempt."""
        trials = read_study(ledger).trials if ledger.exists() else {}
        return sum(report.attempt == attempt for trial in trials.values() for report in trial.reports)

    arguments = ("run", str(config), "--root", str(root), "--address", cluster.address, "--plain")
    with command(*arguments) as running:
        wait_for(lambda: reports(1) > 1, 240, "the trial reports")
        first = next(node for node in others if hosts_a_worker(node))
        second = next(node for node in others if node is not first)
        lose(first)
        wait_for(lambda: reports(2) > 1, 240, "the next attempt reports")
        assert hosts_a_worker(second)
        lose(second)
        output, _ = running.communicate(timeout=420)
    assert running.returncode == 2, output
    assert "no worker of trial 0 gave a sign of life for 2 min" in output
    assert "go on with study resume tiny" in output
    trial = read_study(ledger).trials[0]
    assert (trial.state, trial.error) == ("running", None)
    steps = [report.step for report in trial.reports]
    assert steps == [EVERY * (i + 1) for i in range(len(steps))]
