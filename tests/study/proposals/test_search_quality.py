"""Searches do what searches are for, on response surfaces that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from search_spaces import load
from study.execution.simulation import Simulated, run
from study.execution.trials import Trials
from study.proposals import ranking
from study.proposals.outcomes import feedback_of
from study.question.config import StudyConfig
from study.record.ledger import Ledger
from study.record.lines import read_study
from study.record.record import StudyRecord
from trainables.config import TrialConfig
from trainables.loading import validate

SEEDS = 20

SPACE = {
    "perturbation.method": "adversarial",
    "perturbation.epsilon": {"type": "float", "low": 0.03, "high": 0.6, "log": True},
    "perturbation.step_size": {"type": "float", "low": 0.25, "high": 1.5},
    "training.learning_rate": {"type": "float", "low": 5e-6, "high": 5e-4, "log": True},
    "perturbation.ascent_steps": {"type": "int", "low": 1, "high": 5},
}


def height(trial: TrialConfig) -> float:
    """A smooth hill with its top at epsilon 0.15, step size 1, learning rate 8e-5, 3 ascent steps."""
    p = trial.perturbation
    if p.method == "none":
        return 0.5
    away = (
        (math.log(p.epsilon / 0.15) / 1.5) ** 2
        + ((p.step_size - 1.0) / 0.6) ** 2
        + (math.log(trial.training.learning_rate / 8e-5) / 2.3) ** 2
        + ((p.ascent_steps - 3) / 2.0) ** 2
    )
    return 0.9 * math.exp(-0.5 * away)


@contextmanager
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing here is about durability."""
    with monkeypatch.context() as patch:
        patch.setattr("study.record.ledger.os.fsync", lambda descriptor: None)
        yield


def study(search: dict[str, Any], every: int = 10, steps: int = 50) -> StudyConfig:
    trial = {
        "perturbation": {"method": "adversarial"},
        "evaluation": {"every": every},
        "training": {"budget": {"steps": steps}},
    }
    return validate(StudyConfig, {"name": "quality", "trial": trial, "search": {"space": SPACE, **search}})


class Laboratory:
    """Runs simulated studies, one folder each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def run(
        self, config: StudyConfig, trainable: Simulated, concurrent: int = 2, seed: int = 0
    ) -> tuple[StudyRecord, int]:
        self.count += 1
        path = self.folder / str(self.count) / "ledger.jsonl"
        with Ledger.open(path) as ledger:
            trained = run(Trials(config, ledger, read_study(path)), trainable, concurrent, seed)
        return read_study(path), trained


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laboratory]:
    with quick_disk(monkeypatch):
        yield Laboratory(tmp_path)


def values(config: StudyConfig, record: StudyRecord) -> list[tuple[float, ...]]:
    heard = [feedback_of(config, t).values for t in record.trials.values() if t.kind != "baseline"]
    return [v for v in heard if v is not None]


def beats_random(score: Callable[[str, int], float], sampler: str) -> bool:
    """Whether a sampler does better than random at equal budget in so many of 20 seeds that the sign test says so."""
    needed = next(n for n in range(SEEDS) if binomtest(n, SEEDS, alternative="greater").pvalue < 0.05)
    won = lost = 0
    while won < needed and lost <= SEEDS - needed:  # then the remaining seeds can't change the answer
        seed = won + lost
        better = score(sampler, seed) > score("random", seed)
        won, lost = won + better, lost + (not better)
    return won >= needed


def best_height(laboratory: Laboratory, trials: int, space: Mapping[str, Any] = SPACE) -> Callable[[str, int], float]:
    """(sampler, seed) -> how high on the hill its choice stands."""
    # One evaluation of one language: the surface is what counts.
    trainable = Simulated(height, languages=("en",), steps=50, every=50, noise=0.01)

    def score(sampler: str, seed: int) -> float:
        config = study({"sampler": sampler, "trials": trials, "seed": seed, "space": dict(space)})
        record, _ = laboratory.run(config, trainable, seed=seed)
        best = ranking.choose(config, record).winner
        return height(ranking.trial_config(config, record.trials[best.numbers[0]]))

    return score


def test_tpe_beats_random(laboratory: Laboratory) -> None:
    assert beats_random(best_height(laboratory, 31), "tpe")
    assert not beats_random(best_height(laboratory, 31), "random"), "the test can tell"


@pytest.mark.slow
def test_the_gaussian_process_beats_random(laboratory: Laboratory) -> None:
    # Half a second an ask with every dimension: two will do.
    space = {k: v for k, v in SPACE.items() if not k.endswith(("step_size", "ascent_steps"))}
    assert beats_random(best_height(laboratory, 13, space), "gp")


# Several objectives


def trade(trial: TrialConfig) -> float:
    """Height rises with the number of ascent steps, and so does the cost."""
    p = trial.perturbation
    if p.method == "none":
        return 0.3
    near = math.exp(-((math.log(p.epsilon / 0.15)) ** 2) - (math.log(trial.training.learning_rate / 8e-5) / 1.5) ** 2)
    return (0.4 + 0.1 * p.ascent_steps) * near


def hypervolume(points: list[tuple[float, ...]], reference: tuple[float, float]) -> float:
    """Area between a reference (worst height, worst cost) and the front of (height up, cost down)."""
    inside = sorted((cost, top) for top, cost in points if top > reference[0] and cost < reference[1])
    area, best = 0.0, reference[0]
    for i, (cost, top) in enumerate(inside):
        best = max(best, top)
        following = inside[i + 1][0] if i + 1 < len(inside) else reference[1]
        area += (best - reference[0]) * (following - cost)
    return area


def test_hypervolume_by_hand() -> None:
    assert hypervolume([(0.5, 2.0), (0.8, 3.0), (0.4, 2.5)], (0.0, 4.0)) == pytest.approx(0.5 * 1 + 0.8 * 1)


@pytest.mark.slow
def test_nsga2_dominates_more_than_random(laboratory: Laboratory) -> None:
    objectives = [{"reduce": "source"}, {"reduce": "cost:forward_equivalents", "direction": "minimize"}]
    trainable = Simulated(
        trade, languages=("en",), steps=50, every=50, cost=lambda t: 3.0 + 2.0 * t.perturbation.ascent_steps
    )

    def score(sampler: str, seed: int) -> float:
        config = study({"sampler": sampler, "trials": 81, "seed": seed, "objectives": objectives})
        record, _ = laboratory.run(config, trainable, seed=seed)
        return hypervolume(values(config, record), (0.0, 50 * 14.0))

    assert beats_random(score, "nsga2")


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_constraints_are_honoured(laboratory: Laboratory, sampler: str) -> None:
    """The unconstrained top is infeasible: the search moves to the feasible side, and rank 1 is always feasible."""
    objectives = [
        {"reduce": "source"},
        {"reduce": "cost:forward_equivalents", "direction": "minimize", "threshold": 50 * 6.0},
    ]
    trainable = Simulated(
        trade, languages=("en",), steps=50, every=50, cost=lambda t: 3.0 + 2.0 * t.perturbation.ascent_steps
    )
    shares = []
    for name in (sampler, "random"):
        feasible = count = 0
        for seed in range(5):
            config = study({"sampler": name, "trials": 60, "seed": seed, "objectives": objectives})
            record, _ = laboratory.run(config, trainable, seed=seed)
            winner = ranking.trial_config(config, record.trials[ranking.choose(config, record).winner.numbers[0]])
            assert winner.perturbation.ascent_steps == 1
            late = [t for t in record.trials.values() if t.number > 20]
            count += len(late)
            feasible += sum(t.point["perturbation.ascent_steps"] == 1 for t in late)
        shares.append(feasible / count)
    assert shares[0] > 1.5 * shares[1], shares


# Conditions, pruning, designs


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "random"])
def test_conditional_dimensions_never_leak(laboratory: Laboratory, sampler: str) -> None:
    """A knob of another method is neither in a trial's point nor in its configuration."""
    config = study({"space": "methods", "sampler": sampler, "trials": 16 if sampler == "gp" else 40})
    trainable = Simulated(lambda t: 0.5 + 0.1 * (t.perturbation.method == "smart"), languages=("en",), every=50)
    record, _ = laboratory.run(config, trainable)
    space, base = load("methods"), config.trial.perturbation
    methods = set()
    for trial in record.trials.values():
        if trial.kind == "baseline":
            continue
        method = trial.point["perturbation.method"]
        methods.add(method)
        should = {d.path for d in space.dimensions if not d.when or method in d.when["perturbation.method"]}
        assert set(trial.point) == should
        trained = ranking.trial_config(config, trial).perturbation
        for name in ("epsilon", "sigma", "weight", "ascent_steps"):
            if f"perturbation.{name}" not in should:
                assert getattr(trained, name) == getattr(base, name)
    assert len(methods) >= 3


@pytest.mark.parametrize("pruner", ["median", "percentile", "successive_halving", "hyperband"])
def test_pruners_save_half_of_the_steps_and_keep_the_best(laboratory: Laboratory, pruner: str) -> None:
    trainable = Simulated(height, languages=("en",), steps=100, every=5, noise=0.01)
    saved, ranks = [], []
    for seed in range(5):
        config = study({"sampler": "random", "trials": 81, "seed": seed, "pruner": pruner}, every=5, steps=100)
        record, trained = laboratory.run(config, trainable, seed=seed)
        saved.append(1 - trained / (81 * 100))
        heights = {n: height(ranking.trial_config(config, t)) for n, t in record.trials.items()}
        winner = ranking.choose(config, record).winner.numbers[0]
        ranks.append(np.mean([h > heights[winner] for h in heights.values()]))
    assert np.mean(saved) >= 0.5, f"saved {np.mean(saved):.2f}"
    assert max(ranks) <= 0.1, ranks


@pytest.mark.parametrize("sampler", ["latin_hypercube", "sobol"])
def test_designs_fill_the_space(laboratory: Laboratory, sampler: str) -> None:
    """Each of 32 points has its own thirty-second of every continuous dimension (Sobol: a power of two)."""
    config = study({"mode": "design", "sampler": sampler, "trials": 33})
    record, _ = laboratory.run(config, Simulated(height, languages=("en",), every=50))
    space = load(SPACE)
    points = [t.point for t in record.trials.values() if t.kind == "design"]
    assert len(points) == 32
    for path in ("perturbation.epsilon", "perturbation.step_size", "training.learning_rate"):
        d = space[path]
        scale = math.log if d.log else float
        unit = [(scale(p[path]) - scale(d.low)) / (scale(d.high) - scale(d.low)) for p in points]
        assert sorted(int(u * 32) for u in unit) == list(range(32))
