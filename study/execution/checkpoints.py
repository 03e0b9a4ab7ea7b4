"""Which checkpoints of trials that have ended stay: the weights of those that rank highest, and what the latest few
that failed by no fault of their own go on from when they are retried. Nothing else, but for the mean of all weights
where the study asks for it (control (e)): each trial's are taken into it before they may go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from study.proposals import ranking
from study.proposals.proposer import Outcome
from study.question import objectives
from study.question.config import StudyConfig
from study.question.rules import visible
from study.record import faults
from study.record.place import Place
from study.record.record import Phase, StudyRecord
from trainables.errors import UserError
from trainables.storage import checkpoint, soup
from trainables.storage.scratch import scratch
from trainables.storage.shelf import Shelf

Rank = tuple[bool, bool, float]
"""Whether a trial may be chosen, whether it meets every constraint, and its first objective, larger is better."""

KEPT = 3
"""Failed trials that keep their checkpoints."""

MEANS = "means"
"""Of the folder, what has the means of trials' weights: ``means/<kin>``."""

Averaged = Callable[[int, str], object]
"""Told that a trial's weights are in the mean of its kin, and the name of that."""

Say = Callable[[str], object]
"""Told what the user should know, in one line."""


class Checkpoints:
    """The folder ``checkpoints/<trial>/<step>`` of a study. Under a URI it is in the store, and what is here of it are
    the meta files of trials that have ended."""

    def __init__(
        self,
        config: StudyConfig,
        record: StudyRecord,
        place: Place,
        averaged: Averaged = lambda number, mean: None,
        say: Say = lambda words: None,
    ) -> None:
        """Takes up what an earlier driver left: finished trials it had no time to tidy up."""
        self.config, self.place, self.folder = config, place, place.checkpoints
        self.averaged, self.say = averaged, say
        self.known = {trial.number for trial in record.trials.values() if trial.mean is not None}
        """Trials that the ledger has as averaged."""
        self.averages = config.models.average and not record.openings
        """Whether trials still go into the mean: what is scored on the test split stays as it was when that opened."""
        self.store = place.stored(self.folder)
        self.ranks: dict[int, Rank] = {}
        self.left: dict[int, None] = {}
        """Failed trials that can go on from where they were, in the order in which they failed."""
        there = self._there()
        for trial in sorted(record.trials.values(), key=lambda t: t.finished or 0.0):
            if trial.ended and str(trial.number) in there:
                competes = ranking.competes(trial.phase, trial.kind, trial.control)
                self.finished(trial.number, trial.state, competes, trial.error, trial.phase)  # type: ignore[arg-type]

    def of(self, number: int) -> Path:
        """Folder of a trial."""
        return self.folder / str(number)

    def place_of(self, name: int | str) -> str:
        """Where workers find a trial's checkpoints, or another part of the folder: a path, or a URI."""
        return self.place.address(self.folder / str(name))

    def predictions_of(self, number: int) -> str:
        """Where the workers of a confirm trial leave its example-level predictions: a path, or a URI."""
        return self.place.address(self.place.predictions(number))

    def mean_of(self, mean: str) -> str:
        """Where workers find the mean of trials' weights by its name: a path, or a URI."""
        return self.place.address(self.folder / MEANS / mean)

    def finished(
        self,
        number: int,
        outcome: Outcome | None,
        competes: bool = True,
        error: str | None = None,
        phase: Phase = "run",
    ) -> None:
        """Reduce a trial that has ended to its weights if it is among the best, else to nothing.

        One that `competes` may be chosen (`ranking.competes`), and ranks above those that may not. One that failed (of
        `error`) by no fault of its own keeps all it has. A store that does not answer is left as it is, to a later
        driver. Raises `UserError` where the mean of all weights cannot be written: the trial's are still there then.
        """
        self.left.pop(number, None)
        averages = self.averages and phase == "run" and outcome == "COMPLETE" and number not in self.known
        if self.store is None:
            if averages:
                self._average(number)
            self._reduce(number, outcome, competes, error)
            return
        with suppress(OSError):
            shelf = Shelf(self.store / number, self.of(number))
            shelf.fetch(only_meta=True)
            if averages:
                self._average(number)
            self._reduce(number, outcome, competes, error)
            shelf.prune()

    def restart(self, number: int) -> None:
        """Remove all that a failed trial has left, so that its next attempt begins anew. Raises `UserError`."""
        try:
            self._drop(number)
        except OSError as problem:
            raise UserError(f"{problem.filename}: {problem.strerror}") from problem
        if self.of(number).exists():
            raise UserError(f"{self.of(number)}: cannot be removed")

    def remove(self, name: str) -> None:
        """Remove a part of the folder that is no trial's."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        if self.store is not None:
            with suppress(OSError):
                (self.store / name).remove_all()

    def _there(self) -> set[str]:
        """Names of what is in the folder."""
        if self.store is not None:
            with suppress(OSError):
                return set(self.store.folders())
            return set()
        return {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()

    def _average(self, number: int) -> None:
        """Take a completed trial's weights into the mean of its kin. Without one that is damaged the study goes on."""
        if not (kin := checkpoint.kin(self.of(number))):
            return
        try:
            is_in = self._add(number, kin) if self.store is None else self._add_stored(number, kin)
        except soup.DamagedError as problem:
            self.say(f"trial {number} is not averaged, and control (e) not scored: {problem}")
            return
        if is_in:
            self.averaged(number, kin)
            self.known.add(number)

    def _add(self, number: int, kin: str) -> bool:
        try:
            return soup.add(self.folder / MEANS / kin, number, self.of(number))
        except OSError as problem:
            raise UserError(f"{problem.filename or self.folder}: {problem.strerror}") from problem

    def _add_stored(self, number: int, kin: str) -> bool:
        """The same in a store, which a driver brings here and back."""
        assert self.store is not None
        with scratch(".study-mean") as folder:
            Shelf(self.store / number, folder / "trial").fetch()
            mean = Shelf(self.store / MEANS / kin, folder / "mean")
            mean.fetch()
            is_in = soup.add(folder / "mean", number, folder / "trial")
            if is_in:
                mean.put()
            return is_in

    def _reduce(self, number: int, outcome: Outcome | None, competes: bool, error: str | None) -> None:
        if outcome == "FAIL" and not faults.own(error) and checkpoint.steps(self.of(number)):
            self.left[number] = None
            if len(self.left) > KEPT:
                self._drop(next(iter(self.left)))
            return
        rank = self._rank(number, competes) if outcome == "COMPLETE" else None
        if rank is None:
            self._drop(number)
            return
        checkpoint.keep_weights_only(self.of(number))
        self.ranks[number] = rank
        most = self.config.models.keep
        if most != "all" and len(self.ranks) > most:
            self._drop(min(self.ranks, key=lambda n: (self.ranks[n], -n)))

    def _rank(self, number: int, competes: bool) -> Rank | None:
        """Of a completed trial; None where its checkpoint does not tell."""
        reported = [e for e in checkpoint.last_evaluations(self.of(number)) if e.split == "validation"]
        search = self.config.search
        if not reported:
            return None
        try:
            seen = visible(reported[-1], self.config)
            value = objectives.value(search.optimised[0], seen, self.config)
            bounds = [objectives.violation(o, objectives.value(o, seen, self.config)) for o in search.constraints]
        except objectives.UnscoredError:
            return None
        meets = all(violation <= 0 for violation in bounds)
        return competes, meets, value if search.optimised[0].direction == "maximize" else -value

    def _drop(self, number: int) -> None:
        self.ranks.pop(number, None)
        self.left.pop(number, None)
        shutil.rmtree(self.of(number), ignore_errors=True)
        if self.store is not None:
            (self.store / number).remove_all()
