"""The Ray that a study runs on: a local cluster of this process's own, or the one at an address."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import ray

from trainables import machine
from trainables.background import Background
from trainables.environment import environment, past_proxies
from trainables.errors import UserError
from trainables.storage.scratch import scratch, socket_folder

SCRATCH = "study-ray"
"""How the scratch folders in the temp folder begin; the process's number follows."""

STARTS = 3
"""Attempts at starting a local Ray."""

ESSENTIAL = ("raylet", "gcs_server")
"""Processes without which a local cluster does not live."""

WATCH_SECONDS = 1.0
"""How often the processes of a local cluster are looked at."""

MACHINES_SECONDS = 5.0
"""How often the machines of a cluster are counted."""

END_SECONDS = 5.0
"""Time that the processes of a local cluster have to end by themselves after its shutdown; they need less than one."""

ENVIRONMENT = {
    # How often a worker group is looked at (default 2 s): fresh workers wait for it once a trial, and it costs CPU.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # Trial drivers start side by side, where Ray would start one at a time; the searcher says how many there are.
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TOKENIZERS_PARALLELISM": "false",
}

LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # One process less for each worker group: nobody announces the preemption of the machine one sits at.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Ray's own metrics are for its dashboard, of which nothing can be looked at here.
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}

UNHEARD = {"PYTHONWARNINGS": ""}
"""What is meant for one's own program: Ray's processes die at their start of a warning made an error."""

LOCAL_PARAMETERS = {"no_monitor": True, "include_log_monitor": False}
"""One machine needs no autoscaler, and nobody hears what the reader of the workers' logs would publish: two processes
less, one of which wakes up ten times a second."""


@contextmanager
def cluster(address: str | None, lost: Callable[[str], object]) -> Iterator[Path]:
    """A connection to Ray: a local cluster of this process's own, or the one at `address`. Yields a scratch folder.

    Everything a local cluster leaves in the temp folder is removed at the end; a killed process's by the next one.
    `lost` hears the name of an essential process of a local cluster that has died: Ray ends this process soon after,
    raylet in seconds and gcs_server in about a minute, and leaves no time to say a word then.
    """
    mine = psutil.Process()
    before, started = set(mine.children()), list[psutil.Process]()
    variables = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()} | UNHEARD
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    with (
        environment(variables | past_proxies(), also=["PYTHONBREAKPOINT"]),
        _staying_local() if address is None else nullcontext(),
        scratch(SCRATCH, socket_folder() if address is None else None) as folder,
    ):
        try:
            if address is None:
                _start_ray(
                    address="local",  # whatever RAY_ADDRESS says
                    num_cpus=machine.cpus(),
                    resources={"trial_driver": 1000.0},
                    include_dashboard=False,
                    _temp_dir=str(folder),
                    **quiet,
                )
                started = [each for each in mine.children() if each not in before]
            else:
                ray.init(address=address, runtime_env={"env_vars": variables}, **quiet)
            with Background("ray-watch", partial(_watch, _essential(started), lost)) if started else nullcontext():
                yield folder
        finally:
            theirs = [*started, *_children(started)]
            ray.shutdown()
            _end(theirs)


def machines() -> list[dict[str, float]]:
    """The resources of each machine of the cluster that is connected to, as it was started."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def watched_machines(say: Callable[[str], object]) -> Iterator[None]:
    """Within, `say` hears of every machine that leaves the cluster that is connected to, or joins it."""
    with Background("machines", partial(_compare_machines, _alive(), say)):
        yield


def _alive() -> dict[str, str]:
    """Where each machine of the cluster is reached, by its number in Ray."""
    return {node["NodeID"]: str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}


def _compare_machines(before: Mapping[str, str], say: Callable[[str], object], thread: Background) -> None:
    while thread.wait(MACHINES_SECONDS):
        try:
            now = _alive()
        except (ray.exceptions.RayError, ConnectionError):
            continue  # of a head that is lost Ray itself tells, and ends this process
        for these, verb in (
            ([before[n] for n in before if n not in now], "gone"),
            ([now[n] for n in now if n not in before], "come"),
        ):
            if these:
                who = f"{len(these)} machines have" if len(these) > 1 else "a machine has"
                there = f"{len(now)} machines are" if len(now) > 1 else "1 machine is"
                say(f"{who} {verb} ({', '.join(these)}), {there} there")
        before = now


def _children(processes: Iterable[psutil.Process]) -> Iterator[psutil.Process]:
    """All that are under others."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield from process.children(recursive=True)


def _end(processes: list[psutil.Process]) -> None:
    """Kill those that are still there: a worker of Ray's that leaves may hang in its own exit, known to nobody."""
    _, left = psutil.wait_procs(processes, END_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _essential(started: Iterable[psutil.Process]) -> dict[psutil.Process, str]:
    """Those that the cluster cannot do without, by their names while they run."""
    return {process: name for process in started for name in ESSENTIAL if name in _name(process)}


def _watch(essential: Mapping[psutil.Process, str], lost: Callable[[str], object], thread: Background) -> None:
    while thread.wait(WATCH_SECONDS):
        for process, name in essential.items():
            if _name(process) == "" and not thread.over:
                lost(name)
                return


def _name(process: psutil.Process) -> str:
    """Of a process that runs; nothing of one that has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _start_ray(**arguments: Any) -> None:
    """A local cluster. Ray gives its own processes half a minute to come up, which a busy machine may exceed."""
    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    for left in range(STARTS - 1, -1, -1):
        try:
            with _small():
                ray.init(**arguments)
            return
        except Exception as error:
            for process in set(mine.children(recursive=True)) - before:  # Ray leaves them until this process ends
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if not left:
                raise UserError(f"ray: it did not start in {STARTS} attempts; is the machine very busy?") from error


@contextmanager
def _small() -> Iterator[None]:
    """Within, a cluster is started with LOCAL_PARAMETERS, for which `ray.init` has no arguments, and without what is
    left of a dashboard that is not included, which nobody asks for anything.

    A Ray that has them elsewhere starts all its processes.
    """
    with (
        _set("ray._private.parameter", "RayParams", lambda usual: partial(usual, **LOCAL_PARAMETERS)),
        _set("ray._private.services", "start_api_server", lambda usual: lambda *_, **__: (None, None)),
        _set("ray._private.utils", "get_dashboard_dependency_error", lambda usual: lambda: ImportError("left out")),
    ):
        yield


@contextmanager
def _set(module: str, name: str, value: Callable[[Any], Any]) -> Iterator[bool]:
    """Within, a private name of Ray's is what `value` makes of it; whether this Ray has it."""
    try:
        there = import_module(module)
        usual = getattr(there, name)
    except (ImportError, AttributeError):
        yield False
        return
    setattr(there, name, value(usual))
    try:
        yield True
    finally:
        setattr(there, name, usual)


@contextmanager
def _staying_local() -> Iterator[None]:
    """Within, a local cluster listens on loopback only, and keeps its token out of the home folder (readable there)."""
    has_token = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    token = {} if has_token else {"RAY_AUTH_TOKEN": _token()}
    # Ray turns 127.0.0.1 into the machine's address unless it takes itself to be confined to one machine. It read the
    # variable in LOCAL_ENVIRONMENT when it was imported; its child processes read it later.
    # Trial drivers inherit all variables here. To be handed some, their processes would start twice.
    with (
        environment(LOCAL_ENVIRONMENT | token, also=["RAY_AUTH_MODE"]),
        _set("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", lambda usual: False),
        _set("ray.tune.execution.class_cache", "DEFAULT_ENV_VARS", lambda usual: {}),
        _set("ray.tune.execution.class_cache", "ENV_VARS_TO_PROPAGATE", lambda usual: ()),
    ):
        yield


@cache
def _token() -> str:
    """One for all local clusters of this process, which reads it once."""
    return secrets.token_hex(32)
