"""Reliability against a plain restatement."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from study.analysis import intervals
from study.analysis.calibration import reliability

UNITS = {"en": "source language", "de": "class 5", "sw": "class 2", "yo": "class 2"}
BINS = 4


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [
        {"configuration": name, "seed": seed, "language": language, "score": float(draw.integers(2)),
         "confidence": float(draw.choice([0.25, 0.3, 0.5, 0.7, 1.0]))}
        for name in ("winner", "control a") for seed in (1, 2, 3) for language in (*UNITS, "xx") for _ in range(9)
    ]  # fmt: skip
    return pd.DataFrame([*rows, {**rows[0], "confidence": np.nan}])


def test_each_bin_is_the_mean_over_seeds_of_the_answers_in_it(results: pd.DataFrame) -> None:
    found = reliability(results, UNITS, BINS)
    assert set(found["unit"]) == set(UNITS.values())
    for (name, unit), part in found.groupby(["configuration", "unit"]):
        assert part["share"].sum() == pytest.approx(1.0)
        for row in part.to_dict("records"):
            accuracies, sure, answers, inside = [], [], 0, 0
            for seed in (1, 2, 3):
                own = results[(results["configuration"] == name) & (results["seed"] == seed)].dropna()
                own = own[own["language"].map(UNITS.get) == unit]
                within = own[(own["confidence"] > row["bin"] / BINS) & (own["confidence"] <= (row["bin"] + 1) / BINS)]
                answers, inside = answers + len(own), inside + len(within)
                if len(within):
                    accuracies.append(within["score"].mean())
                    sure.append(within["confidence"].mean())
            assert (row["share"], row["seeds"]) == (pytest.approx(inside / answers), len(accuracies))
            assert row["accuracy"] == pytest.approx(np.mean(accuracies))
            assert row["confidence"] == pytest.approx(np.mean(sure))
            span = intervals.of_mean(accuracies)
            if span.known:
                assert (row["low"], row["high"]) == (pytest.approx(max(span.low, 0)), pytest.approx(min(span.high, 1)))
            else:
                assert np.isnan(row["low"])
