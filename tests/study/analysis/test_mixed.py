"""Mixed models against the likelihood and Kenward and Roger's formulas, written out over all rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, stats

from study.analysis import mixed

Floats = npt.NDArray[np.float64]


def crossed(
    seed: int, languages: int = 12, tasks: int = 4, deviation: float = 0.8
) -> tuple[Floats, Floats, list[Floats]]:
    """y, X and the blocks of languages that cross tasks, a quarter of the cells missing."""
    generator = np.random.default_rng(seed)
    language, task = np.repeat(np.arange(languages), tasks), np.tile(np.arange(tasks), languages)
    kept = generator.random(language.size) < 0.75
    language, task = language[kept], task[kept]
    x = np.column_stack(
        [np.ones(language.size), generator.normal(size=languages)[language], generator.normal(size=language.size)]
    )
    y = x @ [1, 0.5, -0.3] + generator.normal(0, deviation, languages)[language]
    y = y + generator.normal(0, 0.5, tasks)[task] + generator.normal(0, 0.6, language.size)
    return y, x, [np.eye(languages)[language], np.eye(tasks)[task]]


def by_rows(y: Floats, x: Floats, blocks: list[Floats]) -> tuple[Floats, Floats, Floats, Floats]:
    """Variances, coefficients, Kenward and Roger's errors and degrees of freedom, from matrices of all rows."""
    parts = [z @ z.T for z in blocks] + [np.eye(y.size)]

    def inverse(variances: Floats) -> tuple[Floats, Floats]:
        total = sum(v * part for v, part in zip(variances, parts, strict=True))
        return np.linalg.inv(total), np.linalg.inv(x.T @ np.linalg.inv(total) @ x)

    def minus(logs: Floats) -> float:
        v, c = inverse(np.exp(logs))
        residual = y - x @ c @ x.T @ v @ y
        return float(-np.linalg.slogdet(v)[1] - np.linalg.slogdet(c)[1] + residual @ v @ residual) / 2

    options = {"xatol": 1e-8, "fatol": 1e-12, "maxiter": 5_000}
    variances = np.exp(optimize.minimize(minus, np.full(len(parts), -1.0), method="Nelder-Mead", options=options).x)
    v, c = inverse(variances)
    p = v - v @ x @ c @ x.T @ v
    spread = np.linalg.inv([[np.trace(p @ a @ p @ b) / 2 for b in parts] for a in parts])
    ways = [-x.T @ v @ a @ v @ x for a in parts]
    count = range(len(parts))
    added = sum(
        spread[i, j] * (x.T @ v @ parts[i] @ v @ parts[j] @ v @ x - ways[i] @ c @ ways[j]) for i in count for j in count
    )
    gradient = np.array([-np.diag(c @ way @ c) for way in ways]).T
    df = 2 * np.diag(c) ** 2 / np.einsum("pi,ij,pj->p", gradient, spread, gradient)
    return variances, c @ x.T @ v @ y, np.sqrt(np.diag(c + 2 * c @ added @ c)), df


@pytest.mark.parametrize("seed", [0, 1])
def test_variances_errors_and_degrees_of_freedom_are_those_written_out(seed: int) -> None:
    y, x, blocks = crossed(seed)
    variances, coefficients, errors, df = by_rows(y, x, blocks)
    found = mixed.fit(y, x, blocks)
    assert found.variances == pytest.approx(variances, rel=1e-3)
    assert found.coefficients == pytest.approx(coefficients, rel=1e-3)
    assert found.errors == pytest.approx(errors, rel=1e-3)
    assert found.df == pytest.approx(df, rel=1e-3)


def test_many_fits_at_once_are_each_fit_alone() -> None:
    ys, x, blocks = np.stack([crossed(3)[0] + k for k in (0, 1)]), *crossed(3)[1:]
    together, alone = mixed.fit(ys, x, blocks), mixed.fit(ys[1], x, blocks)
    for name in ("coefficients", "errors", "df", "variances"):
        assert getattr(together, name)[1] == pytest.approx(getattr(alone, name), rel=2e-3)


def test_a_variance_that_would_be_negative_is_zero_and_the_likelihood_is_largest_there() -> None:
    y, x, blocks = crossed(9, deviation=0.0)
    found = mixed.fit(y, x, blocks)
    without = mixed.fit(y, x, blocks[1:])
    assert found.variances[0] == 0
    assert found.variances[1:] == pytest.approx(without.variances, rel=1e-3)


def test_balanced_data_have_the_exact_t_interval_over_languages() -> None:
    """Every language in every task, a fact of the language: the regression on languages' means, df languages - 2."""
    generator = np.random.default_rng(4)
    languages, tasks = 9, 4
    language, task = np.repeat(np.arange(languages), tasks), np.tile(np.arange(tasks), languages)
    fact = generator.normal(size=languages)
    y = (
        generator.normal(0, 1, languages)[language]
        + generator.normal(0, 1, tasks)[task]
        + generator.normal(0, 0.3, language.size)
    )
    found = mixed.fit(
        y, np.column_stack([np.ones(y.size), fact[language]]), [np.eye(languages)[language], np.eye(tasks)[task]]
    )
    means = stats.linregress(fact, y.reshape(languages, tasks).mean(axis=1))
    assert found.coefficients[1] == pytest.approx(means.slope, rel=1e-4)
    assert found.errors[1] == pytest.approx(means.stderr, rel=1e-3)
    assert found.df[1] == pytest.approx(languages - 2, rel=1e-3)
