"""`run_study`: Ray Tune over a study's trials, or those of several, through adapters that hold no logic."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from study.execution import measuring
from study.execution.adapters import TrialSearcher, TrialVerdicts
from study.execution.checkpoints import Checkpoints
from study.execution.cluster import cluster, machines, watched_machines
from study.execution.concurrency import concurrency, concurrency_words
from study.execution.interrupts import interruptible
from study.execution.members import Listener, Member, Members
from study.execution.retry import reopen
from study.execution.trials import Trials
from study.proposals import warm_start
from study.question import alignments, encoders
from study.question.config import ScalingConfig, StudyConfig
from study.question.rules import protocol_hash
from study.record.ledger import Ledger
from study.record.lines import Reading
from study.record.place import Place
from study.record.record import StudyRecord
from study.record.roots import opened
from study.record.version import code_version
from study.tracking.tracker import Tracker
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials.materials import fingerprints, prepare
from trainables.progress import told
from trainables.scores import Split
from trainables.workers.driver import TrialDriver
from trainables.workers.mailbox import Mailbox

TRACKING_SECONDS = 60.0
"""Time that MLflow has, at a study's end, to take what is left."""


def run_study(
    config: StudyConfig,
    place: Place,
    *,
    reading: Reading | None = None,
    take_over: bool = False,
    events: Listener | None = None,
    address: str | None = None,
    max_failures: int | None = None,
    learn_from: Sequence[StudyRecord] = (),
    retry: Sequence[int] = (),
) -> StudyRecord:
    """Run a study's trials at `place`, or go on with them, until its budget is met; returns what the ledger then holds.

    The ended trials of `learn_from` become history to a new study's sampler; failed trials that `retry` names run
    again, before what else is left. `reading` has what is known of the study's ledger already. `address` is that of a
    Ray cluster; without one, a local cluster lives as long as the call. Raises `UserError` before anything is written
    where the study cannot start, and `KeyboardInterrupt` once an interrupted study is checkpointed and can be resumed.
    """
    hear = events or (lambda event: None)
    hear({"event": "waiting", "for": "data and encoder"})
    known = made_from(config)
    for other in learn_from:
        warm_start.check(config, known, other)
    reading = reading or Reading(place.ledger)
    if is_new(place, reading):
        config = measuring.begun(config)
    with begun(config, place, known, reading, hear, take_over, max_failures, learn_from, retry) as member:
        execute([member], config.name, hear, address)
    return reading.update()


def is_new(place: Place, reading: Reading) -> bool:
    """Whether a study is to begin: nothing says yet what it is."""
    return not place.ledger.exists() or reading.update().uuid is None


@contextmanager
def begun(
    config: StudyConfig,
    place: Place,
    known: Mapping[str, str],
    reading: Reading,
    hear: Listener,
    take_over: bool = False,
    max_failures: int | None = None,
    learn_from: Sequence[StudyRecord] = (),
    retry: Sequence[int] = (),
) -> Iterator[Member]:
    """A study whose ledger is this process's, with what is left of its trials; `known` are its fingerprints."""
    if max_failures is not None:
        search = config.search.model_copy(update={"max_failures": max_failures})
        config = config.model_copy(update={"search": search})
    with opened(place, take_over, hear) as ledger:
        record = reading.update()
        if record.uuid is None:
            mine = replace(record.copied(), fingerprints=dict(known))
            for other in learn_from:  # before it has begun: nobody who goes on with it knows of them
                count = warm_start.borrow(config, ledger, mine, other)
                hear({"event": "note", "words": f"learned from {count} trials of the study {other.config['name']}"})
            write_study(config, ledger, record, known)
            record = reading.update()
        checkpoints = Checkpoints(config, record, place, partial(averaged, ledger), partial(said, hear))
        record = reopen(ledger, reading, checkpoints, retry)
        yield Member(Trials(config, ledger, record), checkpoints, hear)


def made_from(config: StudyConfig, splits: Sequence[Split] = ("validation",)) -> dict[str, str]:
    """Prepare what trials read, with each of the study's encoders, aligned ones too as far as they can be listed; the
    fingerprints of data and encoders.

    That of the only encoder is called ``encoder``, those of several by their names. Raises `UserError` for data and
    encoders that cannot be used.
    """
    found: dict[str, str] = {}
    searched = alignments.choices(config) if "test" not in splits else []  # of those it is known which are confirmed
    for trial in told(searched, "aligned encoders", "encoders", len(searched)):
        prepare(trial, splits)
    trials = [apply_point(config.trial, point) for point in encoders.settings(config)]
    for trial in trials:
        mine = fingerprints(prepare(trial, splits))
        name = "encoder" if len(trials) == 1 else encoders.fingerprint_name(trial)
        found |= {name if key == "encoder" else key: value for key, value in mine.items()}
    return found


def averaged(ledger: Ledger, number: int, mean: str) -> None:
    """Write that a trial's weights are in a mean."""
    ledger.append("averaged", trial=number, mean=mean)


def said(hear: Listener, words: str) -> None:
    """Tell a note."""
    hear({"event": "note", "words": words})


def write_study(config: StudyConfig, ledger: Ledger, record: StudyRecord, known: Mapping[str, str]) -> None:
    """Write what the study is; `known` are the fingerprints of what it is made from."""
    ledger.append(
        "study",
        schema=record.schema,
        uuid=record.uuid or uuid.uuid4().hex,
        config=config.model_dump(mode="json"),
        code_version=code_version(),
        fingerprints=dict(known),
        protocol_hash=protocol_hash(config),
    )


@contextmanager
def tracked(config: StudyConfig, place: Place) -> Iterator[None]:
    """Meanwhile, MLflow follows the study's ledger; at the end it gets a bounded time to catch up."""
    tracker = Tracker(config.tracking.uri, place, patient=True)
    try:
        yield
    finally:
        tracker.close(TRACKING_SECONDS)


def execute(running: Sequence[Member], name: str, hear: Listener, address: str | None = None) -> None:
    """Run all that these members have to hand out, in one pool of slots.

    `name` is what the user knows them by, a study or a suite, and `hear` is told what is of none of them alone.
    """
    if address is None and (elsewhere := os.environ.get("RAY_ADDRESS")):
        words = f"RAY_ADDRESS ({elsewhere}) is not used: a local Ray is started; --address auto uses it"
        hear({"event": "note", "words": words})
    hear({"event": "waiting", "for": "Ray"})
    members, first = Members(running), running[0]
    verb = "resume" if first.trials.phase == "run" else "confirm"

    def lost(process: str) -> None:
        hear({"event": "note", "words": f"Ray's {process} has died and ends this; go on with study {verb} {name}"})

    # MLflow catches up before Ray goes: a connection that Ray leaves behind may end this process a minute later.
    with cluster(address, lost) as scratch, ExitStack() as beside:
        for member in members:
            beside.enter_context(tracked(member.trials.config, member.checkpoints.place))
        if "trial_driver" not in ray.cluster_resources():
            raise UserError(
                "address: the cluster has no custom resource trial_driver, which places the trial drivers; "
                """start its head with ray start --head --resources '{"trial_driver": 1000}'"""
            )
        scaling = first.trials.config.scaling
        at_once = concurrency(scaling, machines())
        hear({"event": "note", "words": concurrency_words(scaling, at_once)})
        if address is not None:
            beside.enter_context(watched_machines(lambda words: hear({"event": "note", "words": words})))
        searcher = TrialSearcher(members, at_once)
        mailbox = ray.remote(num_cpus=0, resources={"trial_driver": 0.001}, max_concurrency=1000)(Mailbox).remote(
            scaling.max_attempts
        )
        searcher.leave = mailbox.interrupt.remote
        hear({"event": "waiting", "for": "workers"})
        storage = str(scratch / "train") if address is None else first.checkpoints.place_of(".ray")
        meeting = str(scratch) if address is None else None
        with interruptible(searcher, mailbox, hear, scaling.grace_seconds):
            try:
                verdicts = TrialVerdicts(members, searcher.lost)
                tuner(searcher, verdicts, mailbox, scaling, scratch, storage, meeting).fit()
            except tune.TuneError as error:
                if not isinstance(error.__context__, UserError):
                    raise
                searcher.halted = str(error.__context__)  # the ledger cannot be written, say
        for member in members:
            member.conclude()
        if address is not None:
            first.checkpoints.remove(".ray")
    if searcher.halted:
        raise UserError(f"{name}: {searcher.halted}; no trial is lost, mend it and go on with study {verb} {name}")
    if searcher.interrupted:
        raise KeyboardInterrupt
    if left := members.remaining + sum(len(member.trials.live) for member in members):
        raise RuntimeError(f"Ray ended the study with trials left to run: {left}")


def tuner(
    searcher: TrialSearcher,
    verdicts: TrialVerdicts,
    mailbox: Any,
    scaling: ScalingConfig,
    scratch: Path,
    storage: str,
    meeting: str | None,
) -> tune.Tuner:
    """Ray Tune over the adapters. Its own experiment state is scratch.

    `storage` is Ray Train's, `meeting` the folder where workers of one trial meet that are all on this machine.
    """
    arguments = {
        "workers": scaling.workers_per_trial,
        "cpus_per_worker": scaling.cpus_per_worker,
        "gpus_per_worker": scaling.gpus_per_worker,
        "trials": 1 if scaling.executor == "fresh" else scaling.recycle_after_trials,
        "growth_mb": scaling.recycle_after_growth_mb,
        "wait_minutes": scaling.worker_wait_minutes,
        "storage": storage,
        "meeting": meeting,
        "folder": str(Path.cwd()),
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
