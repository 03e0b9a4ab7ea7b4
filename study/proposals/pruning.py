"""Which trials are stopped early: Optuna's pruners."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState

from study.proposals.proposer import Feedback
from study.question.config import SearchConfig

Direction = Literal["maximize", "minimize"]


class Stopper:
    """A pruner of Optuna's over a study of its own: every trial keeps its place, whatever the sampler forgets."""

    def __init__(
        self, name: str, config: SearchConfig, direction: Direction, every: int | None, steps: int | None
    ) -> None:
        self._study = optuna.create_study(
            study_name=name, direction=direction, sampler=RandomSampler(seed=0), pruner=_pruner(config, every, steps)
        )
        self._live: dict[int, Trial] = {}
        self._judged: dict[int, tuple[int, bool]] = {}
        """Number -> the last step that was judged, and whether the trial should stop there."""

    def start(self, number: int) -> None:
        self._live[number] = self._study.ask()

    def report(self, number: int, step: int, value: float) -> bool:
        # Halving notes whom it has judged: asked of the same step again, it would let go on whom it stopped.
        last, stops = self._judged.get(number, (None, False))
        if step != last:
            with quiet():
                self._live[number].report(value, step)
                stops = self._live[number].should_prune()
            self._judged[number] = step, stops
        return stops

    def end(self, number: int, feedback: Feedback) -> None:
        assert feedback.outcome is not None, "a trial that has ended has an outcome"
        values = feedback.values if feedback.outcome == "COMPLETE" else None
        self._judged.pop(number, None)
        self._study.tell(self._live.pop(number), values=values, state=TrialState[feedback.outcome])


def _pruner(config: SearchConfig, every: int | None, steps: int | None) -> BasePruner:
    """The configured pruner, in units of absolute optimiser steps; the first evaluation is the least resource."""
    least = every or 1
    match config.pruner:
        case "median":
            return MedianPruner(n_startup_trials=4)
        case "percentile":
            return PercentilePruner(25.0, n_startup_trials=4)
        case "successive_halving":
            return SuccessiveHalvingPruner(min_resource=least, reduction_factor=3)
        case "hyperband":
            return HyperbandPruner(min_resource=least, max_resource=steps or "auto", reduction_factor=3)
        case other:
            raise AssertionError(f"{other} is no pruner")


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's notes on experimental arguments, and on what we rely on it to ignore."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
