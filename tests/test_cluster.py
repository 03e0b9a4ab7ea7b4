"""The shipped cluster files are ones that Ray takes, and keep what the design rests on."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws import utils as aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
from ray.scripts.scripts import cli as ray_commands

from study.cli import commands as study_commands
from study.execution.concurrency import GROWING, concurrency
from study.question.config import ScalingConfig
from tests.conftest import REPOSITORY
from tests.kuberay import extract, problems
from trainables.errors import UserError

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
    assert head["resources"][GROWING]
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


def text(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_every_kind_of_machine_is_set_up_by_one_script_and_what_that_installs_is_pinned(cluster: Cluster) -> None:
    assert "sh ~/robust-transfer-study/cluster/set_up.sh ~/venv" in cluster["setup_commands"]
    assert "cluster/set_up.sh /opt/venv" in text("cluster/Dockerfile")
    for line in [*text("cluster/set_up.sh").splitlines(), *cluster.get("head_setup_commands", [])]:
        if "pip" in line and "install" in line and "--no-deps" not in line:
            assert "--constraint" in line and "constraints.txt" in line


def kuberay() -> Cluster:
    job = content("cluster/kuberay.yaml")["spec"]
    assert isinstance(job, dict)
    return job


def test_the_job_on_kubernetes_is_one_by_kuberays_schema() -> None:
    assert problems(content("tests/data/rayjob.yaml"), content("cluster/kuberay.yaml")) == []


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("maxReplicas: 8", "maxReplica: 8", ["maxReplica", "maxReplicas"]),
        ("maxReplicas: 8", "maxReplicas: eight", ["maxReplicas"]),
        ("mode: token", "mode: tokens", ["mode"]),
        ("restartPolicy: Never", "restartPolicies: Never", ["restartPolicies"] * 2),
        ("operator: Equal", "operators: Equal", ["operators"] * 2),
        ("- name: ray-worker", "- names: ray-worker", ["name", "names"]),
    ],
)
def test_a_mistake_in_the_job_on_kubernetes_is_seen(right: str, wrong: str, named: list[str]) -> None:
    job = yaml.safe_load(text("cluster/kuberay.yaml").replace(right, wrong))
    found = problems(content("tests/data/rayjob.yaml"), job)
    assert sorted(path.rpartition(".")[2] for path in found) == named


def test_what_the_file_uses_is_taken_out_of_a_published_schema() -> None:
    inner = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer"},
            "mode": {"type": "string", "enum": ["a", "b"]},
            "limits": {"type": "object", "additionalProperties": {"anyOf": [], "x-kubernetes-int-or-string": True}},
            "unused": {"type": "string"},
        },
    }
    names = {"apiVersion": {"type": "string"}, "spec": {"type": "array", "items": inner}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": names}}
    published = {"spec": {"names": {"kind": "RayJob"}, "versions": [{"name": "v1", "schema": schema}]}}
    job = {"apiVersion": "ray.io/v1", "spec": [{"size": 1}, {"mode": "a", "limits": {"example.com/gpu": "1"}}]}
    found = extract(published, job)
    assert found == {
        "fields": {
            "apiVersion": "string",
            "spec": "array",
            "spec[]": "object",
            "spec[].limits": "object",
            "spec[].limits.*": "integer or string",
            "spec[].mode": ["a", "b"],
            "spec[].size": "integer",
        },
        "required": ["spec[].size"],
    }
    assert problems(found, job) == ["spec[].size"]  # of the second
    with pytest.raises(ValueError, match=r"no fields of a RayJob: spec\[\]\.sizes"):
        extract(published, {"apiVersion": "ray.io/v1", "spec": [{"sizes": 1}]})


def test_what_clusters_share_is_the_same_for_all_of_them() -> None:
    cloud, job, batch = content("cluster.yaml"), kuberay(), text("cluster/slurm.sbatch")
    cluster = job["rayClusterSpec"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    resources = json.loads(json.loads(head["rayStartParams"]["resources"]))
    here = cloud["available_node_types"]["head"]["resources"]
    assert {"CPU": int(head["rayStartParams"]["num-cpus"]), **resources} == here
    assert re.search(rf'trial_driver\\":{resources["trial_driver"]}\}}', batch)
    assert (worker["minReplicas"], worker["maxReplicas"]) == (0, cloud["max_workers"])
    assert cluster["autoscalerOptions"]["idleTimeoutSeconds"] == 60 * cloud["idle_timeout_minutes"]
    assert f"ray=={cluster['rayVersion']}" in re.sub(r"\[.*?\]", "", text("constraints.txt")).splitlines()
    for group in (head, worker):
        (container,) = group["template"]["spec"]["containers"]
        names = {each["name"]: each["value"] for each in container["env"]}
        assert all(f"{name}={names[name]} " in starts(cloud)[0] for name in names if name.startswith("RAY"))
        assert names["STUDY_ROOT"].startswith("s3://")
    # Whoever shows no token is refused, and the head is on no machine that may be taken back.
    assert cluster["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_MODE=token" in batch and "--dashboard-host=127.0.0.1" in batch
    assert "tolerations" not in head["template"]["spec"] and worker["template"]["spec"]["tolerations"]


@pytest.mark.parametrize("known", [True, False])
def test_a_job_that_runs_again_goes_on_with_its_study(known: bool, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.write_text(f'#!/bin/sh\n[ "$1" = show ] && exit {0 if known else 2}\necho "$@"\n', encoding="utf-8")
    study.chmod(0o755)
    done = subprocess.run(
        ["sh", str(REPOSITORY / "cluster" / "begin.sh"), "first", "quickstart", "name=first", "x=[1, 2]"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    words = "resume first --take-over" if known else "run quickstart name=first x=[1, 2]"
    assert done.stdout == f"{words} --address auto --plain\n"


def test_every_machine_has_the_studies_at_one_path() -> None:
    cluster = content("cluster.yaml")
    start = cluster["worker_start_ray_commands"]
    mount = next(i for i, line in enumerate(start) if "mount -t nfs" in line)
    assert mount < next(i for i, line in enumerate(start) if "ray start" in line)
    assert start[mount].endswith("$RAY_HEAD_IP:/srv/studies /srv/studies")
    assert any("/srv/studies" in line and "/etc/exports" in line for line in cluster["head_setup_commands"])


@pytest.fixture
def amazon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A pretended AWS with nothing of ours in it; the number of an image."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("HOME", str(tmp_path))  # the ssh key is left there
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr("ray.autoscaler._private.aws.config.time.sleep", lambda seconds: None)
    caches = (aws.resource_cache, aws.client_cache)
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        for cache in caches:
            cache.cache_clear()
        ec2 = boto3.client("ec2", region_name=content("cluster.yaml")["provider"]["region"])

        def described(
            region: str, credentials: object
        ) -> Any:  # of all types there are, as Ray asks for, the answer takes half a minute
            return ec2.describe_instance_types(InstanceTypes=["m6i.2xlarge", "g5.xlarge"])["InstanceTypes"]

        monkeypatch.setattr("ray.autoscaler._private.aws.node_provider.list_ec2_instances", described)
        yield ec2.register_image(Name="ubuntu")["ImageId"]
    for cache in caches:
        cache.cache_clear()


def test_amazon_would_be_asked_for_what_the_file_says(amazon: str) -> None:
    cluster = content("cluster.yaml")
    for kind in cluster["available_node_types"].values():
        kind["node_config"]["ImageId"] = amazon
    config = AWSNodeProvider.bootstrap_config(
        AWSNodeProvider.fillout_available_node_types_resources(prepare_config(cluster))
    )
    types = config["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu_worker"]["resources"].items() >= {"CPU": 4, "GPU": 1}.items()

    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in types.items():
        tags = dict.fromkeys((TAG_RAY_NODE_KIND, TAG_RAY_LAUNCH_CONFIG, TAG_RAY_USER_NODE_TYPE), name)
        own = config["head_node"] if name == config["head_node_type"] else {}  # as `ray up` puts them together
        provider.create_node(own | kind["node_config"], tags, 1)
    ec2 = boto3.client("ec2", region_name=config["provider"]["region"])
    machines = [m for each in ec2.describe_instances()["Reservations"] for m in each["Instances"]]
    found = {tag["Value"]: m for m in machines for tag in m["Tags"] if tag["Key"] == TAG_RAY_USER_NODE_TYPE}
    head, worker = found["head"], found["gpu_worker"]
    assert (head["InstanceType"], head.get("InstanceLifecycle")) == ("m6i.2xlarge", None)
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g5.xlarge", "spot")
    assert "IamInstanceProfile" in head and "IamInstanceProfile" not in worker  # workers start no machines
    assert {machine["ImageId"] for machine in machines} == {amazon}

    # The world reaches ssh and nothing else; machines reach one another.
    (group,) = {g["GroupId"] for machine in machines for g in machine["SecurityGroups"]}
    rules = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    from_outside = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"] or rule["PrefixListIds"]]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [("tcp", 22, 22)]
    assert [rule["IpProtocol"] for rule in rules if rule["UserIdGroupPairs"]] == ["-1"]


def test_a_cluster_that_grows_is_not_judged_by_what_it_holds_yet() -> None:
    empty = {"CPU": 0.0, "trial_driver": 1000.0}
    eight = ScalingConfig(concurrent_trials=8, gpus_per_worker=1)
    assert concurrency(eight, [{**empty, GROWING: 1.0}]) == 8
    with pytest.raises(UserError, match="the cluster has 0 CPU, 0 GPU"):
        concurrency(eight, [empty])
    with pytest.raises(UserError, match=r"scaling\.concurrent_trials: .*grow to"):
        concurrency(ScalingConfig(), [{**empty, GROWING: 1.0}])
    assert concurrency(ScalingConfig(), [{"CPU": 4.0, GROWING: 1.0}]) == 4
    assert concurrency(eight, [{"CPU": 4.0, "GPU": 2.0}]) == 2


def commands_of_the_page() -> list[list[str]]:
    """Every command of Ray's or ours in docs/clusters.md, those in quotes for the head included, as its words."""
    text = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    found = []
    for line in [*lines, *re.findall(r"'([^']*/venv/bin/study [^']*)'", " ".join(lines))]:
        words = shlex.split(line.replace("$HOME/venv/bin/study", "study"), comments=True)
        while words and "=" in words[0]:
            words = words[1:]
        if words and Path(words[0]).name in ("ray", "study"):
            found.append([Path(words[0]).name, *words[1:]])
            if "--" in words:
                found.append(words[words.index("--") + 1 :])
    return found


def test_the_page_names_commands_and_options_that_there_are() -> None:
    commands = commands_of_the_page()
    assert {(words[0], words[1]) for words in commands} >= {("ray", "up"), ("ray", "down"), ("study", "doctor")}
    for name, *words in commands:
        command: click.Command = {"ray": ray_commands, "study": study_commands}[name]
        while isinstance(command, click.Group):
            assert words[0] in command.commands, (name, words)
            command, words = command.commands[words[0]], words[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        used = [word for word in words[: words.index("--") if "--" in words else None] if word.startswith("--")]
        assert {*used} <= options, (name, command.name, used)
