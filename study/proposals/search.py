"""Optuna behind the interface of `proposer`: where searched points come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces.dimensions import Point, Space
from study.proposals.frozen import distributions_json, frozen_trial
from study.proposals.proposer import Feedback, Proposed
from study.proposals.pruning import Stopper, quiet
from study.question.config import SearchConfig
from study.record.record import ARM
from trainables.seeds import derive

HISTORY = {"tpe": 1000, "gp": 200}
"""Finished trials that a sampler's model is fitted to. Its time grows with them: linearly for TPE (45 ms an ask at
1,000), with their cube for the Gaussian process. Beyond it by a quarter, the best quarter and the latest remain."""

RETRIES = 10
"""Draws before a point that was proposed already is taken again: equal seeds would give equal scores."""

GRID = 10_000
"""Points up to which a space is enumerated in search of one that was not proposed yet."""


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
        arm: str | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.space, self.config, self.trials = name, space, config, trials
        self.control, self.extra, self.enqueue = control, dict(extra or {}), list(enqueue)
        self.directions = [o.direction for o in config.optimised]
        self._marks = {} if arm is None else {ARM: arm}
        self._asked = 0
        self._study = self._new_study()
        self._live: dict[int, Trial] = {}
        self._again: set[int] = set()
        """Optuna's numbers of points that were drawn a second time, and never proposed."""
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
        return Proposed(kind, {**self.extra, **point}, distributions, {**attributes, **self._marks}, self.control)

    def _ask(self, wanted: Mapping[str, Any] | None) -> tuple[Trial, Point]:
        """A running Optuna trial and its point; as long as it can be helped, one that was not proposed before."""
        for _ in range(RETRIES if wanted is None else 0):
            trial, point = self._draw(None)
            if _key(point) not in self._seen:
                return trial, point
            self._study.tell(trial, state=TrialState.FAIL)
            self._again.add(trial.number)
        return self._draw(wanted if wanted is not None else self._unseen())

    def _draw(self, wanted: Mapping[str, Any] | None) -> tuple[Trial, Point]:
        """The sampler's next point, with the values that are wanted."""
        if wanted is not None:
            self._study.enqueue_trial({k: v for k, v in wanted.items() if k in self.space})
        with quiet():
            trial = self._study.ask()
            return trial, {**self.space.suggest(trial), **(wanted or {})}

    def _unseen(self) -> Point | None:
        """A point of a small space that was not proposed yet, if there is one."""
        if (self.space.combinations or GRID + 1) > GRID:
            return None
        left = [point for point in self.space.grid() if _key(point) not in self._seen]
        return left[derive(self.config.seed, self.name, "unseen", self._asked) % len(left)] if left else None

    def restore(self, number: int, proposed: Proposed) -> None:
        self._bound_history()
        self._asked += 1
        self._study.add_trial(frozen_trial(proposed, Feedback(None), searched_only=self.space))
        # As it was drawn: an arm's space holds what others' is only laid under.
        self._seen.add(_key({k: v for k, v in proposed.point.items() if k in self.space or k not in self.extra}))
        self._live[number] = self._handle(self._study)
        if self._stopper is not None:
            self._stopper.start(number)

    def made(self, control: str | None, attributes: Mapping[str, Any]) -> bool:
        """Whether a trial with these fields in the ledger is of this search."""
        return control == self.control and attributes.get(ARM) == self._marks.get(ARM)

    def learn(self, proposed: Proposed, feedback: Feedback) -> None:
        """Take in an ended trial of another study: its sampler knows it, its budget does not."""
        self._study.add_trial(frozen_trial(proposed, feedback, searched_only=self.space))
        self._seen.add(_key(proposed.point))

    def report(self, number: int, step: int, value: float) -> bool:
        trial = self._live[number]
        if len(self.directions) > 1:
            return False
        with quiet():  # a repeated step is ignored, which is what is wanted
            trial.report(value, step)
        return self._stopper is not None and self._stopper.report(number, step, value)

    def tell(self, number: int, feedback: Feedback) -> None:
        trial = self._live.pop(number)
        for name, violation in feedback.constraints.items():
            trial.set_constraint(name, violation)
        assert feedback.outcome is not None, "a trial that has ended has an outcome"
        values = feedback.values if feedback.outcome == "COMPLETE" else None
        self._study.tell(trial, values=values, state=TrialState[feedback.outcome])
        if self._stopper is not None:
            self._stopper.end(number, feedback)

    def _new_study(self) -> optuna.Study:
        return optuna.create_study(study_name=self.name, directions=self.directions, sampler=RandomSampler())

    def _sampler(self, seed: int) -> BaseSampler:
        # A sixth to a quarter of a small budget goes into the start; Optuna's own ten would be all of it.
        start = min(10, max(3, self.trials // 4))
        match self.config.sampler:
            case "tpe":
                with quiet():
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
        """The trial added last, as one that can be reported to: of a study alone in memory, numbers are identities."""
        return Trial(study, study.get_trials(deepcopy=False)[-1].number)

    def _bound_history(self) -> None:
        """Start a new Optuna study with the best and the latest trials once there are too many for the sampler."""
        cap = HISTORY.get(self.config.sampler)
        # Who comes back to this count by the ledger knows of no second draws, and must cut where the first did.
        trials = [t for t in self._study.get_trials(deepcopy=False) if t.number not in self._again]
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
        self._study, self._again = study, set()

    def _badness(self, trial: FrozenTrial) -> tuple[float, float]:
        """Ascending from the best: infeasible last; with several objectives by the first."""
        violation = sum(max(v, 0.0) for v in trial.constraints.values())
        return violation, trial.values[0] * (1 if self.directions[0] == "minimize" else -1)


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


_REDUNDANT = ("tpe:relative_params", "fixed_params", "constraints")
"""Attributes that repeat the parameters, or that are told at the end."""
