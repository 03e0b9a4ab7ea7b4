"""What this machine has and lacks for studies: one line per finding, with the cure where one is needed."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from study.planning import needs
from study.planning.finding import Finding
from study.planning.preflight import root_problems
from study.question import catalogue, encoders
from study.question.config import StudyConfig
from study.record import roots
from study.record.version import DISTRIBUTION
from study.tracking.answers import reason
from study.tracking.server import public
from trainables import devices, machine
from trainables.devices import Device
from trainables.environment import environment, past_proxies
from trainables.errors import UserError
from trainables.model import adapters
from trainables.storage.cache import cache_root
from trainables.storage.scratch import socket_folder

CACHE_DISK = 3 * 2**30
"""Bytes that the embedded encoder and its tokenised data take while they are built."""

SMALLEST = "quickstart"
"""The recipe whose disk need is named."""

MEMORY = 4 * 2**30
"""Bytes that two small trials at a time need, with Ray's own processes."""


def examine(root: Path, config: StudyConfig | None = None, address: str | None = None) -> list[Finding]:
    """Everything there is to say about this machine, a studies' root, and what a study needs of them.

    Of a study on a cluster at an `address` trials run elsewhere: see `cluster_doctor`.
    """
    there = [devices.processor(), *devices.cards()]
    findings = [*_versions(config), script_tune(Path(sys.executable).parent), *_machine(there), _cache(), _root(root)]
    if config is not None:
        from study.planning import fits  # imports torch and transformers, and a study's start imports this module

        findings += tracking(config.tracking.uri)
        findings += [fits.examine(config, there, needs.at_once(config.scaling))] if address is None else []
    return findings


def report(findings: Sequence[Finding], as_json: bool = False) -> tuple[str, int]:
    """The findings as text, and the exit status: 1 if anything stands in the way of a study."""
    if as_json:
        text = json.dumps([asdict(f) for f in findings], ensure_ascii=False, indent=1)
    else:
        width = max(len(f.what) for f in findings)
        text = "\n".join(f"{f.level:<8} {f.what:<{width}}  {_words(f)}" for f in findings)
    return text, int(any(f.level == "failure" for f in findings))


def brief(config: StudyConfig, address: str | None = None) -> list[str]:
    """What may slow a study down or spoil it here, or was left out of it, in lines, found at no cost.

    What forbids it is for `preflight`.

    Of a study on a cluster this machine only has the driver.
    """
    findings = [f for f in _versions(config) if f.what != "installation"]
    if address is None:
        findings += [_memory(), _cache(), *_idle_gpus(config)]
    left_out = [f"arm {name} is left out: {why}" for name, why in config.search.left_out.items()]
    return [*left_out, *(f"{f.level}: {f.what}: {_words(f)}" for f in findings if f.level != "ok")]


def _words(finding: Finding) -> str:
    return f"{finding.found}{f' – {finding.cure}' if finding.cure else ''}"


def _versions(config: StudyConfig | None = None) -> Iterator[Finding]:
    """Installed packages against the ranges that this project asks for, and a study in particular."""
    yield Finding("ok", "python", ".".join(map(str, sys.version_info[:3])))
    try:
        wanted = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        yield Finding("warning", "installation", "this project is not installed", "make setup")
        return
    extra = "" if config is None else _extra(config)
    for need in wanted:
        if need.marker is not None and not need.marker.evaluate({"extra": extra}):
            continue
        is_extra = need.marker is not None and not need.marker.evaluate({"extra": ""})
        install = f"pip install '{DISTRIBUTION}[{extra}]'" if is_extra else "make setup"
        cure = f"{install} (needs {need.specifier})"
        try:
            installed = version(need.name)
        except PackageNotFoundError:
            yield Finding("failure", need.name, "not installed", cure)
            continue
        if not need.specifier.contains(installed, prereleases=True):
            yield Finding("failure", need.name, installed, cure)
        elif need.name in ("ray", "torch", "transformers", "optuna", "mlflow", adapters.LIBRARY):
            yield Finding("ok", need.name, installed)


def _extra(config: StudyConfig) -> str:
    """The extra of this project that a study needs, if it does."""
    try:
        trials = encoders.choices(config)
    except UserError:
        trials = [config.trial]  # what is wrong with the space is for `preflight`
    return adapters.EXTRA if any(trial.encoder.adapter.method in adapters.BY_LIBRARY for trial in trials) else ""


def script_tune(folder: Path) -> Finding:
    """Whether the script `tune` is ours: Ray installs one of the same name, and each of its updates puts it back."""
    script, cure = folder / "tune", "pip install --force-reinstall --no-deps -e ."
    if not script.exists():
        return Finding("warning", "tune", f"no such script in {folder}", cure)
    ours = "study.cli" in script.read_text(encoding="utf-8", errors="replace")
    if ours:
        return Finding("ok", "tune", "this project's, with Ray's commands")
    return Finding("warning", "tune", "Ray's own, without run", cure)


def _machine(found: Sequence[Device]) -> Iterator[Finding]:
    usual = Path(tempfile.gettempdir())
    try:
        there = socket_folder()
        elsewhere = f"{usual} is too long for Ray's sockets, which go to {there}"
        yield Finding("ok", "temporary files", str(usual) if there == usual else elsewhere)
    except UserError as error:
        yield Finding("failure", "temporary files", str(error), "export TMPDIR=/a/short/folder")
    yield Finding("ok", "cpus", machine.words() or str(machine.cpus()))
    yield from of_devices(found)
    yield _memory()


def of_devices(there: Sequence[Device]) -> Iterator[Finding]:
    """Each device: its memory, precisions and attention kernels."""
    cards = [device for device in there if device.kind == "cuda"]
    yield from (Finding("ok", "cpu", devices.words(device)) for device in there if device.kind == "cpu")
    yield from (Finding("ok", f"gpu {number}", devices.words(card)) for number, card in enumerate(cards))
    if not cards:
        yield Finding("ok", "gpus", "none, trials run on CPUs")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    enough = memory.available >= MEMORY
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    cure = "" if enough else "run one trial at a time: scaling.concurrent_trials=1"
    return Finding("ok" if enough else "warning", "memory", found, cure)


def _idle_gpus(config: StudyConfig) -> Iterator[Finding]:
    """Whether a study leaves this machine's GPUs alone."""
    if not config.scaling.gpus_per_worker and (count := needs.gpus()):
        yield Finding("warning", "gpus", f"{count} here, and trials run on CPUs", "scaling.gpus_per_worker=1")


def _cache() -> Finding:
    try:
        folder = cache_root()
    except UserError as error:
        return Finding("failure", "cache", str(error), "set STUDY_CACHE to a folder that can be written")
    free = shutil.disk_usage(folder).free
    enough = free >= CACHE_DISK
    cure = "" if enough else "set STUDY_CACHE to a larger disk"
    return Finding("ok" if enough else "warning", "cache", f"{folder}, {free / 2**30:.0f} GiB free", cure)


def tracking(uri: str | None) -> Iterator[Finding]:
    """Whether an MLflow server answers under the name that a study uses; says nothing where there is none to ask."""
    if uri is None or not uri.startswith(("http://", "https://")):
        return
    try:
        with (
            environment(past_proxies()),
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10),
        ):
            yield Finding("ok", "mlflow", f"{public(uri)} answers")
    except (OSError, ValueError) as error:
        words = f"error code {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error)
        problem = reason(OSError(words), uri)
        yield Finding("warning", "mlflow", f"{public(uri)} {problem}", "studies run without it, and send it all later")


def _root(root: Path) -> Finding:
    """Whether the studies' folder holds the smallest study there is."""
    try:
        need = needs.checkpoints(catalogue.study_config(SMALLEST)) or 0
    except UserError as error:
        return Finding("failure", "encoder", str(error), "make setup")
    problems = root_problems(root, need)
    if (store := roots.store(root)) is not None:
        try:
            store.check_writable()
        except UserError as error:
            problems += error.lines
    if problems:
        return Finding("failure", "root", problems[0].partition(": ")[2], "another --root")
    free = needs.size(shutil.disk_usage(needs.existing(root)).free)
    found = f"{root}, {free} free" if store is None else f"{store.uri} can be written"
    return Finding("ok", "root", f"{found}; {SMALLEST} takes {needs.size(need)}, others: study describe")
