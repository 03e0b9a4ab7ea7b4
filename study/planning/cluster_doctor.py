"""What a Ray cluster has and lacks for studies: the part of `study doctor` that asks its machines."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray._private.worker import get_dashboard_url
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.execution.cluster import cluster, machines
from study.execution.concurrency import GROWING, concurrency, concurrency_words
from study.planning.finding import Finding
from study.question.config import ScalingConfig, StudyConfig
from study.record import roots
from trainables import devices
from trainables.devices import Device
from trainables.errors import UserError
from trainables.storage.store import Store, is_uri

ANSWER_SECONDS = 90.0
"""Time in which a machine must answer: a first answer starts a process there."""

CLOCK_SECONDS = 2.0
"""Difference between clocks that is nothing to speak of."""

SAME = ("ray", "torch", "transformers")
"""Packages that must have one version on all machines."""

INSTALL = "install this project there, with its constraints.txt"


def examine(address: str, root: Path, config: StudyConfig | None) -> list[Finding]:
    """Everything there is to say about the cluster at an address, a root on it, and what a study needs of it."""
    cards: list[Device] = []
    try:
        with cluster(address, lambda process: None):
            scaling = None if config is None else config.scaling
            findings = [*_ray(address), *_trials(scaling), *_access(), *_machines(root, cards)]
            return [*findings, *_fits(config, cards)]
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        cure = "start it (docs/clusters.md); where it asks for a token: export RAY_AUTH_MODE=token"
        return [Finding("failure", "ray", f"no cluster at {address}: {first}", cure)]


def _ray(address: str) -> Iterator[Finding]:
    resources = ray.cluster_resources()
    alive = sum(node["Alive"] for node in ray.nodes())
    machines = f"{alive} machine{'s' if alive > 1 else ''}"
    has = f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
    yield Finding("ok", "cluster", f"{machines} at {address}: {has}{', and it grows' * (GROWING in resources)}")
    if "trial_driver" not in resources:
        cure = """ray start --head --resources '{"trial_driver": 1000}'"""
        yield Finding("failure", "trial drivers", "no machine has the resource trial_driver, which places them", cure)


def _trials(scaling: ScalingConfig | None) -> Iterator[Finding]:
    if scaling is None:
        return
    try:
        at_once = concurrency(scaling, machines())
    except UserError as error:
        cure = "more or larger machines, or smaller scaling.…_per_trial and …_per_worker"
        yield Finding("failure", "trials", error.lines[0], cure)
    else:
        yield Finding("ok", "trials", concurrency_words(scaling, at_once))


def _fits(config: StudyConfig | None, cards: Sequence[Device]) -> Iterator[Finding]:
    """Whether a study's trials fit the cards of the cluster, where they use any and it has them by now."""
    if config is not None and config.scaling.gpus_per_worker and cards:
        from study.planning import fits

        yield fits.examine(config, cards, 1)


def _access() -> Iterator[Finding]:
    """Whether the dashboard is there, and lets in who shows no token."""
    url = get_dashboard_url()
    if not url:
        cure = "ray start --head --include-dashboard=true"
        yield Finding("warning", "dashboard", "none: no jobs can be submitted, no pages seen", cure)
        return
    yield Finding("ok", "dashboard", f"http://{url}")
    try:
        with urllib.request.urlopen(f"http://{url}/api/jobs/", timeout=10):
            found, cure = "none: who reaches the dashboard can run commands", "RAY_AUTH_MODE=token for each ray start"
            yield Finding("warning", "authentication", found, cure)
    except urllib.error.HTTPError as error:
        refused = error.code in (401, 403)
        found = "who shows no token is refused" if refused else f"the dashboard answers {error.code}"
        yield Finding("ok" if refused else "warning", "authentication", found, "" if refused else "see its log")
    except OSError:
        yield Finding("ok", "authentication", "the dashboard cannot be reached from this machine")


def look(probe: str) -> dict[str, Any]:
    """What a machine says of itself; leaves the file `probe`: its absolute path, or its URI. Runs there."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    problem = None
    try:
        if is_uri(probe):
            Store(probe).write("", b"")
        else:
            Path(probe).touch(exist_ok=False)
    except OSError as error:
        problem = error.strerror or str(error)
    return {
        "versions": {name: version(name) for name in SAME},
        "open_token": token.exists() and bool(token.stat().st_mode & 0o077),
        "unwritable": problem,
        "cards": _cards(),
    }


def _cards() -> list[Device]:
    """GPUs of this machine, as its driver has them."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    return devices.reported(subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False).stdout)


def look_again(probes: Sequence[str]) -> dict[str, Any]:
    """This machine's time, and which of the files that all have left it does not see. Runs there."""
    return {"time": time.time(), "unseen": [probe for probe in probes if not _is_there(probe)]}


def _is_there(probe: str) -> bool:
    if not is_uri(probe):
        return Path(probe).exists()
    try:
        Store(probe).read("")
    except OSError:
        return False
    return True


def _machines(root: Path, cards: list[Device]) -> Iterator[Finding]:
    """What each machine says of itself, and whether all of them share the root. Appends to `cards` all there are."""
    nodes = {n["NodeID"]: f"{n['NodeManagerHostname']} ({n['NodeManagerAddress']})" for n in ray.nodes() if n["Alive"]}
    gpus = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]}
    folder = root.absolute()
    is_new = not folder.exists()
    mark = uuid.uuid4().hex[:8]
    store = roots.store(root)
    place = (lambda name: str(folder / name)) if store is None else (lambda name: (store / name).uri)
    probes = {node: place(f".doctor-{mark}-{node[:8]}") for node in nodes}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # said of the root already
    try:
        said: dict[str, Any] = {}
        for node, name in nodes.items():
            answer = _ask(node, look, probes[node])
            if isinstance(answer, Finding):
                yield Finding("failure", name, answer.found, answer.cure)
            else:
                said[node] = answer
                cards += answer["cards"]
                yield from _told(name, answer, gpus[node])
        unwritable = [nodes[node] for node, answer in said.items() if answer["unwritable"]]
        written = [probes[node] for node, answer in said.items() if not answer["unwritable"]]
        unseen = list(unwritable)
        for node in said:
            before = time.time()
            answer = _ask(node, look_again, written)
            after = time.time()
            if isinstance(answer, Finding):
                yield Finding("failure", nodes[node], answer.found, answer.cure)
                continue
            unseen += [nodes[node]] if answer["unseen"] and nodes[node] not in unseen else []
            apart = abs(answer["time"] - (before + after) / 2) - (after - before) / 2
            if apart > CLOCK_SECONDS:
                found = f"its clock differs by {apart:.0f} s, and the times of a study with it"
                yield Finding("warning", nodes[node], found, "an NTP client, such as chrony, on every machine")
        if unseen:
            found = f"{roots.shown(folder)} is not writable, or another folder, on {', '.join(sorted(unseen))}"
            cure = "a folder that all machines mount, such as NFS" if store is None else "credentials on every machine"
            yield Finding("failure", "shared root", found, cure)
        elif said:
            yield Finding(
                "ok", "shared root", f"{roots.shown(folder)}, written by all {len(said)} machines and seen by all"
            )
    finally:
        for probe in probes.values():
            with suppress(OSError):
                Store(probe).remove("") if is_uri(probe) else Path(probe).unlink()
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _told(name: str, answer: Mapping[str, Any], gpus: int) -> Iterator[Finding]:
    """What is wrong with one machine, or that nothing is."""
    findings = []
    other = [f"{n} {there}" for n, there in answer["versions"].items() if there != version(n)]
    if other:
        findings.append(Finding("failure", name, f"has {', '.join(other)}, this machine another", INSTALL))
    if answer["open_token"]:
        findings.append(Finding("warning", name, "others can read its token", "chmod 600 ~/.ray/auth_token"))
    cards: list[Device] = answer["cards"]
    if len(cards) != gpus:
        found = f"its driver counts {len(cards)} GPUs, Ray {gpus}"
        findings.append(Finding("warning", name, found, "start Ray there with --num-gpus"))
    yield from findings or [Finding("ok", name, f"the same versions, {gpus} GPUs")]
    yield from (Finding("ok", f"{name} gpu {number}", devices.words(card)) for number, card in enumerate(cards))


def _ask(node: str, question: Any, argument: Any) -> Any:
    """The answer of a machine, or a finding without a name where it gives none."""
    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(question)
    try:
        return ray.get(task.remote(argument), timeout=ANSWER_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return Finding("failure", "", f"no answer within {ANSWER_SECONDS:.0f} s", "look at its logs, or start it anew")
    except (ray.exceptions.RayError, ImportError) as error:
        return Finding("failure", "", str(error).strip().splitlines()[-1], INSTALL)
