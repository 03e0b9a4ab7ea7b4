"""`run_study`: Ray Tune over `trials.py`, through adapters that hold no logic of their own."""

from __future__ import annotations

import json
import math
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study import warm_start
from study.checkpoints import Checkpoints
from study.cluster import cluster
from study.config import ScalingConfig, StudyConfig, study_directory
from study.ledger import LEDGER, Ledger, StudyRecord, read_study
from study.protocol import protocol_hash
from study.roots import opened
from study.tracking import Tracker
from study.trials import Trials
from study.version import code_version
from trainables.driver import TrialDriver
from trainables.loading import UserError
from trainables.mailbox import Mailbox
from trainables.materials import prepare
from trainables.scores import Evaluation

Listener = Callable[[Mapping[str, Any]], None]
"""Hears every ledger event as it is appended, and transient notices ({"event": "waiting", "for": "…"},
{"event": "note", "words": "…"})."""

COLOUR = re.compile(r"\x1b\[[0-9;]*m")

GRACE_SECONDS = 60.0
"""Time that interrupted trials have to reach the end of a step and write their checkpoints."""

GROWING = "growing"
"""Custom resource of the head of a cluster whose machines come when they are asked for."""

TRACKING_SECONDS = 60.0
"""Time that MLflow has, at a study's end, to take what is left."""


class Disposable:
    """What Tune pickles into its own experiment state, and nobody reads back: the ledger has it all."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSearcher(Disposable, Searcher):
    """Ray's Searcher over `Trials`: asks when a slot is free, tells when a Tune trial has ended."""

    def __init__(self, trials: Trials, checkpoints: Checkpoints, concurrent: int) -> None:
        super().__init__(metric=None, mode=None)
        self.trials, self.checkpoints, self.concurrent = trials, checkpoints, concurrent
        self.open: dict[str, int] = {}
        self.lost: dict[str, str] = {}
        """What the drivers of trials died of, until it is recorded."""
        self.interrupted = False
        self.halted: str | None = None
        """Why the study cannot go on, though nothing is wrong with its trials."""
        self.leave: Callable[[], object] = lambda: None
        """Tells all trials to write their checkpoints and leave."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True  # limited here, so that asking happens when a slot frees

    def suggest(self, trial_id: str) -> Any:
        if self.interrupted:
            return Searcher.FINISHED
        if len(self.open) >= self.concurrent:
            return None
        proposal = self.trials.ask()
        if proposal is None:
            return Searcher.FINISHED
        self.open[trial_id] = proposal.number
        payload = {
            "trial": proposal.trial.model_dump(mode="json"),
            "directory": self.checkpoints.place_of(proposal.number),
            "final_split": self.trials.final_split,
            "predictions": self.checkpoints.predictions_of(proposal.number) if self.trials.phase == "confirm" else None,
        }
        return {"number": proposal.number, "attempt": proposal.attempt, "payload": payload}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass  # the scheduler hears of it first, and it is enough that one does

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, last = self.open.pop(trial_id), result or {}
        if last.get("kind") == "halted":
            self.halted = self.halted or last["error"]
            self.interrupted = True
            self.leave()
        if last.get("kind") in ("interrupted", "halted"):
            return
        lost = self.lost.pop(trial_id, "its trial driver failed")
        problem = last.get("error") or lost if error or last.get("kind") == "failed" else None
        self.checkpoints.finished(number, self.trials.finish(number, error=problem))

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class TrialVerdicts(Disposable, FIFOScheduler):
    """Ray's scheduler over `Trials`: records each report, answers continue or stop."""

    def __init__(self, trials: Trials, lost: dict[str, str], hear: Listener) -> None:
        super().__init__()
        self.trials, self.lost, self.hear = trials, lost, hear

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        number, attempt = trial.config["number"], result["attempt"]
        if result["kind"] == "started":
            self.trials.started(number, attempt)
        elif result["kind"] == "report":
            evaluation = Evaluation.from_json(json.loads(result["evaluation"]))
            if self.trials.report(number, attempt, evaluation) == "stop":
                return str(TrialScheduler.STOP)
        elif result["kind"] == "waiting":
            silent = f"no sign of life for {result['minutes']:.0f} min"
            self.hear({"event": "waiting", "for": f"the workers of trial {number}, {silent}"})
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        if trial.error_file and Path(trial.error_file).exists():
            words = Path(trial.error_file).read_text(encoding="utf-8").rpartition("Failure # ")[2]
            self.lost[trial.trial_id] = f"its trial driver failed: attempt {COLOUR.sub('', words).strip()}"

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        # The stock one scans all trials at every event.
        return next((t for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING), None)


def concurrency(scaling: ScalingConfig, resources: Mapping[str, float]) -> int:
    """Trials at a time that the cluster's CPUs and GPUs hold. Raises UserError where not even one fits.

    A cluster that says of itself, by the resource `growing`, that it starts machines when they are asked for, may hold
    none at all yet: there a number of trials is taken at its word, and workers wait for their machines.
    """
    if resources.get(GROWING) and scaling.concurrent_trials != "auto":
        return scaling.concurrent_trials
    fits = [
        math.floor(resources.get(name, 0.0) / (scaling.workers_per_trial * need))
        for name, need in (("CPU", scaling.cpus_per_worker), ("GPU", scaling.gpus_per_worker))
        if need
    ]
    most = min(fits)
    if most < 1 and resources.get(GROWING):
        raise UserError(
            "scaling.concurrent_trials: a cluster that grows has no machine for a trial yet: give the number of trials "
            'at a time that it is to grow to (got "auto")'
        )
    if most < 1:
        need = f"{scaling.workers_per_trial} x ({scaling.cpus_per_worker:g} CPU, {scaling.gpus_per_worker:g} GPU)"
        has = f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
        raise UserError(f"scaling: one trial needs {need}, the cluster has {has}")
    return most if scaling.concurrent_trials == "auto" else min(most, scaling.concurrent_trials)


def concurrency_words(scaling: ScalingConfig, at_once: int) -> str:
    """How many trials run at a time, and what each occupies."""
    gpus = f", {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
    workers = f"{scaling.workers_per_trial} worker{'s' if scaling.workers_per_trial > 1 else ''}"
    trials = f"{at_once} trial{'s' if at_once > 1 else ''} at a time"
    return f"{trials}, each {workers} of {scaling.cpus_per_worker:g} CPU{gpus}"


def run_study(
    config: StudyConfig,
    root: Path,
    *,
    resume: bool = False,
    take_over: bool = False,
    events: Listener | None = None,
    address: str | None = None,
    max_failures: int | None = None,
    learn_from: Sequence[StudyRecord] = (),
) -> StudyRecord:
    """Run a study's trials, or go on with them, until its budget is met; returns what the ledger then holds.

    The ended trials of `learn_from` become history to a new study's sampler. `address` is that of a Ray cluster;
    without one, a local cluster lives as long as the call. Raises `UserError` before anything is written where the
    study cannot start, and `KeyboardInterrupt` once an interrupted study is checkpointed and can be resumed.
    """
    if max_failures is not None:
        search = config.search.model_copy(update={"max_failures": max_failures})
        config = config.model_copy(update={"search": search})
    hear = events or (lambda event: None)
    hear({"event": "waiting", "for": "data and encoder"})
    materials = prepare(config.trial)
    for other in learn_from:
        warm_start.check(config, fingerprints(materials), other)
    folder = study_directory(root.resolve(), config.name)
    with opened(folder / LEDGER, take_over, hear) as ledger:
        record = read_study(ledger.path)
        if record.uuid is None:
            begin(config, ledger, record, materials)
            record = read_study(ledger.path)
            for other in learn_from:
                count = warm_start.borrow(config, ledger, record, other)
                hear({"event": "note", "words": f"learned from {count} trials of the study {other.config['name']}"})
        execute(Trials(config, ledger, record), Checkpoints(config, record, folder), hear, address)
    return read_study(folder / LEDGER)


def begin(config: StudyConfig, ledger: Ledger, record: StudyRecord, materials: Path) -> None:
    """Write what the study is."""
    ledger.append(
        "study",
        uuid=record.uuid or uuid.uuid4().hex,
        config=config.model_dump(mode="json"),
        code_version=code_version(),
        fingerprints=fingerprints(materials),
        protocol_hash=protocol_hash(config),
    )


def fingerprints(materials: Path) -> dict[str, str]:
    """What the scores of a study rest on: hashes of its tokenised data and of its encoder."""
    meta = json.loads((materials / "meta.json").read_text(encoding="utf-8"))
    return {"data": meta["fingerprint"], "encoder": meta["encoder"]}


@contextmanager
def tracked(config: StudyConfig, root: Path) -> Iterator[None]:
    """Meanwhile, MLflow follows the study's ledger; at the end it gets a bounded time to catch up."""
    tracker = Tracker(config.tracking.uri, config.name, root)
    try:
        yield
    finally:
        tracker.close(TRACKING_SECONDS)


def execute(trials: Trials, checkpoints: Checkpoints, hear: Listener, address: str | None = None) -> None:
    """Run all that `trials` has to hand out."""
    hear({"event": "waiting", "for": "Ray"})
    name, verb = trials.config.name, "resume" if trials.phase == "run" else "confirm"

    def lost(process: str) -> None:
        hear({"event": "note", "words": f"Ray's {process} has died and ends this; go on with study {verb} {name}"})

    # MLflow catches up before Ray goes: a connection that Ray leaves behind may end this process a minute later.
    with cluster(address, lost) as scratch, tracked(trials.config, checkpoints.folder.parents[1]):
        resources = ray.cluster_resources()
        if "trial_driver" not in resources:
            raise UserError(
                "address: the cluster has no custom resource trial_driver, which places the trial drivers; "
                """start its head with ray start --head --resources '{"trial_driver": 1000}'"""
            )
        scaling = trials.config.scaling
        at_once = concurrency(scaling, resources)
        hear({"event": "note", "words": concurrency_words(scaling, at_once)})
        searcher = TrialSearcher(trials, checkpoints, at_once)
        mailbox = ray.remote(num_cpus=0, resources={"trial_driver": 0.001}, max_concurrency=1000)(Mailbox).remote(
            scaling.max_attempts
        )
        searcher.leave = mailbox.interrupt.remote
        hear({"event": "waiting", "for": "workers"})
        storage = str(scratch / "train") if address is None else checkpoints.place_of(".ray")
        with interruptible(searcher, mailbox, hear):
            try:
                tuner(searcher, TrialVerdicts(trials, searcher.lost, hear), mailbox, scaling, scratch, storage).fit()
            except tune.TuneError as error:
                if not isinstance(error.__context__, UserError):
                    raise
                searcher.halted = str(error.__context__)  # the ledger cannot be written, say
        if trials.stopped and trials.phase == "run":
            trials.ledger.append("stopped", cause=trials.stopped)
        if address is not None:
            checkpoints.remove(".ray")
    if searcher.halted:
        raise UserError(f"{name}: {searcher.halted}; no trial is lost, mend it and go on with study {verb} {name}")
    if searcher.interrupted:
        raise KeyboardInterrupt
    if trials.remaining or trials.live:
        raise RuntimeError(f"Ray ended the study with trials left to run: {trials.remaining + len(trials.live)}")


def tuner(
    searcher: TrialSearcher,
    verdicts: TrialVerdicts,
    mailbox: Any,
    scaling: ScalingConfig,
    scratch: Path,
    storage: str,
) -> tune.Tuner:
    """Ray Tune over the adapters. Its own experiment state is scratch."""
    arguments = {
        "workers": scaling.workers_per_trial,
        "cpus_per_worker": scaling.cpus_per_worker,
        "gpus_per_worker": scaling.gpus_per_worker,
        "trials": 1 if scaling.executor == "fresh" else scaling.recycle_after_trials,
        "growth_mb": scaling.recycle_after_growth_mb,
        "wait_minutes": scaling.worker_wait_minutes,
        "storage": storage,
    }
    trainable = tune.with_parameters(TrialDriver, mailbox=mailbox, scaling=arguments)
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 0, "trial_driver": 1}),
        tune_config=tune.TuneConfig(search_alg=searcher, scheduler=verdicts, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch / "tune"),
            verbose=0,
            # The mailbox caps a trial's attempts; this does for a trial driver that dies before it can ask for one.
            failure_config=tune.FailureConfig(max_failures=scaling.max_attempts),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


@contextmanager
def interruptible(searcher: TrialSearcher, mailbox: Any, hear: Listener) -> Iterator[None]:
    """First Ctrl-C or SIGTERM: the trials are checkpointed and left, within `GRACE_SECONDS`. Second: stop at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked, over = threading.Event(), threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        searcher.interrupted = True
        asked.set()

    def pass_on() -> None:
        asked.wait()
        if over.is_set():
            return
        hear({"event": "waiting", "for": "running trials to write their checkpoints (again to stop at once)"})
        mailbox.interrupt.remote()
        if not over.wait(GRACE_SECONDS):
            signal.raise_signal(signal.SIGINT)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=pass_on, name="interrupts", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        asked.set()
        for number, handler in before.items():
            signal.signal(number, handler)
