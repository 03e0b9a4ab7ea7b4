"""A trainable without training: scores from a known response surface, for benchmarks and for tests of the seam."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from study.execution.trials import Proposal, Trials
from trainables.config import TrialConfig
from trainables.scores import Evaluation, LanguageScores
from trainables.seeds import derive

LANGUAGES = ("en", "de", "es", "fr", "fi", "it", "nl", "pl", "ar", "sw", "yo", "te", "gu", "qu", "ht")


@dataclass(frozen=True)
class Simulated:
    """Learning curves that rise to the surface's height: score = height x (1 - exp(-3 step / steps)) + noise."""

    surface: Callable[[TrialConfig], float]
    """Height in [0, 1]: the score of a trial trained for ever."""
    languages: Sequence[str] = LANGUAGES
    steps: int = 50
    every: int = 10
    noise: float = 0.0
    """Standard deviation over languages and steps; the same for equal training seeds."""
    cost: Callable[[TrialConfig], float] = lambda trial: 3.0
    """Forward-equivalents of a step."""
    offsets: Mapping[str, float] = field(default_factory=dict)
    """Language -> what it scores above the surface."""

    def evaluate(self, trial: TrialConfig, step: int) -> Evaluation:
        """The evaluation at one step."""
        height = self.surface(trial) * (1 - math.exp(-3 * step / self.steps))
        draw = random.Random(derive(trial.training.seed, "simulated", step))
        values = {k: height + self.offsets.get(k, 0.0) + draw.gauss(0, 1) * self.noise for k in self.languages}
        return Evaluation(
            step=step,
            split="validation",
            scores={"accuracy": LanguageScores(values, dict.fromkeys(self.languages, 100))},
            training={"loss": 1.0 - height, "relative_norm": trial.perturbation.epsilon},
            cost={"forward_equivalents": step * self.cost(trial), "train_seconds": step * 0.1},
            final=step == self.steps,
        )

    def evaluations(self, trial: TrialConfig, after: int = 0) -> Iterator[Evaluation]:
        """All evaluations after a step, the last one final."""
        for step in range(self.every, self.steps + 1, self.every):
            if step > after:
                yield self.evaluate(trial, step)


def run(trials: Trials, trainable: Simulated, concurrent: int = 1, seed: int = 0) -> int:
    """Run all trials that are left, so many at a time, in a random order of events; returns the steps trained."""
    draw = random.Random(seed)
    running: list[tuple[Proposal, Iterator[Evaluation]]] = []
    trained = 0
    while True:
        while len(running) < concurrent and (proposal := trials.ask()) is not None:
            trials.started(proposal.number, proposal.attempt)
            running.append((proposal, trainable.evaluations(proposal.trial)))
        if not running:
            return trained
        at = draw.randrange(len(running))
        proposal, evaluations = running[at]
        evaluation = next(evaluations)
        trained += trainable.every
        verdict = trials.report(proposal.number, proposal.attempt, evaluation)
        if verdict == "stop" or evaluation.final:
            trials.finish(proposal.number, proposal.attempt)
            running.pop(at)
