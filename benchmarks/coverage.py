"""Do the intervals of a confirmation cover what they promise? Planted effects, 0/1 answers, many simulated studies.

Prints, for each source of variation that dominates and each number of seeds, how often the two 95 % intervals cover the
effect on the sentences drawn and the effect in the population of sentences, how often they see no effect where there is
none, and their power beside the one that `study plan` predicts.

    python benchmarks/coverage.py [repetitions]
"""

from __future__ import annotations

import sys

import numpy as np

from study.analysis import power
from study.analysis.power import Spread
from study.analysis.simulate import rates

EXAMPLES = 300
EFFECT = 0.02
SCENARIOS = {
    "seeds dominate": Spread(seed=0.06, language_seed=0.0, example=0.1, rest=0.4),
    "sentences dominate": Spread(seed=0.002, language_seed=0.0, example=0.4, rest=0.2),
    "both alike": Spread(seed=0.02, language_seed=0.0, example=0.3, rest=0.3),
    "neither": Spread(seed=0.0, language_seed=0.0, example=0.0, rest=0.4),
}


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
