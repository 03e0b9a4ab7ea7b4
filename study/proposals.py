"""Where points come from, and which trials are stopped early: Optuna, and fixed lists, behind one interface."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search_spaces import Point, Space
from study.config import SearchConfig
from trainables.seeds import derive

Outcome = Literal["COMPLETE", "PRUNED", "FAIL"]
Direction = Literal["maximize", "minimize"]

HISTORY = {"tpe": 1000, "gp": 200}
"""Finished trials that a sampler's model is fitted to. Its time grows with them: linearly for TPE (45 ms an ask at
1,000), with their cube for the Gaussian process. Beyond it by a quarter, the best quarter and the latest remain."""

RETRIES = 10
"""Draws before a point that was proposed already is taken again: equal seeds would give equal scores."""

GRID = 10_000
"""Points up to which a space is enumerated in search of one that was not proposed yet."""


@dataclass(frozen=True)
class Proposed:
    """A point, and what the ledger keeps of how it came about."""

    kind: str
    point: Point
    distributions: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    control: str | None = None
    """Letter of the standard control it belongs to, if any."""


@dataclass(frozen=True)
class Told:
    """What an optimiser is told of a trial: values of the objectives, in their order and own directions."""

    outcome: Outcome | None
    """None: it is still running."""
    values: tuple[float, ...] | None = None
    intermediate: Mapping[int, float] = field(default_factory=dict)
    """Step -> value, of a single objective."""
    constraints: Mapping[str, float] = field(default_factory=dict)
    """Name -> violation, zero or less where met."""


class Proposer(Protocol):
    """Proposes points under the study's trial numbers and hears what became of them."""

    def remaining(self) -> int:
        """Points it has left to propose."""
        ...

    def propose(self, number: int) -> Proposed:
        """The next point, for the trial of this number."""
        ...

    def restore(self, number: int, proposed: Proposed, told: Told) -> None:
        """Take in a trial of the ledger that this proposer made in an earlier process, in the order of asking.

        Raises ValueError if this proposer can't have made it.
        """
        ...

    def report(self, number: int, step: int, value: float) -> bool:
        """Hear an intermediate value; whether the trial should stop."""
        ...

    def tell(self, number: int, told: Told) -> None:
        """Hear how a trial ended."""
        ...


class Fixed:
    """A list of points, proposed in order whatever happens."""

    def __init__(self, planned: Sequence[Proposed]) -> None:
        self.planned = planned
        self._next = 0

    def remaining(self) -> int:
        return len(self.planned) - self._next

    def propose(self, number: int) -> Proposed:
        self._next += 1
        return self.planned[self._next - 1]

    def restore(self, number: int, proposed: Proposed, told: Told) -> None:
        if self._next >= len(self.planned) or proposed.point != self.planned[self._next].point:
            raise ValueError("is not in this design, the configuration was another when the design was written")
        self._next += 1

    def report(self, number: int, step: int, value: float) -> bool:
        return False

    def tell(self, number: int, told: Told) -> None:
        pass


class Search:
    """An Optuna study in memory, rebuilt from the ledger: its sampler proposes, its pruner stops.

    `name` tells searches of one study apart; `extra` is laid under every point and is no dimension. Given the same
    finished trials, the same numbers are proposed the same points: samplers are seeded by how many points came before.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        config: SearchConfig,
        trials: int,
        control: str | None = None,
        extra: Mapping[str, Any] | None = None,
        enqueue: Sequence[Mapping[str, Any]] = (),
        every: int | None = None,
        steps: int | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.space, self.config, self.trials = name, space, config, trials
        self.control, self.extra, self.enqueue = control, dict(extra or {}), list(enqueue)
        self.directions = [o.direction for o in config.objectives if o.threshold is None]
        self._asked = 0
        self._study = self._new_study()
        self._live: dict[int, Trial] = {}
        self._seen: set[str] = set()
        self._stopper = None if config.pruner == "none" else Stopper(name, config, self.directions[0], every, steps)

    def remaining(self) -> int:
        return max(self.trials - self._asked, 0)

    def propose(self, number: int) -> Proposed:
        self._bound_history()
        self._study.sampler = self._sampler(derive(self.config.seed, self.name, self._asked) % 2**32)
        wanted = self.enqueue[self._asked] if self._asked < len(self.enqueue) else None
        trial, point = self._ask(wanted)
        self._asked += 1
        self._live[number] = trial
        self._seen.add(_key(point))
        if self._stopper is not None:
            self._stopper.start(number)
        frozen = self._frozen(trial)
        attributes = {k: v for k, v in frozen.system_attrs.items() if not k.startswith(_REDUNDANT)}
        kind = "enqueued" if wanted is not None else "control" if self.control else "sampled"
        distributions = distributions_json(frozen.distributions)
        return Proposed(kind, {**self.extra, **point}, distributions, attributes, self.control)

    def _ask(self, wanted: Mapping[str, Any] | None) -> tuple[Trial, Point]:
        """A running Optuna trial and its point; as long as it can be helped, one that was not proposed before."""
        for _ in range(RETRIES if wanted is None else 0):
            trial, point = self._draw(None)
            if _key(point) not in self._seen:
                return trial, point
            self._study.tell(trial, state=TrialState.FAIL)
        return self._draw(wanted if wanted is not None else self._unseen())

    def _draw(self, wanted: Mapping[str, Any] | None) -> tuple[Trial, Point]:
        """The sampler's next point, with the values that are wanted."""
        if wanted is not None:
            self._study.enqueue_trial({k: v for k, v in wanted.items() if k in self.space})
        with _quiet():
            trial = self._study.ask()
            return trial, {**self.space.suggest(trial), **(wanted or {})}

    def _unseen(self) -> Point | None:
        """A point of a small space that was not proposed yet, if there is one."""
        if (self.space.combinations or GRID + 1) > GRID:
            return None
        left = [point for point in self.space.grid() if _key(point) not in self._seen]
        return left[derive(self.config.seed, self.name, "unseen", self._asked) % len(left)] if left else None

    def restore(self, number: int, proposed: Proposed, told: Told) -> None:
        self._asked += 1
        frozen = frozen_trial(proposed, told, searched_only=self.space)
        self._study.add_trial(frozen)
        self._seen.add(_key({k: v for k, v in proposed.point.items() if k not in self.extra}))
        if told.outcome is None:
            self._live[number] = self._handle(self._study)
        if self._stopper is not None:
            self._stopper.restore(number, told)

    def learn(self, proposed: Proposed, told: Told) -> None:
        """Take in an ended trial of another study: its sampler knows it, its budget does not."""
        self._study.add_trial(frozen_trial(proposed, told, searched_only=self.space))
        self._seen.add(_key(proposed.point))

    def report(self, number: int, step: int, value: float) -> bool:
        trial = self._live[number]
        if len(self.directions) > 1:
            return False
        with _quiet():  # a repeated step is ignored, which is what is wanted
            trial.report(value, step)
        return self._stopper is not None and self._stopper.report(number, step, value)

    def tell(self, number: int, told: Told) -> None:
        trial = self._live.pop(number)
        for name, violation in told.constraints.items():
            trial.set_constraint(name, violation)
        assert told.outcome is not None, "a trial that has ended has an outcome"
        values = told.values if told.outcome == "COMPLETE" else None
        self._study.tell(trial, values=values, state=TrialState[told.outcome])
        if self._stopper is not None:
            self._stopper.end(number, told)

    @property
    def optuna_trials(self) -> list[FrozenTrial]:
        """What the sampler knows, for tests and benchmarks."""
        return self._study.get_trials(deepcopy=False)

    def _new_study(self) -> optuna.Study:
        return optuna.create_study(study_name=self.name, directions=self.directions, sampler=RandomSampler())

    def _sampler(self, seed: int) -> BaseSampler:
        # A sixth to a quarter of a small budget goes into the start; Optuna's own ten would be all of it.
        start = min(10, max(3, self.trials // 4))
        match self.config.sampler:
            case "tpe":
                with _quiet():
                    return TPESampler(
                        seed=seed,
                        n_startup_trials=start,
                        multivariate=True,
                        group=self.space.conditional,
                        constant_liar=True,
                    )
            case "gp":
                return GPSampler(seed=seed, n_startup_trials=start, warn_independent_sampling=False)
            case "nsga2":
                return NSGAIISampler(seed=seed, population_size=min(50, max(4, self.trials // 6)))
            case "random":
                return RandomSampler(seed=seed)
            case other:
                raise AssertionError(f"{other} is no sampler of a search")

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[trial.number]

    @staticmethod
    def _handle(study: optuna.Study) -> Trial:
        """The trial added last, as one that can be reported to (Optuna has no public way from its number)."""
        return Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)

    def _bound_history(self) -> None:
        """Start a new Optuna study with the best and the latest trials once there are too many for the sampler."""
        cap = HISTORY.get(self.config.sampler)
        trials = self._study.get_trials(deepcopy=False)
        if cap is None or len(trials) < cap * 5 // 4:
            return
        best = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=self._badness)[: cap // 4]
        keep = {t.number for t in [*best, *trials[-(cap - len(best)) :]]}
        running = {trial.number: number for number, trial in self._live.items()}
        study = self._new_study()
        for trial in trials:
            if trial.number in keep or trial.number in running:
                study.add_trial(trial)
                if trial.number in running:
                    self._live[running[trial.number]] = self._handle(study)
        self._study = study

    def _badness(self, trial: FrozenTrial) -> tuple[float, float]:
        """Ascending from the best: infeasible last; with several objectives by the first."""
        violation = sum(max(v, 0.0) for v in trial.constraints.values())
        return violation, trial.values[0] * (1 if self.directions[0] == "minimize" else -1)


class Stopper:
    """A pruner of Optuna's over a study of its own: every trial keeps its place, whatever the sampler forgets."""

    def __init__(
        self, name: str, config: SearchConfig, direction: Direction, every: int | None, steps: int | None
    ) -> None:
        self._study = optuna.create_study(
            study_name=name, direction=direction, sampler=RandomSampler(seed=0), pruner=_pruner(config, every, steps)
        )
        self._live: dict[int, Trial] = {}

    def start(self, number: int) -> None:
        self._live[number] = self._study.ask()

    def restore(self, number: int, told: Told) -> None:
        if told.outcome is None:
            self.start(number)
            for step, value in told.intermediate.items():
                self._live[number].report(value, step)
        else:
            self._study.add_trial(frozen_trial(Proposed("", {}), told))

    def report(self, number: int, step: int, value: float) -> bool:
        with _quiet():
            self._live[number].report(value, step)
            return self._live[number].should_prune()

    def end(self, number: int, told: Told) -> None:
        assert told.outcome is not None, "a trial that has ended has an outcome"
        values = told.values if told.outcome == "COMPLETE" else None
        self._study.tell(self._live.pop(number), values=values, state=TrialState[told.outcome])


def frozen_trial(proposed: Proposed, told: Told, searched_only: Space | None = None) -> FrozenTrial:
    """A trial as Optuna keeps it: sampled parameters, values, intermediate values, constraints."""
    distributions = {
        k: json_to_distribution(json.dumps(d))
        for k, d in proposed.distributions.items()
        if searched_only is None or k in searched_only
    }
    constraints = {f"constraints:{k}": v for k, v in told.constraints.items()}
    values: Sequence[float] | None = told.values if told.outcome == "COMPLETE" else None
    if told.outcome == "PRUNED" and told.intermediate:
        values = [told.intermediate[max(told.intermediate)]]  # as Optuna's `tell` does
    return create_trial(
        state=TrialState[told.outcome] if told.outcome is not None else TrialState.RUNNING,
        values=values,
        params={k: proposed.point[k] for k in distributions},
        distributions=distributions,
        system_attrs={**proposed.attributes, **constraints},
        intermediate_values=dict(told.intermediate),
    )


def distributions_json(distributions: Mapping[str, optuna.distributions.BaseDistribution]) -> dict[str, Any]:
    """Dimension -> Optuna's JSON form of its distribution."""
    return {k: json.loads(distribution_to_json(d)) for k, d in distributions.items()}


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


_REDUNDANT = ("tpe:relative_params", "fixed_params", "constraints")
"""Attributes that repeat the parameters, or that are told at the end."""


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
def _quiet() -> Iterator[None]:
    """Without Optuna's notes on experimental arguments, and on what we rely on it to ignore."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
