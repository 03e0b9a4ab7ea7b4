"""Faults on a real local Ray: processes killed and frozen, disks full, lines torn, while real trials train.

``python -m tests.chaos.cluster --seed 7 --faults 23`` deals the faults of `PLAN` to studies in four scenes, and resumes
each study to its end; ``--kinds worker,driver`` deals those alone. The seed settles their order, their victims and
their delays; what the processes are at in that moment is up to the machine. Every wait has a limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from study.question.config import StudyConfig
from study.record.lines import LEDGER, read_events, read_study
from tests.waiting import wait_for
from trainables.loading import validate

STEPS, EVERY = 16, 4
LANGUAGES = ["de", "lb", "th"]
MOST_DRIVERS = 12
INTERVAL = 2 * EVERY - 1
"""Most steps that an interruption costs: those between two checkpoints, and those trained while one is written."""

PLAN: tuple[tuple[str, str], ...] = (
    *(("local", kind) for kind in ("worker", "driver", "actor", "mailbox", "disk", "raylet", "gcs")),
    *(
        ("nodes", kind)
        for kind in ("worker", "actor", "controller", "driver", "torn", "node", "freeze", "mlflow", "worker", "mlflow")
    ),
    *(("confirm", kind) for kind in ("driver", "worker", "actor")),
    *(("pairs", kind) for kind in ("freeze", "node", "worker")),
)
"""(scene, kind) of each fault; more than there are here start again at the first."""

SECONDS = {"event": 600.0, "end": 1200.0, "death": 240.0, "orphans": 120.0, "server": 300.0}
"""Limits of waits, for a machine that is busy."""

TITLES = {"worker": "RayTrainWorker", "actor": "ray::ResourceTrainable", "mailbox": "ray::Mailbox"} | {
    "controller": "ray::TrainController",
    "raylet": "raylet/raylet",
    "gcs": "gcs/gcs_server",
}
"""What the command line of a kind of process contains."""

HEALTH = {"health_check_period_ms": 2000, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 3}
"""A node of the cluster counts as dead after some twenty seconds without an answer (Ray's own: over a minute)."""


def content(name: str, trials: int, workers: int, uri: str | None) -> dict[str, Any]:
    """The configuration of a study of tiny trials."""
    return {
        "name": name,
        "trial": {
            "task": {"target_languages": LANGUAGES},
            "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 10, "dropout": 0.0},
            "training": {
                "batch_size": 8,
                "budget": {"steps": STEPS},
                "learning_rate": 2e-4,
                "head_learning_rate": 1e-2,
            },
            "perturbation": {"method": "adversarial", "epsilon": 0.1},
            "evaluation": {"every": EVERY, "examples_per_language": 4},
        },
        "search": {"space": "adversarial", "trials": trials, "objectives": [{"reduce": "target_mean"}]},
        "protocol": {
            "selection": "target_validation",
            "primary_endpoint": "target_mean",
            "confirm_seeds": 3,
            "confirm_examples_per_language": 4,
        },
        # The cap on lost workers is another matter: here they are lost more often than anywhere.
        "scaling": {"workers_per_trial": workers, "max_attempts": 50},
        "tracking": {"uri": uri},
    }


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


class Command:
    """``study …`` as the leader of a session of its own, which all its processes belong to."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.words, self.log = " ".join(arguments), log
        with log.open("ab") as file:
            file.write(f"$ study {self.words}\n".encode())
            file.flush()
            command = [sys.executable, "-m", "study", *arguments]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)

    @property
    def status(self) -> int | None:
        """Exit status, or None while it runs."""
        return self.process.poll()

    def tail(self) -> str:
        """The last it said."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def ends(self, seconds: float, what: str) -> int:
        """Its exit status, once it has ended."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{what}: study {self.words} did not end in {seconds:.0f} s:\n{self.tail()}") from None


def in_sessions(leaders: set[int]) -> list[psutil.Process]:
    """Living processes of these sessions."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in leaders and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return ""


class World:
    """What outlives the studies of a campaign: folders, chance, the processes that were started."""

    def __init__(self, folder: Path, seed: int, trials: int) -> None:
        self.folder, self.random, self.trials = folder, random.Random(seed), trials
        self.counts: Counter[str] = Counter()
        self.sessions: set[int] = set()
        self.root = folder / "studies"
        self.work = folder / "work"
        self.live = 0
        """Studies whose MLflow was complete without a rebuild."""

    def command(self, *arguments: str) -> Command:
        command = Command(arguments, self.folder / "log.txt")
        self.sessions.add(command.process.pid)
        return command

    def victims(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind, in the order of their ages."""
        found = [p for p in in_sessions(self.sessions | {os.getsid(0)}) if TITLES[kind] in title(p)]
        return sorted(found, key=lambda p: p.pid)

    def orphans(self) -> list[psutil.Process]:
        """Processes that are left of all the sessions so far."""
        mine = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
        return [p for p in in_sessions(self.sessions | {os.getsid(0)}) if p.pid not in mine]

    def no_orphans(self) -> None:
        """Wait until none is left (Ray's agents linger for about a minute); those that stay are named, and killed."""
        try:
            wait_for(lambda: not self.orphans(), SECONDS["orphans"], "no orphan is left")
        except AssertionError as error:
            left = self.orphans()
            names = ", ".join(f"{p.pid} {title(p)[:60]}" for p in left)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            raise AssertionError(f"orphans: {names}") from error


class Scene:
    """Studies on a local cluster of their own."""

    workers = 1
    uri: str | None = None
    address: tuple[str, ...] = ()

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.begun = 0
        self.drivers = 1
        """Drivers that the present study had."""

    # What can happen. True: the driver is to end by it.

    def strike(self, kind: str, running: Command) -> bool:
        self.world.counts[f"{self.name}: {kind}"] += 1
        if kind in TITLES:
            return self._process(kind, self.world.victims(kind))
        return bool(getattr(self, f"_{kind}")(running))

    def _process(self, kind: str, found: list[psutil.Process]) -> bool:
        victim = self.world.random.choice(found)
        say(f"  kill {kind} {victim.pid}")
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        return kind in ("raylet", "gcs")

    def _driver(self, running: Command) -> bool:
        say(f"  kill the driver {running.process.pid}")
        running.process.kill()
        return True

    def _torn(self, running: Command) -> bool:
        """As a power cut in the middle of an append leaves it: of an event that nobody has acted upon, a part."""
        self._driver(running)
        running.process.wait(30)
        raw = self.ledger.read_bytes()
        start = raw[:-1].rfind(b"\n") + 1
        event = json.loads(raw[start:])["event"]
        if event == "finished":  # was acted upon: the checkpoints are gone
            start, raw = len(raw), raw + raw[start:]
        cut = self.world.random.randrange(start + 1, len(raw) - 1)
        self.ledger.write_bytes(raw[:cut])
        say(f"  tear the line of a {event} after {cut - start} of {len(raw) - start} bytes")
        return True

    def _disk(self, running: Command) -> bool:
        """The studies' file system is full; where none can be mounted, the driver may write no longer files."""
        if os.path.ismount(self.world.root):
            filler = self.world.root / "filler"
            say("  fill the disk")
            with filler.open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            running.ends(SECONDS["death"], "the disk is full")
            filler.unlink()
        else:
            say("  no longer files")
            size = self.ledger.stat().st_size
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (size + 200, size + 200))
        return True

    # Studies

    @property
    def study(self) -> str:
        return f"{self.name}-{self.begun}"

    @property
    def ledger(self) -> Path:
        return self.world.root / self.study / LEDGER

    def command(self, verb: str, target: str) -> Command:
        return self.world.command(verb, target, "--root", str(self.world.root), "--plain", *self.address)

    def start(self) -> Command:
        self.begun += 1
        self.drivers = 1
        self.world.work.unlink(missing_ok=True)
        path = self.world.folder / f"{self.study}.yaml"
        path.write_text(
            yaml.safe_dump(content(self.study, self.world.trials, self.workers, self.uri)), encoding="utf-8"
        )
        say(f"study {self.study}")
        return self.command("run", str(path))

    def again(self) -> Command:
        return self.command("resume", self.study)

    def events(self) -> int:
        """How much has happened to trials."""
        if not self.ledger.exists():
            return 0
        return sum(row["event"] in ("started", "report") for row in read_events(self.ledger))

    def suffer(self, faults: list[str]) -> None:
        """All the faults, in as many studies as it takes, each of which is resumed to its end and looked at."""
        while faults and self.may_begin():
            running, seen = self.start(), 0
            while faults:
                self.wait_for_events(running, seen)
                time.sleep(self.world.random.uniform(0.0, 2.0))
                self.wait_for_victims(running, faults[0])
                if running.status == 0:
                    break
                ends = running.status is not None or self.strike(faults.pop(0), running)
                if ends:
                    running = self.follow(running)
                seen = self.events()
            while running.ends(SECONDS["end"], "a study comes to its end") != 0:
                running = self.follow(running)
            self.check()

    def wait_for_events(self, running: Command, seen: int) -> None:
        """Until something has happened to trials that was not seen yet, or the driver has ended."""
        what = f"something happens in {self.study}"
        wait_for(lambda: self.events() > seen or running.status is not None, SECONDS["event"], what)

    def wait_for_victims(self, running: Command, kind: str) -> None:
        """Until there is a process of that kind, or the driver has ended."""
        if kind in TITLES:
            what = f"there is a {kind} in {self.study}"
            wait_for(lambda: self.world.victims(kind) or running.status is not None, SECONDS["event"], what)

    def follow(self, running: Command) -> Command:
        """The next driver, once the one that cannot go on has ended, by itself and in bounded time."""
        before = time.monotonic()
        status = running.ends(SECONDS["death"], "a driver that cannot go on ends by itself")
        last = running.tail().splitlines()[-1]
        say(f"  the driver ended with {status} after {time.monotonic() - before:.0f} s: {last}")
        assert status != 0, f"a study that was cut off ended with 0:\n{running.tail()}"
        self.drivers += 1
        assert self.drivers <= MOST_DRIVERS, f"{self.study} does not come to its end:\n{running.tail()}"
        return self.again()

    def may_begin(self) -> bool:
        """Whether there is another study to disturb."""
        return True

    def check(self) -> None:
        from tests.chaos import invariants

        record, config = read_study(self.ledger), self.config()
        uri = self.uri or f"sqlite:///{self.world.root / 'mlflow.db'}"
        wrong = [
            *invariants.events(read_events(self.ledger)),
            *invariants.trials(record, self.expected(), range(EVERY, STEPS + 1, EVERY)),
            *(f"trial {t.number} failed: {t.error}" for t in record.trials.values() if t.state == "FAIL"),
            *self.work(),
            *invariants.proposer(config, record),
        ]
        self.world.live += not list(invariants.mlflow_runs(config, record, uri))
        from study.record.place import OPTUNA
        from study.views.rebuilding import rebuild

        rebuild(self.world.root, self.study, optuna=True, mlflow=True)
        wrong += invariants.optuna_file(config, record, self.ledger.with_name(OPTUNA))
        wrong += invariants.mlflow_runs(config, record, uri)
        attempts = sum(t.attempts for t in record.trials.values())
        say(
            f"  {len(record.trials)} trials, {attempts} attempts, {len(record.sessions)} drivers: {wrong or 'all well'}"
        )
        assert not wrong, f"{self.study}: " + "; ".join(wrong)
        self.world.counts["studies"] += 1

    def work(self) -> Iterator[str]:
        """What the workers really did: nothing for a trial that has ended, one interval at most for each loss."""
        from tests.chaos import invariants

        ended = {t.number: t.finished for t in read_study(self.ledger).trials.values()}
        starts: Counter[int] = Counter()
        trained: Counter[tuple[int, int]] = Counter()
        for line in self.world.work.read_text(encoding="ascii").splitlines():
            kind, number, step, at = line.split()
            if kind == "began":
                starts[int(number)] += 1
                if float(at) > (ended.get(int(number)) or float("inf")):
                    yield f"trial {number} was begun after its end"
            else:
                trained[int(number), int(step)] += 1
        yield from invariants.redone(starts, trained, INTERVAL)

    def expected(self) -> int:
        return self.world.trials

    def config(self) -> StudyConfig:
        return validate(StudyConfig, read_study(self.ledger).config)

    @contextmanager
    def stage(self) -> Iterator[None]:
        """What the studies of this scene need around them."""
        yield


class Nodes(Scene):
    """Studies on a cluster of two nodes with one CPU each, tracked by a server of MLflow."""

    def _node(self, running: Command) -> bool:
        say("  kill the second node")
        for process in self.processes_of_second():
            process.kill()
        time.sleep(self.world.random.uniform(0.0, 15.0))
        self.add_node()
        return False

    def _freeze(self, running: Command) -> bool:
        frozen, gone = self.processes_of_second(), self.second
        manner = self.world.random.choice(("thawed soon", "thawed when dead", "killed when dead"))
        say(f"  freeze the second node, to be {manner}")
        for process in frozen:
            process.suspend()
        if manner == "thawed soon":
            time.sleep(4.0)
        else:
            wait_for(lambda: not self.is_alive(gone), SECONDS["death"], "a frozen node counts as dead")
            self.add_node()
        for process in frozen:
            with contextlib.suppress(psutil.Error):
                process.kill() if manner == "killed when dead" else process.resume()
        return False

    def _mlflow(self, running: Command) -> bool:
        self.restart.join(SECONDS["server"])
        say("  kill MLflow's server")
        self.server.kill()
        delay = self.world.random.uniform(0.0, 20.0)

        def start_again() -> None:
            time.sleep(delay)
            self.server.start()

        self.restart = threading.Thread(target=start_again, daemon=True)
        self.restart.start()
        return False

    def check(self) -> None:
        self.restart.join(SECONDS["server"])
        assert not self.restart.is_alive(), "MLflow's server did not start again"
        super().check()

    def processes_of_second(self) -> list[psutil.Process]:
        (raylet,) = self.second.all_processes["raylet"]
        above = psutil.Process(raylet.process.pid)
        return [above, *above.children(recursive=True)]

    def is_alive(self, node: Any) -> bool:
        return any(n["NodeID"] == node.node_id and n["Alive"] for n in self.cluster.global_state.node_table())

    def add_node(self) -> None:
        self.second = self.start_node(num_cpus=1)

    def start_node(self, **arguments: Any) -> Any:
        node = self.cluster.add_node(wait=False, include_dashboard=False, **arguments)
        wait_for(lambda: self.is_alive(node), SECONDS["death"], "a node joins the cluster")
        return node

    @contextmanager
    def stage(self) -> Iterator[None]:
        from ray.cluster_utils import Cluster

        from tests.study.tracking.conftest import Server

        (self.world.folder / "mlflow").mkdir(exist_ok=True)
        self.server = Server(self.world.folder / "mlflow")
        self.restart = threading.Thread(target=self.server.start, daemon=True)
        self.restart.start()
        self.uri = self.server.uri
        temporary = Path(tempfile.mkdtemp(prefix="chaos-ray-"))
        (temporary / "ray").mkdir()
        os.environ["RAY_TMPDIR"] = str(temporary)  # where the cluster writes its address, whatever `temp_dir` is
        self.cluster = Cluster()
        try:
            self.start_node(num_cpus=1, resources={"trial_driver": 1000}, _system_config=HEALTH)
            self.address = ("--address", self.cluster.address)
            self.add_node()
            self.restart.join(SECONDS["server"])
            yield
        finally:
            self.cluster.shutdown()
            self.restart.join(SECONDS["server"])
            self.server.kill()
            shutil.rmtree(temporary, ignore_errors=True)


class Confirm(Nodes):
    """A finished study's confirmation, beside which nothing else can be disturbed."""

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes.world, "confirm")
        self.nodes = nodes
        self.server, self.cluster, self.restart = nodes.server, nodes.cluster, nodes.restart
        self.uri, self.address = nodes.uri, nodes.address

    @property
    def study(self) -> str:
        return self.nodes.study

    def start(self) -> Command:
        self.world.work.unlink(missing_ok=True)
        self.drivers = 1
        say(f"confirm {self.study}")
        return self.again()

    def again(self) -> Command:
        return self.command("confirm", self.study)

    def events(self) -> int:
        record = read_study(self.ledger)
        return sum(t.attempts + len(t.reports) for t in record.trials.values() if t.phase == "confirm")

    def expected(self) -> int:
        from study.execution.confirm import plan

        return self.world.trials + len(plan(self.config(), read_study(self.ledger)))

    def check(self) -> None:
        import pandas as pd

        super().check()
        frame = pd.read_parquet(self.ledger.with_name("results.parquet"))
        rows = len(frame.groupby(["configuration", "seed"]))
        assert rows == self.expected() - self.world.trials, f"results.parquet has {rows} trials"

    def may_begin(self) -> bool:
        return not self.events()


class Pairs(Nodes):
    """Trials of two workers, one on each node."""

    workers = 2


def deal(faults: int, kinds: set[str], draw: random.Random) -> dict[str, list[str]]:
    """Scene -> its faults in the order in which they come."""
    chosen = [(scene, kind) for scene, kind in PLAN if kind in kinds]
    dealt: dict[str, list[str]] = {}
    for at in range(faults):
        scene, kind = chosen[at % len(chosen)]
        dealt.setdefault(scene, []).append(kind)
    for each in dealt.values():
        draw.shuffle(each)
    return dealt


def campaign(world: World, dealt: dict[str, list[str]]) -> None:
    """All the faults. Raises AssertionError at the first study that is not what it must be."""
    if "local" in dealt:
        Scene(world, "local").suffer(dealt["local"])
        world.no_orphans()
    if "nodes" in dealt or "confirm" in dealt:
        nodes = Nodes(world, "nodes")
        with nodes.stage():
            nodes.suffer(dealt.get("nodes", []) or ["driver"])
            if "confirm" in dealt:
                Confirm(nodes).suffer(dealt["confirm"])
    if "pairs" in dealt:
        pairs = Pairs(world, "pairs")
        with pairs.stage():
            pairs.suffer(dealt["pairs"])
    world.no_orphans()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 3 GB at `folder`, where one may be mounted; after a failure it stays, to be looked at."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3g", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--faults", type=int, default=len(PLAN))
    parser.add_argument("--trials", type=int, default=6, help="of each study")
    parser.add_argument("--kinds", default=",".join(sorted({kind for _, kind in PLAN})), help="separated by commas")
    parser.add_argument("--scenes", default="local,nodes,confirm,pairs", help="separated by commas")
    arguments = parser.parse_args()
    if os.getsid(0) != os.getpid():  # all that is ours is known by its session
        sys.exit(
            subprocess.run(
                [sys.executable, "-m", "tests.chaos.cluster", *sys.argv[1:]], start_new_session=True
            ).returncode
        )
    print(f"seed {arguments.seed}", flush=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    world = World(folder, arguments.seed, arguments.trials)
    trace = str(Path(__file__).with_name("trace"))
    path = os.pathsep.join(filter(None, [trace, str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    os.environ |= {"CHAOS_WORK": str(world.work), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    scenes = set(arguments.scenes.split(","))
    dealt = deal(arguments.faults, set(arguments.kinds.split(",")), world.random)
    try:
        with small_disk(world.root):
            campaign(world, {scene: faults for scene, faults in dealt.items() if scene in scenes})
    except BaseException:
        print(f"seed {arguments.seed} broke; everything is in {folder}", flush=True)
        for process in world.orphans():
            with contextlib.suppress(psutil.Error):
                process.kill()
        raise
    shutil.rmtree(folder, ignore_errors=True)
    for what, count in sorted(world.counts.items()):
        print(f"{count:6d}  {what}")
    injected = sum(count for what, count in world.counts.items() if ":" in what)
    print(f"{injected:6d}  faults in {world.counts['studies']} studies, {time.monotonic() - started:.0f} s")
    print(json.dumps({"seed": arguments.seed, "faults": injected, "live": world.live, **world.counts}))


if __name__ == "__main__":
    main()
