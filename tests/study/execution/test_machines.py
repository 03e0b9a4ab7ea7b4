"""Studies on a real Ray of several pretended machines on this one: trials that share a card, machines that are lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from study.record.lines import owner_path, read_events, read_study
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


def head(cluster: Cluster, **resources: float) -> Any:
    return machine(cluster, resources={"trial_driver": 1000}, _system_config=HEALTH, **resources)


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


def test_a_study_waits_for_another_machine_and_outlives_its_head(cluster: Cluster, tmp_path: Path) -> None:
    first = head(cluster, num_cpus=0)
    worker = machine(cluster)
    content = study(search={"objectives": [{"reduce": "target_mean"}]})
    content["trial"] = content["trial"] | {
        "training": content["trial"]["training"] | {"budget": {"steps": 100}},
        "perturbation": {"method": "none"},
        "evaluation": content["trial"]["evaluation"] | {"every": EVERY},
    }
    config, root = written(tmp_path / "tiny.yaml", content), tmp_path / "studies"
    ledger, log = root / "tiny" / "ledger.jsonl", tmp_path / "output.txt"

    def attempts() -> set[int]:
        trials = read_study(ledger).trials if ledger.exists() else {}
        return {report.attempt for trial in trials.values() for report in trial.reports}

    def said(words: str) -> bool:
        return words in log.read_text(encoding="utf-8")

    arguments = ("run", str(config), "--root", str(root), "--address", cluster.address, "--plain")
    with log.open("w") as output, command(*arguments, output=output) as running:
        wait_for(lambda: attempts() == {1}, 240, "the trial reports")
        lose(worker)
        wait_for(lambda: said("a machine has gone"), 120, "the study says that a machine is lost")
        assert running.poll() is None
        worker = machine(cluster)
        wait_for(lambda: said("a machine has come"), 60, "the study says that there is another")
        wait_for(lambda: attempts() == {1, 2}, 240, "the trial goes on")
        running.kill()  # the driver is on the head
    for node in (worker, first):
        lose(node)
        cluster.remove_node(node, allow_graceful=False)

    # What is seen from the machine that comes in the head's place: an owner that nobody can ask.
    owner = owner_path(ledger)
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"boot": "another", "host": "gone"}), encoding="utf-8")
    again = Cluster()
    try:
        head(again, num_cpus=1)
        go_on = ("resume", "tiny", "--root", str(root), "--address", again.address, "--plain")
        status, words = finished(*go_on, seconds=60)
        assert status == 2 and "another" in words
        status, words = finished(*go_on, "--take-over")
        assert status == 0, words
    finally:
        again.shutdown()
    (trial,) = read_study(ledger).trials.values()
    assert trial.state == "COMPLETE"
    assert [report.step for report in trial.reports] == list(range(EVERY, 101, EVERY))
