"""Checkpoints written beside training: the state is copied at its step, and a thread brings the copy to the disk."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace

from torch import Tensor

from trainables.scores import Evaluation
from trainables.storage import checkpoint as checkpoints
from trainables.storage.checkpoint import Checkpoint
from trainables.training import average
from trainables.training.passes import Limits
from trainables.training.trial import Meters, Trial

Keep = Callable[[], object]
"""Called, by another thread, after each checkpoint is on the disk: brings it to where it survives this machine."""

LIMIT_SECONDS = 3600.0
"""Longest wait for one checkpoint; the other workers wait meanwhile."""


class Saving:
    """The checkpoints of one trial, written by rank 0, one at a time and from one copy of the state.

    An evaluation is known to its reader once its checkpoint is on the disk, never before, or whoever resumes the trial
    could go back behind what was reported. Meanwhile training goes on. What the thread raises, `OSError` where there is
    no room, is raised in the trial.
    """

    def __init__(self, trial: Trial, keep: Keep) -> None:
        self._trial, self._keep = trial, keep
        self._memory: dict[str, Tensor] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._waiting: Sequence[Evaluation] = ()
        self._latest = time.monotonic()

    def begin(self, evaluations: Sequence[Evaluation] = ()) -> None:
        """Let the trial's state be written as it is now, with evaluations that `reported` gives once it is: on every
        rank at once."""
        self._waiting = evaluations
        meters, limits = self._of_all()
        if self._trial.group.rank == 0:
            self._join()
            state = replace(self._state(evaluations, meters, final=False, memory=self._memory), limits=limits)
            self._writing = self._thread.submit(self._write, state)

    def is_written(self) -> bool:
        """Whether there is a checkpoint, begun here, that is on the disk by now or has failed; rank 0 alone knows."""
        return self._writing is not None and self._writing.done()

    def reported(self) -> Iterator[Evaluation]:
        """Those that have waited for their checkpoint, for which this waits: on every rank at once."""
        self._join()
        waiting, self._waiting = self._waiting, ()
        yield from waiting

    def write(self, evaluations: Sequence[Evaluation], final: bool) -> None:
        """Write the trial's state before anything else is done: on every rank at once. `final`: weights alone."""
        meters, limits = self._of_all()
        if self._trial.group.rank == 0:
            self._join()
            self._write(replace(self._state(evaluations, meters, final), limits=limits))
        self._trial.group.barrier()

    def is_due(self) -> bool:
        """Whether to `begin` one, since none was for as long as `training.checkpoint_minutes`; rank 0 alone knows."""
        minutes = self._trial.config.training.checkpoint_minutes
        if minutes is None or self._trial.group.rank != 0 or self._writing is not None:
            return False
        return time.monotonic() - self._latest >= 60.0 * minutes

    def close(self) -> None:
        """Wait until nothing is written any more, whatever comes of it: what is there is the trial's, or tidied up."""
        if self._writing is not None:
            wait([self._writing], LIMIT_SECONDS)
        self._thread.shutdown(wait=False)

    def _of_all(self) -> tuple[Meters, tuple[int | None, int | None] | None]:
        """The meters of all workers, and the least of their limits where memory did not suffice one of them."""
        trial = self._trial
        least = Limits.least(trial.group.gather(trial.limits))
        return trial.meters.over(trial.group), (least.items, least.tokens) if least.halved else None

    def _state(
        self, reported: Sequence[Evaluation], meters: Meters, final: bool, memory: dict[str, Tensor] | None = None
    ) -> Checkpoint:
        trial, self._latest = self._trial, time.monotonic()
        state = checkpoints.state(
            trial.step,
            trial.model,
            None if final else trial.optimizer,
            reported,
            trial.best,
            (meters.train_seconds + meters.seconds, meters.evaluation_seconds),
            trial.scaler.state_dict(),
            memory,
            None if final or trial.perturbation.carries is None else trial.perturbation.carries.tensors,
        )
        state = replace(state, meters=asdict(meters))
        if final:
            return replace(state, kin=average.kin(trial.config, trial.materials.kept, trial.model))
        return replace(state, mean=trial.mean, averaged=trial.averaged)

    def _write(self, state: Checkpoint) -> None:
        """The last two stay, since the newest may turn out corrupt, and the best while needed."""
        directory = self._trial.directory
        checkpoints.write(directory, state)
        kept = set(checkpoints.steps(directory)[-2:])
        checkpoints.keep_only(directory, kept | ({state.best[0]} if state.best and state.optimizer else set()))
        self._keep()

    def _join(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result(LIMIT_SECONDS)
        except TimeoutError:
            if writing.done():
                raise
            words = f"a checkpoint takes more than {LIMIT_SECONDS:.0f} s"
            raise OSError(errno.EIO, words, str(self._trial.directory)) from None
