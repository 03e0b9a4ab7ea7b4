"""The strongest control, and what choosing a winner did to its score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import selection
from study.analysis.frames import language_scores
from tests.study.simulated import mean_of, results


def test_strongest_control_has_the_best_mean_and_is_a_control() -> None:
    frame = results(
        np.random.default_rng(0), {"winner": 0.3, "control b": 0.1, "control c": -0.1}, ["de", "sw"], examples=200
    )
    scores = language_scores(frame)
    assert selection.strongest_control(scores, mean_of()) == "control b"
    without = scores[scores["control"] == ""]
    assert selection.strongest_control(without, mean_of()) is None


def test_of_equal_controls_the_first_letter_is_taken() -> None:
    frame = results(np.random.default_rng(0), {}, ["sw"])
    twin = frame.assign(configuration="another", control="c")
    scores = language_scores(pd.concat([twin, frame]))
    assert selection.strongest_control(scores, mean_of()) == "control a"


def trial(phase: str, split: str, seed: int, language: str, score: float, **more: object) -> dict[str, object]:
    row: dict[str, object] = {
        "phase": phase, "split": split, "seed": seed, "language": language, "score": score, "state": "COMPLETE",
        "kind": "sampled", "configuration": "winner" if phase == "confirm" else "trial 4", "control": "",
        "examples": 40,
    }  # fmt: skip
    return row | more


def test_winners_curse_is_over_common_languages_and_by_hand() -> None:
    rows = [trial("run", "validation", 0, k, 0.70) for k in ("de", "sw", "yo")]
    rows += [trial("run", "validation", 0, k, 0.66, kind="baseline", configuration="trial 0") for k in ("de", "sw")]
    for seed, score in ((1, 0.66), (2, 0.68), (3, 0.64)):
        rows += [trial("confirm", "validation", seed, k, score) for k in ("de", "sw", "ht")]
        rows += [trial("confirm", "test", seed, k, score - 0.01) for k in ("de", "sw", "ht")]
        rows += [trial("confirm", "test", seed, k, 0.64, control="a", configuration="control a") for k in ("de", "sw")]
    table = pd.DataFrame(rows)
    found = selection.optimism(table, table[table["configuration"] == "trial 4"], "winner")
    assert found is not None
    assert found.languages == ("de", "sw")
    assert (found.chosen, found.fresh, found.test) == pytest.approx((0.70, 0.66, 0.65))
    # Its own score is one more draw, so the noise is that of a difference: of one seed and of three.
    half = stats.t.ppf(0.975, 2) * 0.02 * np.sqrt(1 + 1 / 3)
    assert (found.curse.low, found.curse.high) == pytest.approx((0.04 - half, 0.04 + half))
    assert found.same_examples
    table.loc[table["phase"] == "confirm", "examples"] = 200
    fewer = selection.optimism(table, table[table["configuration"] == "trial 4"], "winner")
    assert fewer is not None and not fewer.same_examples


def test_without_a_choice_the_curse_is_found_as_often_as_it_says() -> None:
    """The score that was chosen is a draw like the fresh ones: their noise alone would find one in half the cases."""
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(400):
        rows = [trial("run", "validation", 0, "sw", generator.normal())]
        for seed in range(1, 9):
            score = generator.normal()
            rows += [trial("confirm", split, seed, "sw", score) for split in ("validation", "test")]
        table = pd.DataFrame(rows)
        curse = selection.optimism(table, table[table["phase"] == "run"], "winner")
        found += curse is not None and curse.curse.excludes_zero
    assert found / 400 < 0.08


def test_no_curse_without_a_confirmation() -> None:
    table = pd.DataFrame([trial("run", "validation", 0, "sw", 0.7)])
    assert selection.optimism(table, table, "winner") is None
