"""A Slurm of two nodes on this machine, with all that is its own in one folder: munged, slurmctld, two slurmd."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.ports import free_port
from tests.waiting import wait_for

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
MISSING = [name for name in NEEDED if not shutil.which(name, path=PATH)]

NODES = {"one": "127.0.0.1", "two": "127.0.0.2"}
"""Nodes by name, and where each is reached."""

URGENT = "urgent"
"""The partition whose jobs take the nodes of all others, which are told so and queued again."""

GRACE_SECONDS = 120
"""Time that a preempted job has from the signal to its end."""


class Slurm:
    """Started when it is made; `end` ends every process that has to do with its folder, and no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        folder.chmod(0o755)  # munged takes no folder that others cannot read, or that they can write
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (folder / name).mkdir()
        self._configure()
        self._start("munged", "--foreground", "--force", f"--socket={folder}/munge", f"--key-file={folder}/munge.key",
            f"--pid-file={folder}/munge.pid", f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log",
            "--num-threads=2")  # fmt: skip
        wait_for((folder / "munge").exists, 30, "munged listens")
        self._start("slurmctld", "-D", "-f", str(self.configuration))
        for node in NODES:
            self._start("slurmd", "-D", "-f", str(self.configuration), "-N", node)
        try:
            wait_for(lambda: {*self.asked("sinfo", "-h", "-N", "-o", "%T").split()} == {"idle"}, 60, "nodes")
        except AssertionError as error:
            self.end()
            raise AssertionError(f"{error}\n{self.logs()}") from error

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    def _configure(self) -> None:
        user, controller, folder = getpass.getuser(), free_port(), self.folder
        nodes = ",".join(NODES)
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            f"SlurmctldPort={controller}",
            "AuthType=auth/munge",
            # A job that is queued again waits for as long as credentials last, which is two minutes.
            f"AuthInfo=socket={folder}/munge,cred_expire=5",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool.%n",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={folder}/slurmctld.log",
            f"SlurmdLogFile={folder}/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "SchedulerParameters=sched_interval=2",
            "MpiDefault=none",
            "ReturnToService=2",
            "KillWait=30",
            "GresTypes=gpu",
            *(
                f"NodeName={node} NodeAddr={address} NodeHostname={socket.gethostname()} Port={free_port()} "
                "CPUs=1 Gres=gpu:1 State=UNKNOWN"
                for node, address in NODES.items()
            ),
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "SlurmctldParameters=preempt_send_user_signal",
            f"PartitionName=all Nodes={nodes} Default=YES State=UP PriorityTier=1 GraceTime={GRACE_SECONDS}",
            f"PartitionName={URGENT} Nodes={nodes} State=UP PriorityTier=2 PreemptMode=OFF",
        ]
        self.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "gres.conf").write_text(
            "".join(f"NodeName={node} Name=gpu File=/dev/null\n" for node in NODES), encoding="utf-8"
        )

    def environment(self) -> Mapping[str, str]:
        """That of a shell that talks to this Slurm, and to no other."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return others | {"PATH": f"{Path(sys.executable).parent}:{PATH}", "SLURM_CONF": str(self.configuration)}

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            process = subprocess.Popen([name, *arguments], stdout=log, stderr=log, env=self.environment())
        self.daemons.append(process)

    def asked(self, *command: str) -> str:
        """What a command of Slurm's answers."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60)
        return done.stdout + (f"\n{done.stderr}" if done.returncode else "")

    def logs(self) -> str:
        """The last of what the daemons wrote."""
        return "\n".join(
            f"{path.name}:\n{path.read_text(encoding='utf-8', errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def processes(self) -> list[psutil.Process]:
        """Those of the daemons, and all that jobs have started: their environment names the configuration."""
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == str(self.configuration):
                    found |= {process, *process.children(recursive=True)}
        return sorted(found, key=lambda p: p.pid)

    def end(self) -> None:
        def gone() -> bool:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            for daemon in self.daemons:
                daemon.poll()
            return not self.processes()

        wait_for(gone, 60, "Slurm's processes end")
