"""What each Ray Tune trial runs: the trial driver. It owns a group of Ray Train workers and outlives its trials.

Tune reuses the actor for the next trial (`reset_config`), and with it the workers. It never writes the ledger.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

import ray
from ray import tune

from trainables.background import Background
from trainables.storage.store import Store, is_uri
from trainables.workers.worker import serve

POLL_SECONDS = 5.0
"""Longest wait for an item before the worker group's health is looked at."""

SILENCE_SECONDS = 120.0
"""Time without a sign of life from the workers after which a word is said, and again after each such time."""


LEAVE_SECONDS = 30.0
"""Time that workers have to leave."""


class TrialDriver(tune.Trainable):
    """A concurrency slot. Results have the keys `kind`, `attempt`, and `evaluation` (an `Evaluation`) or `error`.

    Beside the kinds of the mailbox there is "waiting": there is no sign of life from the workers, for `minutes`.
    """

    def setup(self, config: dict[str, Any], mailbox: Any = None, scaling: dict[str, Any] | None = None) -> None:
        """`scaling`: workers, cpus_per_worker, gpus_per_worker, trials, growth_mb, wait_minutes, storage."""
        assert mailbox is not None
        assert scaling is not None
        self.mailbox, self.scaling = mailbox, scaling
        self.slot = f"slot-{uuid.uuid4().hex[:8]}"
        self.group: WorkerGroup | None = None
        self.job = config
        self.submitted = False
        self.noticed = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to the next trial; the last one, if it still runs, was stopped."""
        with suppress(ray.exceptions.RayActorError):  # the next step finds out
            ray.get(self.mailbox.stop.remote(self.slot))
        self.job, self.submitted = new_config, False
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next item of the trial. Being called again after a report means: continue."""
        try:
            item = self._next_item()
        except ray.exceptions.RayActorError:
            item = {"kind": "halted", "attempt": self.job["attempt"], "error": "the study's mailbox was lost"}
        return {**item, "done": item["kind"] in {"done", "failed", "interrupted", "halted"}}

    def _next_item(self) -> dict[str, Any]:
        if not self.submitted:
            job = self.job
            ray.get(self.mailbox.submit.remote(self.slot, job["number"], job["attempt"], job["payload"]))
            self.submitted, self.noticed = True, 0
        while True:
            if self.group is None or self.group.ended:
                self._restart()
            item: dict[str, Any] | None = ray.get(self.mailbox.take.remote(self.slot, POLL_SECONDS))
            item = item or self._silence()
            if item is not None:
                return item

    def _silence(self) -> dict[str, Any] | None:
        """What is to be said of workers that give no sign of life, if anything is new."""
        silence = ray.get(self.mailbox.silence.remote(self.slot))
        noticed, self.noticed = self.noticed, int(silence // SILENCE_SECONDS)
        if silence >= 60 * self.scaling["wait_minutes"]:
            words = f"no worker of trial {self.job['number']} gave a sign of life for {silence / 60:.0f} min"
            return {"kind": "halted", "attempt": self.job["attempt"], "error": words}
        if self.noticed > noticed:
            return {"kind": "waiting", "attempt": self.job["attempt"], "minutes": silence / 60}
        return None

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: a trial's checkpoints are its workers' own, found by its number."""
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as nothing is saved."""

    def _restart(self) -> None:
        if self.group is not None and self.group.error is not None:
            error, self.group = self.group.error, None
            raise RuntimeError(f"the worker group ended: {error}") from error
        self.group = WorkerGroup(self.mailbox, self.slot, self.scaling)

    def cleanup(self) -> None:
        """Dismiss the workers, and wait for them within bounds."""
        with suppress(ray.exceptions.RayActorError):
            ray.get(self.mailbox.close.remote(self.slot))
        if self.group is not None:
            self.group.leave()
        with suppress(ray.exceptions.RayActorError):
            ray.get(self.mailbox.free.remote(self.slot))


class WorkerGroup:
    """One long-lived run of Ray Train's trainer in a thread; ends by itself when its workers leave."""

    def __init__(self, mailbox: Any, slot: str, scaling: dict[str, Any]) -> None:
        self.arguments = (mailbox, slot, scaling)
        self._thread = Background("worker-group", lambda thread: self._trainer().fit())

    @property
    def ended(self) -> bool:
        """Whether the workers are gone."""
        return self._thread.ended

    @property
    def error(self) -> BaseException | None:
        """What the workers' run ended of."""
        return self._thread.error

    def leave(self) -> None:
        """Wait for the workers, whom the mailbox has told to leave, for at most `LEAVE_SECONDS`."""
        self._thread.stop(LEAVE_SECONDS)

    def _trainer(self) -> Any:
        # Ray Train is imported by the thread that starts the workers.
        from ray.train import FailureConfig, ScalingConfig

        from trainables.workers.trainer import trainer

        mailbox, slot, scaling = self.arguments
        gpus = scaling["gpus_per_worker"]
        place = scaling["storage"]
        files, path = Store(place).filesystem() if is_uri(place) else (None, place)
        resources = {"CPU": scaling["cpus_per_worker"]} | ({"GPU": gpus} if gpus else {})
        return trainer(
            serve,
            mailbox,
            slot,
            gpus=bool(gpus),
            meets=scaling["meeting"] is None,
            # Lost workers are replaced without end here: the mailbox caps the attempts of each trial instead.
            run={
                "name": f"{slot}-{uuid.uuid4().hex[:8]}",
                "storage_path": path,
                "storage_filesystem": files,
                "failure_config": FailureConfig(max_failures=-1),
            },
            train_loop_config={
                "mailbox": mailbox,
                "slot": slot,
                "folder": scaling["folder"],
                "trials": scaling["trials"],
                "growth_mb": scaling["growth_mb"],
                "threads": max(1, int(scaling["cpus_per_worker"])),
                "gpus": gpus,
                "meeting": scaling["meeting"],
            },
            scaling_config=ScalingConfig(
                num_workers=scaling["workers"], use_gpu=bool(gpus), resources_per_worker=resources
            ),
        )
