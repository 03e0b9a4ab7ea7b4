"""Importances against variance shares known by construction, fronts against Optuna's."""

from __future__ import annotations

import numpy as np
import optuna
import pandas as pd
import pytest

from study.analysis import importance


@pytest.fixture
def trials() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    a, b, c = generator.uniform(0, 1, (3, 80))
    # Variances 9/12 and 1/12: shares 0.9 and 0.1; c does nothing.
    return pd.DataFrame({"p.a": a, "p.b": b, "p.c": c, "value": 3 * a + b})


def test_shares_of_an_additive_response(trials: pd.DataFrame) -> None:
    table = importance.importances(trials, ["p.a", "p.b", "p.c"], "value").set_index("parameter")
    assert list(table.index)[:2] == ["p.a", "p.b"]
    assert table.loc["p.a", "importance"] == pytest.approx(0.9, abs=0.06)
    assert table.loc["p.b", "importance"] == pytest.approx(0.1, abs=0.06)
    assert table.loc["p.c", "importance"] < 0.02
    assert table["importance"].sum() == pytest.approx(1.0)
    assert (table["sd"] < 0.05).all()


def test_categories_and_constants(trials: pd.DataFrame) -> None:
    trials["p.method"] = np.where(np.arange(80) % 2, "adversarial", "random_perturbation")
    trials["p.fixed"] = 1.0
    trials["value"] += 4 * (trials["p.method"] == "adversarial")
    table = importance.importances(trials, ["p.a", "p.method", "p.fixed", "p.absent"], "value")
    assert table["parameter"].tolist() == ["p.method", "p.a"]


def test_too_few_trials_have_no_importance(trials: pd.DataFrame) -> None:
    assert importance.importances(trials.head(importance.FEWEST_TRIALS - 1), ["p.a"], "value").empty


def test_distributions_hold_their_values() -> None:
    assert importance.distribution([0.03, 0.6]) == optuna.distributions.FloatDistribution(0.03, 0.6, log=True)
    assert importance.distribution([1.0, 2.0, 3.0]) == optuna.distributions.IntDistribution(1, 3)
    assert importance.distribution(["b", "a"]) == optuna.distributions.CategoricalDistribution(["a", "b"])
    assert importance.distribution([True, False]) == optuna.distributions.CategoricalDistribution([False, True])


def test_optunas_verbosity_is_left_alone(trials: pd.DataFrame, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    importance.importances(trials, ["p.a"], "value")
    assert optuna.logging.get_verbosity() == before
    assert "study" not in capfd.readouterr().err


def test_front_is_optunas() -> None:
    values = np.random.default_rng(1).integers(0, 8, (60, 2)).astype(float)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=list(row)))
    expected = {t.number for t in study.best_trials}
    assert set(np.flatnonzero(importance.pareto_front(values, [True, False]))) == expected


def test_unknown_values_are_never_on_the_front() -> None:
    front = importance.pareto_front([[1.0, np.nan], [0.5, 2.0], [0.4, 1.0]], [True, True])
    assert front.tolist() == [False, True, False]
