"""A trial whose model is exported: its scores language by language, with the intervals that the study allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from study.analysis import intervals
from study.analysis.frames import language_scores
from study.analysis.intervals import UNKNOWN, Interval
from study.proposals import ranking
from study.record.record import TrialRecord
from study.views import history
from study.views.found import Study
from trainables.config import TrialConfig
from trainables.scores import Split
from trainables.tasks.definition import TaskDefinition
from trainables.tasks.definition import find as task_definition

SPLITS: tuple[Split, ...] = ("validation", "test")

SHARE = "accuracy"
"""The metric that is a share of examples: its score and their number give an interval."""


@dataclass(frozen=True)
class Score:
    """What the model scores in one language."""

    language: str
    value: float
    examples: int
    interval: Interval = UNKNOWN


@dataclass(frozen=True)
class Seeds:
    """What a model's configuration scores under several training seeds."""

    split: Split
    count: int
    are_ours: bool
    """Whether this model is one of those: else they are fresh, and all of them others."""
    scores: list[Score]


@dataclass(frozen=True)
class Model:
    """A trial of a study, as a model card tells of it."""

    study: Study
    trial: TrialRecord
    results: pd.DataFrame | None
    """Results frame of the study's confirmation, if there was one."""

    @property
    def config(self) -> TrialConfig:
        """What the trial trained."""
        return ranking.trial_config(self.study.config, self.trial)

    @property
    def definition(self) -> TaskDefinition:
        """Its task."""
        return task_definition(self.config.task.name)[0]

    @property
    def was_chosen(self) -> bool:
        """Whether the selection rule ranks its configuration first."""
        choice = self.study.choice
        return choice is not None and self.trial.number in choice.winner.numbers

    def scores(self, split: Split) -> tuple[str, list[Score]]:
        """The primary metric's name, and this very model's scores on a split, language by language."""
        evaluation = self.trial.result(self.config, split)
        if evaluation is None:
            return "", []
        given = self._intervals(split)
        scores = []
        for language in evaluation.primary.languages:
            value, count = evaluation.primary[language], evaluation.primary.counts[language]
            of_counts = intervals.of_share(round(value * count), count) if evaluation.metric == SHARE else UNKNOWN
            scores.append(Score(language, value, count, given.get(language, of_counts)))
        return evaluation.metric, scores

    def _intervals(self, split: Split) -> Mapping[str, Interval]:
        """By the single examples, where the study keeps them: of confirmed trials."""
        if self.results is None or self.trial.phase == "run":
            return {}
        name, seed = history.configuration_name(self.trial), self.config.training.seed
        own = self.results[(self.results["configuration"] == name) & (self.results["seed"] == seed)]
        own = own[(own["split"] == split) & (own["metric"] != SHARE)]
        return {str(k): intervals.of_ratio(f["score"], f["weight"]) for k, f in own.groupby("language")}

    def over_seeds(self) -> Seeds | None:
        """Its configuration under several training seeds: fresh ones of the confirmation, on the test split, or else
        replicates of phase `run`, on validation. None where there is no other seed."""
        own = self._unseeded(self.trial)
        same = [t for t in self.study.trials if t.state == "COMPLETE" and self._unseeded(t) == own]
        confirmed = [t for t in same if t.phase == "confirm"]
        if self.results is not None and (self.trial.phase == "run" or len(confirmed) > 1):
            scores = language_scores(self.results)
            is_own = scores["configuration"].isin([history.configuration_name(t) for t in confirmed])
            scores = scores[is_own & (scores["split"] == "test")]
            if len(scores):
                return Seeds("test", scores["seed"].nunique(), self.trial.phase == "confirm", _means(scores))
        found = [e for t in same if t.phase == self.trial.phase == "run" and (e := t.result(self.config)) is not None]
        if len(found) < 2:
            return None
        rows = [(k, e.primary[k], e.primary.counts[k]) for e in found for k in e.primary.languages]
        scores = pd.DataFrame(rows, columns=["language", "score", "examples"])
        return Seeds("validation", len(found), True, _means(scores))

    def _unseeded(self, trial: TrialRecord) -> tuple[TrialConfig, bool]:
        """What a trial trained, less its seed; and whether it is a mean of weights, which was not trained at all."""
        config = ranking.trial_config(self.study.config, trial)
        training = config.training.model_copy(update={"seed": 0})
        return config.model_copy(update={"training": training}), "mean" in trial.attributes


def _means(scores: pd.DataFrame) -> list[Score]:
    """Mean over seeds, with its t interval, language by language."""
    return [
        Score(str(k), float(f["score"].mean()), int(f["examples"].max()), intervals.of_mean(f["score"].dropna()))
        for k, f in scores.groupby("language")
    ]
