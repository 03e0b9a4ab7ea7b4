"""Faults on the seam: drivers of simulated studies killed at any moment, on disks that fill up.

``python -m tests.chaos.seam --seed 7 --faults 1000`` injects faults into every write of the ledger and every step
around it; ``--kills 100`` kills real processes with SIGKILL. The same seed injects the same faults again.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from study.execution.retry import reopen
from study.execution.simulation import Simulated
from study.execution.trials import Proposal, Trials
from study.question.config import StudyConfig
from study.record import ledger as ledger_module
from study.record.ledger import Ledger
from study.record.lines import Reading, read_events, read_study
from tests.chaos import invariants
from trainables.errors import UserError
from trainables.loading import validate
from trainables.scores import Evaluation

CONCURRENT = 3
STEPS, EVERY = 50, 10

SEARCHES: dict[str, dict[str, Any]] = {
    "tpe, median": {"sampler": "tpe", "pruner": "median"},
    "random, hyperband": {"sampler": "random", "pruner": "hyperband"},
    "conditional tpe, halving": {"sampler": "tpe", "space": "methods", "pruner": "successive_halving"},
    "sobol x 2 seeds": {"mode": "design", "sampler": "sobol", "replicates": 2},
    "nsga2, two objectives": {
        "sampler": "nsga2",
        "objectives": [{"reduce": "source"}, {"reduce": "cost:forward_equivalents", "direction": "minimize"}],
    },
    "tpe, constraint": {"sampler": "tpe", "objectives": [{"reduce": "source"}, {"reduce": "source", "threshold": 0.6}]},
}
"""The studies that suffer."""


class Killed(BaseException):
    """The driver's process ends here."""


def study(search: dict[str, Any], trials: int) -> StudyConfig:
    """A small study of one of `SEARCHES`."""
    trial = {
        "perturbation": {"method": "adversarial"},
        "evaluation": {"every": EVERY},
        "training": {"budget": {"steps": STEPS}},
    }
    data = {"name": "chaos", "trial": trial, "search": {"space": "adversarial", "trials": trials, **search}}
    return validate(StudyConfig, data)


def trainable() -> Simulated:
    """Height by the radius, noise by step."""
    return Simulated(
        lambda trial: 0.9 - 0.1 * abs(math.log(max(trial.perturbation.epsilon, 1e-3) / 0.2)),
        languages=("en", "de", "sw"),
        steps=STEPS,
        every=EVERY,
        noise=0.02,
        cost=lambda trial: 3.0 + 2.0 * trial.perturbation.ascent_steps,
    )


@dataclass
class World:
    """What outlives a driver: the ledger, the workers' checkpoints, and a log of the work that was really done."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def checkpoint(self, number: int) -> int:
        """Step of a trial's last checkpoint."""
        path = self.folder / f"checkpoint-{number}"
        return int(path.read_text(encoding="ascii")) if path.exists() else 0

    @property
    def left(self) -> set[int]:
        """Trials that have a checkpoint."""
        return {int(path.name.partition("-")[2]) for path in self.folder.glob("checkpoint-*") if not path.suffix}

    def restart(self, number: int) -> None:
        self.log("restarted", number)
        (self.folder / f"checkpoint-{number}").unlink(missing_ok=True)

    def save(self, number: int, step: int) -> None:
        aside = self.folder / f"checkpoint-{number}.aside"
        aside.write_text(str(step), encoding="ascii")
        aside.replace(self.folder / f"checkpoint-{number}")

    def log(self, *words: object) -> None:
        with (self.folder / "work").open("a", encoding="ascii") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def logged(self, kind: str) -> list[tuple[int, ...]]:
        path = self.folder / "work"
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        return [tuple(map(int, line.split()[1:])) for line in lines if line.startswith(f"{kind} ")]


class Fate:
    """Decides when the next fault comes, and which; counts them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.left = 0
        self.armed = False

    def arm(self) -> None:
        """The next fault comes within this many operations: rarely at once, sometimes late in the study."""
        self.left, self.armed = self.random.choice((3, 20, 60, 150)), True
        self.left = self.random.randint(1, self.left)

    def strikes(self) -> bool:
        """Whether the present operation is the one."""
        self.left -= 1
        return self.armed and self.left == 0

    def passing(self, where: str) -> None:
        """A place between two operations at which the process may end."""
        if self.strikes():
            self.kill(where)

    def kill(self, where: str) -> None:
        self.counts[where] += 1
        raise Killed


class Disk:
    """`os` for the ledger: writes may be torn or fail, and the process may end before or after each."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.fate.strikes():
            return os.write(descriptor, data)
        part = data[: self.fate.random.randrange(1, len(data))]
        match self.fate.random.choice(("before", "torn", "after", "full", "full, then killed")):
            case "before":
                self.fate.kill("killed before a write")
            case "torn":
                os.write(descriptor, part)
                self.fate.kill("killed within a write")
            case "after":
                os.write(descriptor, data)
                self.fate.kill("killed after a write")
            case "full":
                os.write(descriptor, part)
                self.fate.counts["disk full within a write"] += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case _:
                os.write(descriptor, part)
                self.fate.left = 1  # strikes at the truncation that follows
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise AssertionError

    def fsync(self, descriptor: int) -> None:
        """Costs an operation and no time: what is lost here are processes, not power."""
        if self.fate.strikes():
            if self.fate.random.random() < 0.5:
                self.fate.kill("killed after a sync")
            self.fate.counts["disk error at a sync"] += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def ftruncate(self, descriptor: int, length: int) -> None:
        if self.fate.strikes():
            if self.fate.random.random() < 0.5:
                os.ftruncate(descriptor, length)
            self.fate.kill("killed while a full disk was cleaned up")
        os.ftruncate(descriptor, length)


@dataclass
class Worker:
    """A simulated worker group: resumes from its checkpoint, whose evaluation it reports again."""

    proposal: Proposal
    attempt: int
    step: int
    unheard: list[Evaluation] = field(default_factory=list)


class Driver:
    """One life of a driver, over a world and its fate."""

    def __init__(self, config: StudyConfig, world: World, fate: Fate) -> None:
        self.config, self.world, self.fate = config, world, fate
        self.trainable = trainable()
        self.workers: dict[int, Worker] = {}
        self.zombies: list[tuple[int, int, Evaluation]] = []
        self.ledger: Ledger | None = None
        self.retried: set[int] = set()

    def run(self, retry: bool = False) -> None:
        """Until the budget is met, or the fault; `retry`: failed trials once more."""
        self.ledger = Ledger.open(self.world.ledger)
        reading = Reading(self.world.ledger)
        record = reading.update()
        if retry:
            failed = [t.number for t in record.trials.values() if t.state == "FAIL"]
            for number in failed:
                self.world.log("reopened", number)
            record = reopen(self.ledger, reading, self.world, failed)  # type: ignore[arg-type]
        self.retried = {t.number for t in record.trials.values() if t.retries}
        trials = Trials(self.config, self.ledger, record)
        while True:
            while len(self.workers) < CONCURRENT and (proposal := trials.ask()) is not None:
                self.fate.passing("killed after asking")
                self.start(trials, proposal, proposal.attempt)
            if not self.workers:
                break
            self.turn(trials, self.workers[self.fate.random.choice(sorted(self.workers))])
        self.ledger.close()

    def start(self, trials: Trials, proposal: Proposal, attempt: int) -> None:
        number = proposal.number
        trials.started(number, attempt)
        self.world.log("started", number)
        step = self.world.checkpoint(number)
        known = [self.evaluate(proposal, step)] if step else []
        self.workers[number] = Worker(proposal, attempt, step, known)

    def turn(self, trials: Trials, worker: Worker) -> None:
        """One thing happens to one trial."""
        number = worker.proposal.number
        if not worker.unheard:
            self.train(worker)
            if self.fate.random.random() < 0.3:
                return  # the worker is ahead of the driver, and waits for its verdict
        if self.fate.random.random() < 0.05:
            self.lose(trials, worker)
            return
        if self.zombies and self.fate.random.random() < 0.3:
            self.haunt(trials)
        evaluation = worker.unheard.pop(0)
        verdict = trials.report(number, worker.attempt, evaluation)
        self.fate.passing("killed after a report")
        is_new = number not in self.retried
        is_lost = is_new and number % 11 == 3 and evaluation.step == 3 * EVERY
        if is_lost or verdict == "stop" or evaluation.final:
            error = "ValueError: planned" if number % 11 == 7 and is_new else None
            trials.finish(number, worker.attempt, "its workers were lost 3 times" if is_lost else error)
            self.world.log("finished", number)
            self.fate.passing("killed after an end")
            del self.workers[number]

    def train(self, worker: Worker) -> None:
        number, step = worker.proposal.number, worker.step + EVERY
        self.world.log("trained", number, step)
        self.fate.passing("killed before a checkpoint")
        self.world.save(number, step)
        self.fate.passing("killed after a checkpoint")
        worker.step = step
        worker.unheard.append(self.evaluate(worker.proposal, step))

    def evaluate(self, proposal: Proposal, step: int) -> Evaluation:
        evaluation = self.trainable.evaluate(proposal.trial, step)
        if proposal.number % 13 == 5 and evaluation.final:
            return replace(evaluation, training={"loss": math.nan})
        return evaluation

    def lose(self, trials: Trials, worker: Worker) -> None:
        """Its processes are lost: the next attempt starts, and what the old one still says comes too late."""
        self.fate.counts["worker lost"] += 1
        number = worker.proposal.number
        self.zombies += [(number, worker.attempt, e) for e in worker.unheard]
        self.world.log("lost", number)
        self.start(trials, worker.proposal, worker.attempt + 1)

    def haunt(self, trials: Trials) -> None:
        number, attempt, evaluation = self.zombies.pop()
        size = self.world.ledger.stat().st_size
        assert trials.report(number, attempt, evaluation) == "stop", "an old attempt was let go on"
        assert trials.finish(number, attempt) is None, "an old attempt ended a trial"
        assert self.world.ledger.stat().st_size == size, "an old attempt was recorded"

    def die(self) -> None:
        """What the kernel does for a process that ended: descriptors are closed, and that drops the lock."""
        if self.ledger is not None:
            for holder in (self.ledger, self.ledger._claim):
                if holder._descriptor >= 0:
                    os.close(holder._descriptor)
                    holder._descriptor = -1


@contextmanager
def failing_disk(fate: Fate) -> Iterator[None]:
    """The ledger's disk is at the mercy of `fate`."""
    with patch.object(ledger_module, "os", Disk(fate)):
        yield


def suffer(config: StudyConfig, world: World, fate: Fate, lives: int, retry: bool = False) -> int:
    """Run a study whose driver ends in a fault `lives` times, and then to its end; returns the lives it took.

    `retry`: it has ended, and the first driver runs its failed trials again.
    """
    taken = 0
    with failing_disk(fate):
        while True:
            if taken < lives:
                fate.arm()
            else:
                fate.armed = False
            driver = Driver(config, world, fate)
            try:
                driver.run(retry and not taken)
            except Killed:
                taken += 1
                driver.die()
            except UserError as error:
                if "cannot be written" not in str(error):
                    raise
                taken += 1
                if driver.ledger is not None:
                    driver.ledger.close()
            else:
                return taken


def violations(config: StudyConfig, world: World) -> list[str]:
    """What is wrong with a study that came to its end through faults."""
    record = read_study(world.ledger)
    return [
        *invariants.events(read_events(world.ledger)),
        *invariants.trials(record, config.search.trials, range(EVERY, STEPS + 1, EVERY)),
        *_work_violations(world),
        *invariants.proposer(config, record),
    ]


def _work_violations(world: World) -> Iterator[str]:
    """No finished trial run again unless it is retried; at most one interval redone for each interruption."""
    path = world.folder / "work"
    over: set[int] = set()
    restarted: Counter[int] = Counter()
    starts: Counter[int] = Counter()
    trained: Counter[tuple[int, int]] = Counter()
    for line in path.read_text(encoding="ascii").splitlines():
        kind, number, *step = line.split()[0], *map(int, line.split()[1:])
        anew = number + 1000 * restarted[number]  # what begins from nothing is another trial here
        if kind == "finished":
            over.add(number)
        elif kind == "reopened":
            over.discard(number)
        elif kind == "restarted":
            restarted[number] += 1
        elif number in over:
            yield f"trial {number} was {kind} after its end"
        elif kind == "started":
            starts[anew] += 1
        elif kind == "trained":
            trained[anew, step[0]] += 1
    yield from invariants.redone(starts, trained, 1)


def campaign(seed: int, faults: int, trials: int = 14, lives: int = 14) -> tuple[Counter[str], int]:
    """Studies one after another until so many faults were injected; returns their counts and the number of studies.

    Raises AssertionError naming the seed of the study that broke.
    """
    counts: Counter[str] = Counter()
    studies = 0
    while sum(counts.values()) < faults:
        name = list(SEARCHES)[studies % len(SEARCHES)]
        fate = Fate(seed + studies)
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            config = study(SEARCHES[name], trials)
            suffer(config, world, fate, lives)
            wrong = violations(config, world)
            suffer(config, world, fate, lives // 3, retry=True)
            wrong += violations(config, world)
        assert not wrong, f"seed {seed + studies} ({name}): " + "; ".join(wrong)
        counts += fate.counts
        studies += 1
    return counts, studies


def killed_processes(seed: int, kills: int, trials: int = 30) -> int:
    """A driver as a real process, killed by SIGKILL after a random time, again and again; returns the studies run."""
    draw = random.Random(seed)
    studies = done = 0
    while done < kills:
        name = list(SEARCHES)[studies % len(SEARCHES)]
        with tempfile.TemporaryDirectory() as folder:
            config, world = study(SEARCHES[name], trials), World(Path(folder))
            life = 0
            while True:
                life += 1
                pid = os.fork()
                if pid == 0:
                    _child(config, world, seed * 1_000_003 + life)
                if done < kills:
                    time.sleep(draw.uniform(0.0, 0.25))
                    os.kill(pid, signal.SIGKILL)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                done += status == -signal.SIGKILL
                assert status in (0, -signal.SIGKILL), f"seed {seed}: a driver ended with {status}"
                if status == 0:
                    break
            wrong = violations(config, world)
        assert not wrong, f"seed {seed} ({name}): " + "; ".join(wrong)
        studies += 1
    return studies


def _child(config: StudyConfig, world: World, seed: int) -> None:
    try:
        Driver(config, world, Fate(seed)).run()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    parser.add_argument("--faults", type=int, default=1000, help="faults injected into writes and between steps")
    parser.add_argument("--kills", type=int, default=100, help="processes killed by SIGKILL")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    started = time.monotonic()
    counts, studies = campaign(arguments.seed, arguments.faults)
    for fault, count in counts.most_common():
        print(f"{count:6d}  {fault}")
    print(f"{sum(counts.values()):6d}  in {studies} studies, {time.monotonic() - started:.0f} s")
    if arguments.kills:
        studies = killed_processes(arguments.seed, arguments.kills)
        print(f"{arguments.kills:6d}  processes killed, in {studies} studies, {time.monotonic() - started:.0f} s")
    print(json.dumps({"seed": arguments.seed, **counts, "processes killed": arguments.kills}))


if __name__ == "__main__":
    main()
