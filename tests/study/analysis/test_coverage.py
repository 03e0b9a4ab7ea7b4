"""The intervals of a confirmation against planted effects in 0/1 answers, at 3, 5 and 10 seeds.

4,000 simulated confirmations each: the Monte-Carlo standard error of a share near 95 % is 0.34 %, so that 93 and 97 %
are six of them away. `benchmarks/coverage.py` is the larger version.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import DECIDED, differences, rates
from study.analysis.power import Spread, power

SEEDS_DOMINATE = Spread(seed=0.06, language_seed=0.0, example=0.1, rest=0.4)
SENTENCES_DOMINATE = Spread(seed=0.002, language_seed=0.0, example=0.4, rest=0.2)
ALIKE = Spread(seed=0.02, language_seed=0.0, example=0.3, rest=0.3)
NEITHER = Spread(seed=0.0, language_seed=0.0, example=0.0, rest=0.4)

REPETITIONS = 4_000
EXAMPLES = 200


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [SEEDS_DOMINATE, SENTENCES_DOMINATE, ALIKE, NEITHER])
def test_coverage_level_and_power(spread: Spread, seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    planted = rates(generator, REPETITIONS, seeds, EXAMPLES, 0.04, spread)
    null = rates(generator, REPETITIONS, seeds, EXAMPLES, 0.0, spread)
    assert planted.error < 0.0035
    for found in (planted, null):
        assert 0.93 <= found.by_seed_held <= 0.97
        assert 0.93 <= found.by_both <= 0.97
    assert 0.03 <= null.seen_by_both <= 0.07
    assert planted.seen_by_both == pytest.approx(power(0.04, spread, seeds, 1, EXAMPLES, both=True), abs=0.03)


def test_seeds_alone_do_not_speak_for_new_sentences() -> None:
    """Why the second interval stands beside the first."""
    found = rates(np.random.default_rng(0), 1_000, 10, EXAMPLES, 0.04, SENTENCES_DOMINATE)
    assert found.by_seed < 0.6
    assert found.by_both > 0.93


def test_power_grows_with_seeds_until_sentences_limit_it() -> None:
    by_seeds = [power(0.04, SEEDS_DOMINATE, s, 1, EXAMPLES, both=True) for s in (3, 5, 10, 40)]
    assert by_seeds == sorted(by_seeds)
    assert by_seeds[-1] > 0.8
    assert power(0.04, SENTENCES_DOMINATE, 1_000, 1, EXAMPLES, both=True) < 0.4


def test_simulated_answers_have_the_moments_they_are_given() -> None:
    drawn, held = differences(np.random.default_rng(1), 400, 6, 500, 0.03, ALIKE)
    assert set(np.unique(drawn)) == {-1, 0, 1}
    assert drawn.mean() == pytest.approx(0.03, abs=0.003)
    assert held.std() == pytest.approx(ALIKE.example / np.sqrt(500), rel=0.1)
    # Sentences with a lasting difference: their mean over many seeds has the planted standard deviation.
    many, _ = differences(np.random.default_rng(2), 1, 200, 2_000, 0.0, ALIKE)
    assert many[0].mean(axis=0).std() == pytest.approx(ALIKE.example, rel=0.1)
    assert np.sqrt(many[0].var(axis=0).mean()) == pytest.approx(ALIKE.rest, rel=0.1)
    assert np.abs(many[0].mean(axis=0)).max() <= DECIDED + 0.1
