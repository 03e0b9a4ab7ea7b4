"""Do the intervals of a confirmation cover what they promise? Planted effects, 0/1 answers, many simulated studies.

The data come out of the model that intervals and power assume: a known truth to test them against.

Prints, for each source of variation that dominates and each number of seeds, how often the two 95 % intervals cover the
effect on the sentences drawn and the effect in the population of sentences, how often they see no effect where there is
none, and their power beside the one that `study plan` predicts.

    python benchmarks/coverage.py [repetitions]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.analysis import power
from study.analysis.differences import decompose
from study.analysis.power import Spread

EXAMPLES = 300
EFFECT = 0.02
SCENARIOS = {
    "seeds dominate": Spread(seed=0.06, language_seed=0.0, example=0.1, rest=0.4),
    "sentences dominate": Spread(seed=0.002, language_seed=0.0, example=0.4, rest=0.2),
    "both alike": Spread(seed=0.02, language_seed=0.0, example=0.3, rest=0.3),
    "neither": Spread(seed=0.0, language_seed=0.0, example=0.0, rest=0.4),
}

Floats = npt.NDArray[np.float64]

DECIDED = 0.9
"""Expected difference on a sentence that one of the two systems nearly always gets right alone."""

CELLS = 4_000_000
"""Answers simulated at a time."""


def differences(
    generator: np.random.Generator, repetitions: int, seeds: int, examples: int, effect: float, spread: Spread
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Right minus wrong answers of two systems in one language, in {-1, 0, 1}: (repetitions, seeds, examples); and the
    effect on the very sentences drawn: (repetitions,).

    The expected difference of a sentence is the effect, plus a Gaussian by seed (`spread.seed`), plus `DECIDED` on some
    sentences and minus `DECIDED` on as many (so that their standard deviation is `spread.example`); disagreement on the
    other sentences makes up `spread.rest`. Exact as long as `spread.rest` leaves room for what the means demand.
    """
    share = (spread.example / DECIDED) ** 2
    by_seed = generator.normal(0.0, spread.seed, (repetitions, seeds, 1))
    by_example = DECIDED * generator.choice(
        [-1.0, 0.0, 1.0], (repetitions, 1, examples), p=[share / 2, 1 - share, share / 2]
    )
    mean = effect + by_seed + by_example
    # A variable in {-1, 0, 1} with mean m that is not 0 with chance q has variance q - m^2, and q is at least |m|.
    undecided = (spread.rest**2 - share * DECIDED * (1 - DECIDED)) / (1 - share)
    disagree = np.clip(np.where(by_example == 0, undecided, 0.0) + mean**2, np.abs(mean), 1.0)
    u = generator.random((repetitions, seeds, examples))
    answers = (u < (disagree + mean) / 2).astype(np.int8) - (u > 1 - (disagree - mean) / 2).astype(np.int8)
    return answers, effect + by_example.mean(axis=(1, 2))


@dataclass(frozen=True)
class Rates:
    """Shares of simulated confirmations; `error` is the Monte-Carlo standard error of a share near 95 % or 5 %."""

    repetitions: int
    by_seed_held: float
    """The interval by seed covers the effect on the sentences drawn."""
    by_seed: float
    """The interval by seed covers the effect in the population of sentences: what it does not promise."""
    by_both: float
    """The interval by both covers it."""
    seen_by_both: float
    """The interval by both excludes zero."""

    @property
    def error(self) -> float:
        """sqrt(.95 x .05 / repetitions)."""
        return float(np.sqrt(0.95 * 0.05 / self.repetitions))


def rates(
    generator: np.random.Generator, repetitions: int, seeds: int, examples: int, effect: float, spread: Spread
) -> Rates:
    """Coverage and rejections of the intervals of `differences.Difference` for one language."""
    hits = []
    block = max(1, CELLS // (seeds * examples))
    for start in range(0, repetitions, block):
        n = min(block, repetitions - start)
        drawn, held = differences(generator, n, seeds, examples, effect, spread)
        per_seed = drawn.mean(axis=-1)
        parts = decompose(per_seed, (drawn - per_seed[..., None]) / examples)
        by_seed, by_both = parts.half_widths()
        off = np.abs(parts.estimate - effect)
        hits.append(
            [
                np.sum(np.abs(parts.estimate - held) <= by_seed),
                np.sum(off <= by_seed),
                np.sum(off <= by_both),
                np.sum(np.abs(parts.estimate) > by_both),
            ]
        )
    return Rates(repetitions, *(float(v) / repetitions for v in np.sum(hits, axis=0)))


def main(repetitions: int) -> None:
    """Print the table."""
    generator = np.random.default_rng(2)
    print(f"{repetitions} simulated confirmations a row, {EXAMPLES} sentences, effect {100 * EFFECT:.0f} points")
    print(f"{'':20} {'':>5} | {'coverage (nominal 95 %)':^35} | {'false positives':^21} | {'power (predicted)':^15}")
    print(
        f"{'what varies':20} {'seeds':>5} | {'seed, held':>11} {'seed, pop.':>11} {'both, pop.':>11} | "
        f"{'seed, held':>10} {'both, pop.':>10} | {'both, pop.':>15}"
    )
    for name, spread in SCENARIOS.items():
        for seeds in (3, 5, 10):
            planted = rates(generator, repetitions, seeds, EXAMPLES, EFFECT, spread)
            null = rates(generator, repetitions, seeds, EXAMPLES, 0.0, spread)
            predicted = power.power(EFFECT, spread, seeds, 1, EXAMPLES, both=True)
            print(
                f"{name:20} {seeds:5} | {planted.by_seed_held:11.3f} {planted.by_seed:11.3f} {planted.by_both:11.3f} | "
                f"{1 - null.by_seed_held:10.3f} {null.seen_by_both:10.3f} | "
                f"{planted.seen_by_both:7.3f} ({predicted:.3f})"
            )
    print(f"Monte-Carlo standard error of a coverage: {planted.error:.4f}")
    print("held: the effect on the sentences drawn; pop.: the effect in the population they are drawn from")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
