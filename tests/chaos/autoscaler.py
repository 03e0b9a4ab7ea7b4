"""A spot machine that goes, and the next one that Ray's autoscaler starts by itself, under a study that waits for it.

``python -m tests.chaos.autoscaler`` starts a head with Ray's autoscaler (the one that `ray up` starts), the limits and
machine types of `cluster.yaml`, and Ray's own provider of pretended machines, each a raylet on this one. The study asks
for a worker where none is; the one that comes is killed; another one comes, and the trial ends on it. Each line is what
was seen, with the time. Nothing but what it started is ended: `ray.cluster_utils.AutoscalingCluster`, which would do
the same, begins and ends with a `ray stop` of everything.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from study.record.lines import LEDGER, read_study
from tests.chaos.cluster import Command, content, say, title
from tests.conftest import REPOSITORY
from tests.ports import free_port
from tests.waiting import wait_for

HEAD = "ray.head.default"
"""The head's type, as the provider knows it."""

HEAD_ID = "f" * 51 + "00000"
"""The head's identifier, as the provider knows it."""

WORKER = {"CPU": 1, "GPU": 1}
"""What Ray reads off `cluster.yaml`'s instance type, less its other CPUs: this machine has two."""

STEPS, EVERY = 60, 10


def configuration(address: str) -> dict[str, Any]:
    """`cluster.yaml` for pretended machines: its limits and types are its own, what starts machines is not there."""
    shipped = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))
    types = shipped["available_node_types"]
    workers = {name: kind | {"node_config": {}} for name, kind in types.items() if name != shipped["head_node_type"]}
    for kind in workers.values():
        kind["resources"] = kind["resources"] or WORKER
    head = types[shipped["head_node_type"]]["resources"]
    return {
        **{key: shipped[key] for key in ("cluster_name", "max_workers", "idle_timeout_minutes", "upscaling_speed")},
        "provider": {
            "type": "external",  # by its own name Ray looks for an example of it, which its wheels lack
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "available_node_types": workers | {HEAD: {"resources": head, "node_config": {}, "max_workers": 0}},
        "head_node_type": HEAD,
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def processes(folder: Path) -> list[psutil.Process]:
    """What was started with this folder in its environment, and lives."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if process.environ().get("RAY_TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of a head whose autoscaler is at work."""
    address = f"127.0.0.1:{free_port()}"
    file = folder / "cluster.json"
    config = configuration(address)
    file.write_text(json.dumps(config), encoding="utf-8")
    resources = {key: value for key, value in config["available_node_types"][HEAD]["resources"].items() if key != "CPU"}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
    command += ["--node-ip-address=127.0.0.1", f"--port={address.partition(':')[2]}", "--include-dashboard=false"]
    command += [f"--temp-dir={folder}", f"--resources={json.dumps(resources)}", f"--autoscaling-config={file}"]
    environment = os.environ | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",  # as `ray up` has it; the older one keeps a dead pretended machine for good
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    with (folder / "head.txt").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            yield address
        finally:
            for _ in range(3):  # what starts while others end
                for process in processes(folder):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                time.sleep(0.5)
            head.wait(30)


def machines(folder: Path) -> list[psutil.Process]:
    """The raylets of pretended workers."""
    return [
        process
        for process in processes(folder)
        if "raylet/raylet" in title(process) and process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING") != HEAD_ID
    ]


def main() -> None:
    """Run it, and say what is seen."""
    folder = Path(tempfile.mkdtemp(prefix="scaled-"))  # short: the names of sockets are
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what it started is ended then too
    os.environ |= {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    root, log = folder / "studies", folder / "study.txt"
    study = content("scaled", trials=2, workers=1, uri=None)
    study["trial"]["training"]["budget"] = {"steps": STEPS}
    study["trial"]["evaluation"]["every"] = EVERY
    study["scaling"] |= {"gpus_per_worker": 1, "concurrent_trials": 1}
    (folder / "scaled.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    ledger = root / "scaled" / LEDGER

    def attempts() -> set[int]:
        trials = read_study(ledger).trials if ledger.exists() else {}
        return {report.attempt for trial in trials.values() for report in trial.reports}

    def said(words: str) -> bool:
        return words in log.read_text(encoding="utf-8")

    with cluster(folder) as address:
        say("a head without workers, and the autoscaler")
        wait_for(lambda: "Ray runtime started" in (folder / "head.txt").read_text(), 300, "the head starts")
        assert not machines(folder)
        running = Command(
            ("run", str(folder / "scaled.yaml"), "--root", str(root), "--address", address, "--plain"), log
        )

        def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
            wait_for(lambda: condition() or running.status is not None, seconds, what)
            assert running.status is None, running.tail()
            say(what)

        try:
            until(lambda: bool(machines(folder)), 420, "the study has asked, the autoscaler starts a machine")
            until(lambda: attempts() == {1}, 420, "the trial reports from it")
            (first,) = machines(folder)
            for process in [first, *first.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            say("that machine is killed")
            until(lambda: said("a machine has gone"), 240, "the study says that it has gone")
            until(lambda: bool(machines(folder)), 420, "the autoscaler starts another one")
            until(lambda: attempts() == {1, 2}, 420, "the trial goes on there")
            assert running.ends(420, "the end") == 0, running.tail()
        finally:
            running.process.kill()
            for line in log.read_text(encoding="utf-8").splitlines():
                print(f"    {line}", flush=True)
    trials = read_study(ledger).trials.values()
    assert sorted(trial.attempts for trial in trials) == [1, 2]
    for trial in trials:
        assert trial.state == "COMPLETE"
        assert [report.step for report in trial.reports] == list(range(EVERY, STEPS + 1, EVERY))
    say("complete, the trial of the lost machine in two attempts, no step reported twice")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
