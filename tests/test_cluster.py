"""The shipped cluster files are ones that Ray takes, and keep what the design rests on."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import REPOSITORY

Cluster = dict[str, Any]


@pytest.fixture(params=["cluster.yaml", "cluster/onprem.yaml"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return content(request.param)


def content(path: str) -> Cluster:
    config: Cluster = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    return config


def starts(cluster: Cluster) -> tuple[str, str]:
    """The commands that start Ray on the head and on a worker."""
    head, worker = (
        [line for line in cluster[f"{kind}_start_ray_commands"] if "ray start" in line] for kind in ("head", "worker")
    )
    assert len(head) == len(worker) == 1
    return head[0], worker[0]


def test_it_is_valid_by_rays_schema(cluster: Cluster) -> None:
    prepared = prepare_config(cluster)
    validate_config(prepared)
    # What the file leaves out must not be filled with a command that knows nothing of its environment.
    for name, commands in prepared.items():
        if name.endswith("_setup_commands"):
            assert {*commands} <= {line for key in cluster if key.endswith("setup_commands") for line in cluster[key]}


def test_only_workers_sit_on_spot_machines() -> None:
    cluster = content("cluster.yaml")
    types = cluster["available_node_types"]
    head = types[cluster["head_node_type"]]
    assert head["resources"]["trial_driver"] > 0
    assert head["resources"]["CPU"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]
    assert types["gpu_worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu_worker"]["min_workers"] == 0
    assert types["gpu_worker"]["node_config"]["ImageId"] == head["node_config"]["ImageId"]


def test_where_there_are_no_node_types_the_start_commands_say_the_same() -> None:
    head, worker = starts(content("cluster/onprem.yaml"))
    assert "--num-cpus=0 --num-gpus=0" in head
    assert "--resources='{\"trial_driver\":1000}'" in head
    assert "trial_driver" not in worker


def test_nothing_listens_to_the_world_unasked(cluster: Cluster) -> None:
    head, worker = starts(cluster)
    assert "RAY_AUTH_MODE=token" in head and "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert "chmod 600 ~/.ray/auth_token" in cluster["setup_commands"]


def test_what_is_installed_is_pinned(cluster: Cluster) -> None:
    commands = [line for key in cluster if key.endswith("setup_commands") for line in cluster[key]]
    installs = [line for line in commands if "pip install" in line and "--no-deps" not in line]
    assert installs
    assert all("--constraint" in line and "constraints.txt" in line for line in installs)


def test_every_machine_has_the_studies_at_one_path() -> None:
    cluster = content("cluster.yaml")
    start = cluster["worker_start_ray_commands"]
    mount = next(i for i, line in enumerate(start) if "mount -t nfs" in line)
    assert mount < next(i for i, line in enumerate(start) if "ray start" in line)
    assert start[mount].endswith("$RAY_HEAD_IP:/srv/studies /srv/studies")
    assert any("/srv/studies" in line and "/etc/exports" in line for line in cluster["head_setup_commands"])
