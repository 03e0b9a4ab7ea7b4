"""The Ray that a study starts for itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.record.lines import read_study
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

TRIAL: dict[str, Any] = {
    "task": {"target_languages": ["de"]},
    "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10},
    "training": {"batch_size": 8, "budget": {"steps": 2}},
    "perturbation": {"method": "random_perturbation", "epsilon": 0.1},
    "evaluation": {"every": None, "examples_per_language": 4},
}

HANG = """
import atexit, os, time
import psutil, ray
from study.execution.cluster import cluster

class Hanging:
    def pid(self):
        atexit.register(time.sleep, 600)
        return os.getpid()

with cluster(None, print):
    actor = ray.remote(num_cpus=0)(Hanging).remote()
    process = psutil.Process(ray.get(actor.pid.remote(), timeout=60))
    del actor  # it says goodbye to Ray, and hangs
    time.sleep(3)
    assert process.is_running()
psutil.wait_procs([process], 5)
assert not process.is_running()
"""

LOOK = """
import json, os, psutil, ray
from ray._private import parameter, ray_constants, services, worker
from ray.tune.execution import class_cache
from study.execution.cluster import cluster
usual, confined, before = parameter.RayParams, ray_constants.ENABLE_RAY_CLUSTER, dict(os.environ)
others = services.start_api_server, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
with cluster(None, print):
    kinds = [kind for kind, _ in worker._global_node.live_processes()]
    mine = psutil.Process()
    sockets = [s for each in [mine, *mine.children(recursive=True)] for s in each.net_connections("inet")]
    print(json.dumps([kinds, [s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN]]))
assert parameter.RayParams is usual  # for a cluster that this process starts for something else
assert ray_constants.ENABLE_RAY_CLUSTER == confined
assert others == (services.start_api_server, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE)
assert dict(os.environ) == before
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
with cluster(None, print):  # a second one in one process, which one CPU is left to
    assert ray.cluster_resources()["CPU"] == 1
    assert ray.get(ray.remote(num_cpus=0)(lambda: os.getpid()).remote(), timeout=60) != os.getpid()
"""


def test_a_worker_that_hangs_in_its_exit_is_ended() -> None:
    subprocess.run([sys.executable, "-c", HANG], check=True, timeout=180)


def test_it_is_small_listens_on_loopback_only_and_leaves_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], check=True, stdout=subprocess.PIPE, text=True, timeout=180)
    kinds, addresses = json.loads(done.stdout.splitlines()[0])
    assert {"raylet", "gcs_server"} <= set(kinds)
    assert not {"log_monitor", "monitor", "dashboard"} & set(kinds)
    assert addresses
    assert set(addresses) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


ANOTHER_RAY = """
import sys
from study.execution import cluster

def absent(name):
    raise ImportError(name)

cluster.import_module = absent
from study.cli import commands, execute
sys.exit(execute(commands, "study", sys.argv[1:]))
"""


def test_a_study_runs_on_a_ray_without_the_private_names_that_make_it_lean(tmp_path: Path) -> None:
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['trainables.workers.lean'] = None\n")
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"}
    config = tmp_path / "tiny.yaml"
    search = {"objectives": [{"reduce": "language:de"}]}
    protocol = {"selection": "target_validation", "primary_endpoint": "language:de"}
    config.write_text(json.dumps({"name": "tiny", "trial": TRIAL, "search": search, "protocol": protocol}))
    arguments = ["run", str(config), "--root", str(tmp_path / "studies"), "--plain"]
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_RAY, *arguments], env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_study(tmp_path / "studies" / "tiny" / "ledger.jsonl")
    assert [t.state for t in record.trials.values()] == ["COMPLETE", "COMPLETE"]
