"""Does a confirmation that stops early keep its level, and what does it save? 0/1 answers, planted effects, real rules.

The answers are those of `benchmarks/coverage.py` (seeds, sentences or both vary), the rules those of
`study/analysis/sequential.py`: the larger p-value of the tests by seed and by both against the plan's bounds, and
futility, followed or not.

    python benchmarks/looks.py [repetitions]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.analysis import sequential
from study.analysis.differences import Decomposition, decompose
from study.analysis.power import Spread
from study.analysis.sequential import Floats, Plan

if __package__:
    from benchmarks.coverage import CELLS, differences
else:  # as a script, which has its own folder on the path and not the one above it
    from coverage import CELLS, differences

MOST = 20
EVERY = (20, 10, 7, 5, 4)
"""One to five looks."""

SCENARIOS = {
    "seeds vary": Spread(seed=0.02, language_seed=0.0, example=0.0, rest=0.3),
    "sentences vary": Spread(seed=0.002, language_seed=0.0, example=0.3, rest=0.2),
    "both vary": Spread(seed=0.02, language_seed=0.0, example=0.15, rest=0.3),
}

EXAMPLES = 200


@dataclass(frozen=True)
class Rates:
    """Over simulated confirmations that follow one plan."""

    shown: float
    """Share that crosses a bound, futility ignored: the power, or under no effect the type I error."""
    followed: float
    """The same where futility stops them."""
    seeds: float
    """Mean number of seeds at which they stop, futility followed."""
    futile: float
    """Share that stops for futility."""
    covered: float
    """Share whose last repeated interval holds the effect in the population of sentences, futility followed."""
    plain: float
    """The same of the plain 95 % interval at that look: what looking costs."""


def stopped(parts: Sequence[Decomposition], plan: Plan, effect: float) -> Floats:
    """(6, repetitions): the quantities of `Rates` for each confirmation; `parts` at each of the plan's looks."""
    repetitions = parts[0].estimate.size
    shown, followed, futile, covered, plain = (np.zeros(repetitions) for _ in range(5))
    seeds, going = np.zeros(repetitions), np.ones(repetitions, dtype=bool)
    for one, bound in zip(parts, plan.bounds, strict=True):
        crossed = sequential.p_values(one) <= bound
        hopeless = ~crossed & (sequential.predictive_power(one, plan) < sequential.FUTILE) & (one.seeds < plan.most)
        shown = np.maximum(shown, crossed)
        ends = going & (crossed | hopeless | (one.seeds == plan.most))
        off = np.abs(one.estimate - effect)
        followed[ends], futile[ends], seeds[ends] = crossed[ends], hopeless[ends], one.seeds
        covered[ends] = (off <= one.half_widths(1 - bound)[1])[ends]
        plain[ends] = (off <= one.half_widths()[1])[ends]
        going &= ~ends
    return np.stack([shown, followed, seeds, futile, covered, plain])


def rates(
    generator: np.random.Generator,
    repetitions: int,
    plans: Sequence[Plan],
    effect: float,
    spread: Spread,
    examples: int = EXAMPLES,
) -> list[Rates]:
    """The same simulated confirmations under each of the plans, which have their number of seeds in common."""
    most = plans[0].most
    found = []
    block = max(1, CELLS // (most * examples))
    for start in range(0, repetitions, block):
        drawn, _ = differences(generator, min(block, repetitions - start), most, examples, effect, spread)
        per_seed = drawn.mean(axis=-1)
        influence = (drawn - per_seed[..., None]) / examples
        parts = {n: decompose(per_seed[:, :n], influence[:, :n]) for n in sorted({n for p in plans for n in p.looks})}
        found.append(np.stack([stopped([parts[n] for n in p.looks], p, effect) for p in plans]))
    return [Rates(*map(float, row)) for row in np.concatenate(found, axis=-1).mean(axis=-1)]


def main(repetitions: int) -> None:
    """Print the table."""
    plans = [sequential.plan(MOST, every) for every in EVERY]
    error = np.sqrt(0.05 * 0.95 / repetitions)
    print(
        f"{repetitions} simulated confirmations a row, {MOST} seeds at most, {EXAMPLES} sentences (error {error:.4f})"
    )
    print(f"{'what varies':16} points looks | shown (futility followed)  futile |  seeds saved | interval (plain)")
    for name, spread in SCENARIOS.items():
        for effect in (0.0, 0.01, 0.03):
            found = rates(np.random.default_rng(7), repetitions, plans, effect, spread)
            for plan, r in zip(plans, found, strict=True):
                shares = f"{r.shown:5.3f} {r.followed:20.3f} {r.futile:7.3f}"
                held = f"{r.seeds:6.1f} {MOST - r.seeds:5.1f} | {r.covered:8.3f} ({r.plain:.3f})"
                print(f"{name:16} {100 * effect:6.0f} {len(plan.looks):5} | {shares} | {held}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
