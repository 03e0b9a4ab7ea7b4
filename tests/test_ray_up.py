"""`ray up` for real: the commands of `cluster.yaml` on two addresses of this machine, and a study that loses one."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from study.record.lines import read_events, read_study
from tests.conftest import REPOSITORY
from tests.ports import free_port
from tests.waiting import wait_for
from trainables.storage.cache import cache_root

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not (SSHD and shutil.which("ssh") and shutil.which("rsync")),
        reason="needs sshd, ssh and rsync: apt-get install openssh-server rsync",
    ),
]

HEAD, WORKER = "127.0.0.1", "127.0.0.2"

STUDY: dict[str, Any] = {
    "name": "tiny",
    "trial": {
        "task": {"target_languages": ["de", "lb", "th"]},
        "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10, "dropout": 0.0},
        "training": {"batch_size": 8, "budget": {"steps": 60}, "learning_rate": 2e-4, "head_learning_rate": 1e-2},
        "perturbation": {"method": "adversarial", "epsilon": 0.1},
        "evaluation": {"every": 4, "examples_per_language": 4},
    },
    "search": {"space": "adversarial", "trials": 3, "objectives": [{"reduce": "target_mean"}]},
    "protocol": {"selection": "target_validation", "primary_endpoint": "target_mean"},
}


class Machines:
    """A laptop, a head and a worker: three home folders on this machine, the latter two behind sshd.

    All that is theirs is in one folder, by whose name their processes are known.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.laptop, self.head, self.worker = homes = [folder / name for name in ("laptop", "head", "worker")]
        self.port, self.dashboard, self.ssh_port = free_port(), free_port(), free_port()
        self.key = self.laptop / "key"
        for home in homes:
            home.mkdir()
            self._environment(home)
        for home in homes[1:]:
            self._virtual_environment(home)
        self._commands()
        self._sshd()

    def _environment(self, home: Path) -> None:
        """What login shells find; the address of packages is this machine's."""
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        exports = kept | {
            "RAY_TMPDIR": str(self.folder),
            "TMPDIR": str(self.folder),
            "STUDY_CACHE": str(cache_root()),
            "RAY_worker_niceness": "0",
            "PIP_NO_BUILD_ISOLATION": "off",  # the packages are here: nothing has to be fetched
        }
        lines = [f"export {name}='{value}'" for name, value in exports.items()]
        lines.append(f'export PATH="{self.folder}/bin:$PATH"')  # added to: bash reads this again in Ray's workers
        (home / ".bashrc").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _virtual_environment(self, home: Path) -> None:
        """An environment into which the shipped commands have nothing to install but the project."""
        subprocess.run([os.path.realpath(sys.executable), "-m", "venv", "--without-pip", home / "venv"], check=True)
        python = home / "venv" / "bin" / "python"
        where = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        )
        Path(where.strip(), "installed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        for name, module in (("pip", "pip"), ("ray", "ray.scripts.scripts")):
            script = python.with_name(name)
            script.write_text(f'#!/bin/sh\nexec {python} -m {module} "$@"\n', encoding="utf-8")
            script.chmod(0o755)

    def _commands(self) -> None:
        """Commands that come first in the path. What needs sudo is only noted: this machine stays as it is."""
        bin = self.folder / "bin"
        bin.mkdir()
        (bin / "python3").symlink_to(os.path.realpath(sys.executable))
        for name, line in (
            ("sudo", f'echo "$@" >> {self.folder}/sudo.txt'),
            # The head names its key by ~, which ssh takes for the account's real home folder.
            ("ssh", f'exec {shutil.which("ssh")} -p {self.ssh_port} -i {self.key} "$@"'),
        ):
            (bin / name).write_text(f"#!/bin/bash\n{line}\n", encoding="utf-8")
            (bin / name).chmod(0o755)

    def _sshd(self) -> None:
        for name in ("host_key", "laptop/key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        configuration = [
            f"Port {self.ssh_port}",
            f"ListenAddress {HEAD}",
            f"ListenAddress {WORKER}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.key}.pub",
            "PasswordAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PidFile none",
            f"Match LocalAddress {HEAD}",
            f"SetEnv HOME={self.head}",
            f"Match LocalAddress {WORKER}",
            f"SetEnv HOME={self.worker}",
        ]
        (self.folder / "sshd_config").write_text("\n".join(configuration) + "\n", encoding="utf-8")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / "sshd.txt").open("wb") as log:
            assert SSHD is not None
            command = [SSHD, "-D", "-e", "-f", self.folder / "sshd_config"]
            self.sshd = subprocess.Popen(command, stdout=log, stderr=log)

    def cluster(self) -> Path:
        """The shipped file with another provider, key and node types; its start commands know where they are."""
        config = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text(encoding="utf-8"))
        del config["available_node_types"], config["head_node_type"]
        config["cluster_name"] = self.folder.name
        config["provider"] = {"type": "local", "head_ip": HEAD, "worker_ips": [WORKER]}
        config["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": str(self.key)}
        config["max_workers"] = 1
        client = f"--ray-client-server-port={free_port()}"
        for kind, address, more in (
            ("head", HEAD, f"--dashboard-port={self.dashboard} {client} --resources='{{\"trial_driver\":1000}}'"),
            ("worker", WORKER, ""),
        ):
            own = f"--node-ip-address={address} --num-cpus=1 --dashboard-agent-listen-port={free_port()}"
            config[f"{kind}_start_ray_commands"] = [
                line.replace(":6379", f":{self.port}").replace("--port=6379", f"--port={self.port}")
                + (f" {own} --min-worker-port=0 --max-worker-port=0 {more}" if "ray start" in line else "")
                for line in config[f"{kind}_start_ray_commands"]
                if "ray stop" not in line
            ]
        path = self.folder / "cluster.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def on_laptop(self, *command: str, seconds: float, token: bool = True) -> subprocess.CompletedProcess[str]:
        """A command of Ray's as a user types it, in the repository."""
        environment = {
            **os.environ,
            "HOME": str(self.laptop),
            "PATH": f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": str(self.laptop),
            "TMPDIR": str(self.laptop),
            "RAY_UP_enable_autoscaler_v2": "0",
            **({"RAY_AUTH_MODE": "token"} if token else {}),
        }
        ray = str(Path(sys.executable).with_name("ray"))
        return subprocess.run(
            [ray, *command],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def up(self) -> None:
        """`ray up`; again where Ray gave its own processes too little time, which is half a minute on any machine."""
        for _ in range(3):
            made = self.on_laptop("up", "--yes", "--no-config-cache", str(self.cluster()), seconds=420)
            if "timed out during startup" not in made.stdout:
                break
            self.kill(self.head)
        assert made.returncode == 0, made.stdout[-3000:]

    def processes(self, home: Path) -> list[psutil.Process]:
        """All processes that were started in a home folder, and theirs: Ray's own overwrite their environment."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(home) in process.environ().get("HOME", "") or str(home) in " ".join(process.cmdline()):
                    found |= {process, *process.children(recursive=True)}
        return sorted(found, key=lambda p: p.pid)

    def kill(self, home: Path) -> None:
        for process in self.processes(home):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def down(self) -> None:
        """End everything that was started here, and nothing else."""
        self.sshd.kill()
        self.sshd.wait(30)

        def gone() -> bool:
            self.kill(self.folder)
            return not self.processes(self.folder)

        wait_for(gone, 60, "the cluster's processes end")


@pytest.fixture
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="ray-up-", dir="/tmp"))  # Ray's sockets have short names only
    machines = Machines(folder)
    try:
        yield machines
    finally:
        machines.down()
        shutil.rmtree(folder, ignore_errors=True)
        # Where Ray's connections through ssh are kept; its name follows from the cluster's.
        for kept in Path("/tmp").glob(f"ray_ssh_*/{hashlib.sha256(folder.name.encode()).hexdigest()[:10]}"):
            shutil.rmtree(kept, ignore_errors=True)


def asked(url: str, token: str | None) -> tuple[int, Any]:
    """Status and content of the dashboard's answer."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None


def test_a_study_outlives_a_machine_of_the_cluster_that_ray_up_made(machines: Machines, tmp_path: Path) -> None:
    begun = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - begun:5.0f} s  {words}", flush=True)

    made = machines.on_laptop("get-auth-token", "--generate", seconds=60)
    assert made.returncode == 0, made.stdout
    token = (machines.laptop / ".ray" / "auth_token").read_text(encoding="ascii").strip()
    machines.up()
    say("up")

    jobs, nodes = (f"http://{HEAD}:{machines.dashboard}/{path}" for path in ("api/jobs/", "nodes?view=summary"))
    assert asked(jobs, None)[0] == asked(nodes, None)[0] == 401
    assert asked(jobs, "x" * len(token))[0] == 403
    listening = {
        (c.laddr.ip, c.laddr.port)
        for process in machines.processes(machines.head)
        for c in process.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }
    assert {ip for ip, port in listening if port == machines.dashboard} == {HEAD}

    def alive() -> set[str]:
        status, answer = asked(nodes, token)
        assert status == 200
        # The dashboard lists a node by its raylet's report before its own agent has said where it is.
        nodes_now = answer["data"]["summary"]
        return {n["ip"] for n in nodes_now if "ip" in n and n.get("raylet", {}).get("state") == "ALIVE"}

    # Ray calls the head by this machine's outer address, if it has one.
    wait_for(lambda: len(alive()) == 2 and WORKER in alive(), 420, "the worker joins")
    say("two nodes")
    assert (machines.worker / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    sudo = (machines.folder / "sudo.txt").read_text(encoding="utf-8").splitlines()
    assert "exportfs -ra" in sudo
    assert f"mount -t nfs -o hard {HEAD}:/srv/studies /srv/studies" in sudo

    path, root = tmp_path / "tiny.yaml", tmp_path / "studies"
    path.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    server = ("--address", f"http://{HEAD}:{machines.dashboard}")
    run = ("study", "run", str(path), "--root", str(root), "--address", "auto", "--plain")
    refused = machines.on_laptop("job", "submit", *server, "--", *run, seconds=60, token=False)
    assert refused.returncode != 0 and "Authentication required" in refused.stdout
    findings = tmp_path / "doctor.json"
    look = f"study doctor {path} --root {root} --address auto --json > {findings}"
    looked = machines.on_laptop("job", "submit", *server, "--", "sh", "-c", look, seconds=240)
    assert looked.returncode == 0, looked.stdout
    said = {each["what"]: (each["level"], each["found"]) for each in json.loads(findings.read_text(encoding="utf-8"))}
    assert said["cluster"] == ("ok", "2 machines at auto: 2 CPU, 0 GPU")
    assert said["trials"] == ("ok", "2 trials at a time, each 1 worker of 1 CPU")
    assert said["authentication"] == ("ok", "who shows no token is refused")
    assert said["shared root"] == ("ok", f"{root}, written by all 2 machines and seen by all")
    assert sorted(said.values()).count(("ok", "the same versions, 0 GPUs")) == 2
    assert not root.exists()
    say("doctor")
    job = machines.on_laptop("job", "submit", *server, "--no-wait", "--submission-id", "one", "--", *run, seconds=60)
    assert job.returncode == 0, job.stdout
    say("submitted")

    def log() -> str:
        return machines.on_laptop("job", "logs", *server, "one", seconds=60).stdout

    ledger = root / "tiny" / "ledger.jsonl"

    def rows() -> list[dict[str, Any]]:
        return read_events(ledger) if ledger.exists() else []

    def trains_on(home: Path) -> bool:
        return any("RayTrainWorker" in " ".join(p.cmdline()) for p in machines.processes(home) if p.is_running())

    def status() -> Any:
        return asked(f"{jobs}one", token)[1]["status"]

    def both_train() -> bool:
        assert status() in ("PENDING", "RUNNING")
        ended = {row["trial"] for row in rows() if row["event"] == "finished"}
        reported = {row["trial"] for row in rows() if row["event"] == "report"}
        return len(reported - ended) == 2 and trains_on(machines.head) and trains_on(machines.worker)

    try:
        wait_for(both_train, 420, "two trials at a time report")
        say("kill the worker")
        machines.kill(machines.worker)
        wait_for(lambda: status() != "RUNNING", 420, "the study ends")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log()}") from error
    say("ended")
    assert status() == "SUCCEEDED", log()
    record = read_study(ledger)
    assert [trial.state for trial in record.trials.values()] == ["COMPLETE"] * 3
    # The trial that lost its worker went on as its second attempt, from a checkpoint: no step was reported twice.
    reports = [(row["trial"], row["attempt"], row["step"]) for row in rows() if row["event"] == "report"]
    (moved,) = {trial for trial, attempt, _ in reports if attempt == 2}
    assert {attempt for trial, attempt, _ in reports if trial == moved} == {1, 2}
    for number in range(3):
        steps = [step for trial, _, step in reports if trial == number]
        assert steps == sorted(set(steps)) and steps[-1] == 60
    assert f"study mlflow --root {root}" in log()
