"""Groups of languages compared. The unit is the language: each has one mean gain, and counts once with its variants.

A statement such as "low-resource languages gain more" is about languages, so its uncertainty is that over languages;
ten thousand sentences in three languages are three observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans

from study.analysis import intervals, significance
from study.analysis.frames import collapse_variants
from study.analysis.intervals import UNKNOWN, Interval

Floats = npt.NDArray[np.float64]

SMALLEST = 3
"""Languages a group must have on either side to be compared at all."""

ENUMERATED = 20_000
"""Most ways of drawing the group that are all enumerated."""

EXACT_PAIRS = 8
"""Most pairs of which all orders are, 40,320."""

SAME_ORDER = 1e-9
"""Rounding of a rank correlation."""

SMALLEST_ERROR = 1e-6
"""Standard error that the permuted statistic has at least: far below one example in a test set."""


def gains_by_language(per_seed: pd.DataFrame, baseline: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """One row per language, variants averaged in: the facts, `gain` (mean over seeds) and `baseline` (control's score).

    `per_seed` and `baseline` have one row per seed and one column per language code.
    """
    gain, base = (
        collapse_variants(table, facts).mean().rename(n) for table, n in ((per_seed, "gain"), (baseline, "baseline"))
    )
    return pd.concat([gain, base], axis=1).rename_axis("language").reset_index().merge(facts, on="language", how="left")


def memberships(
    languages: pd.DataFrame, declared: Mapping[str, tuple[str, ...]] | None = None
) -> Iterator[tuple[str, str, pd.Series[bool], pd.Series[bool]]]:
    """(group, rest, who is in the group, who is in the rest) over the rows of `gains_by_language`.

    Low- against high-resource (Joshi class at most 2, at least 3), unseen against seen in pretraining, each script and
    each family against all others, and groups declared in the protocol. Languages whose fact is unknown are in neither.
    """
    resource = pd.to_numeric(languages["resource_class"], errors="coerce")
    yield "low-resource, class ≤ 2", "class ≥ 3", resource <= 2, resource >= 3
    seen = languages["seen"]
    yield "unseen in pretraining", "seen", seen.eq(False) & seen.notna(), seen.eq(True) & seen.notna()
    for column in ("script", "family"):
        known = languages[column].notna() & (languages[column] != "")
        for value in sorted(languages.loc[known, column].unique()):
            yield (
                f"{column} {value}",
                f"other {column}s".replace("familys", "families"),
                languages[column] == value,
                known & (languages[column] != value),
            )
    for name, codes in (declared or {}).items():
        inside = languages["language"].isin(codes)
        yield name, "all others", inside, ~inside


def group_contrasts(
    languages: pd.DataFrame, per_seed: pd.DataFrame | None = None, declared: Mapping[str, tuple[str, ...]] | None = None
) -> pd.DataFrame:
    """Mean gain of each group minus that of its rest, languages as the unit; exploratory (q by Benjamini-Hochberg).

    `languages` as from `gains_by_language`; `per_seed` (variants collapsed) adds the variation over seeds beside it.
    One row per comparison: group, rest, n_group, n_rest, mean_group, mean_rest, difference, low, high (Welch), p
    (permutation of languages), q (adjusted), adjusted, adjusted_low, adjusted_high, adjusted_n (given baseline score
    and log pretraining size), seed_low, seed_high. Groups of fewer than `SMALLEST` languages on a side are left out.
    """
    rows = []
    for group, rest, inside, outside in memberships(languages, declared):
        a, b = (languages.loc[side, "gain"].to_numpy(dtype=float) for side in (inside, outside))
        if min(a.size, b.size) < SMALLEST:
            continue
        welch, adjusted = welch_interval(a, b), adjusted_contrast(languages, inside, outside)
        by_seed = _over_seeds(languages, per_seed, inside, outside)
        row = {
            "group": group, "rest": rest, "n_group": a.size, "n_rest": b.size,
            "mean_group": a.mean(), "mean_rest": b.mean(), "difference": a.mean() - b.mean(),
            "low": welch.low, "high": welch.high, "p": permutation_p(a, b),
            "adjusted": adjusted[0], "adjusted_low": adjusted[1].low, "adjusted_high": adjusted[1].high,
            "adjusted_n": adjusted[2], "seed_low": by_seed.low, "seed_high": by_seed.high,
        }  # fmt: skip
        rows.append(row)
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["q"] = significance.benjamini_hochberg(frame["p"].to_numpy())
    return frame


def welch_interval(a: npt.ArrayLike, b: npt.ArrayLike) -> Interval:
    """Welch's t interval of mean(a) - mean(b), for at least two values each; unknown where neither side varies."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if np.hypot(x.std(), y.std()) < intervals.NO_VARIATION:
        return UNKNOWN
    low, high = CompareMeans.from_data(x, y).tconfint_diff(1 - intervals.LEVEL, usevar="unequal")
    return Interval(float(low), float(high))


def permutation_p(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided p of permuting values between two groups, by Welch's statistic (Janssen 1997: right under unequal
    variances too). Exact where there are at most `ENUMERATED` ways, else that many random ones."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    # "two-sided" would double the smaller tail, which is another p where the groups' sizes differ.
    test = stats.permutation_test(
        (x, y), _welch_statistic, vectorized=True, n_resamples=ENUMERATED, alternative="greater", rng=significance.SEED
    )
    return float(test.pvalue)


def _welch_statistic(x: Floats, y: Floats, axis: int) -> Floats:
    """|t|, but finite where neither side varies (SciPy's is NaN); rounded, as equals may differ in their last bits."""
    gap = np.abs(x.mean(axis=axis) - y.mean(axis=axis))
    error = np.hypot(*(v.std(axis=axis, ddof=1) / np.sqrt(v.shape[axis]) for v in (x, y)))
    return np.asarray(np.round(gap / np.maximum(error, SMALLEST_ERROR), 9))


def adjusted_contrast(
    languages: pd.DataFrame, inside: pd.Series[bool], outside: pd.Series[bool]
) -> tuple[float, Interval, int]:
    """Group effect on gain given the baseline score and the log of the pretraining size, its t interval, and the number
    of languages with both known (ordinary least squares; unknown with fewer than three residual degrees of freedom).

    The baseline score shares its noise with the gain, but both come from the same sentences and seeds, whose noise is
    small beside the spread between languages, so the coupling that Oldham (1962) warned of is negligible here.
    """
    size = np.log10(pd.to_numeric(languages["pretraining_size"], errors="coerce").where(lambda v: v > 0))
    known = (inside | outside) & size.notna() & languages["baseline"].notna()
    n = int(known.sum())
    group = inside[known].to_numpy(dtype=float)
    design = np.column_stack([np.ones(n), group, languages.loc[known, "baseline"], size[known]])
    if n < design.shape[1] + 3 or np.linalg.matrix_rank(design) < design.shape[1]:
        return float("nan"), UNKNOWN, n
    fit = sm.OLS(languages.loc[known, "gain"].to_numpy(dtype=float), design).fit()
    return float(fit.params[1]), intervals.around(float(fit.params[1]), float(fit.bse[1]), float(fit.df_resid)), n


def _over_seeds(
    languages: pd.DataFrame, per_seed: pd.DataFrame | None, inside: pd.Series[bool], outside: pd.Series[bool]
) -> Interval:
    if per_seed is None:
        return UNKNOWN
    a, b = (per_seed[list(languages.loc[side, "language"])].mean(axis=1) for side in (inside, outside))
    return intervals.of_mean((a - b).to_numpy(dtype=float))


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, Interval, float, int]:
    """Spearman's rho over pairs without NaN, its interval, its two-sided p, and the number of pairs.

    Interval: Fisher's z with Bonett and Wright's (2000) standard error sqrt((1 + rho²/2) / (n - 3)); needs n > 3, and
    unknown where the order is the same. p: exact, over all orders, up to `EXACT_PAIRS` pairs, where the t approximation
    would find too much (at n = 4 in 8 % of cases, and p = 0 for what one in 12 orders gives); else that.

    >>> rho, interval, p, n = spearman([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])
    >>> round(rho, 2), interval.low < 0 < interval.high, n
    (0.8, True, 5)
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b, n = a[known], b[known], int(known.sum())
    if n <= 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan"), UNKNOWN, float("nan"), n
    test = stats.spearmanr(a, b)
    rho, p = float(test.statistic), _exact_p(a, b) if n <= EXACT_PAIRS else float(test.pvalue)
    if abs(rho) > 1 - SAME_ORDER:
        return float(np.sign(rho)), UNKNOWN, p, n
    half = float(stats.norm.ppf((1 + intervals.LEVEL) / 2)) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return (
        rho,
        Interval(float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half))),
        p,
        n,
    )


def _exact_p(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Share of all orders of `b` whose rank correlation with `a` is as far from zero."""
    x, y = (stats.rankdata(each) - (len(each) + 1) / 2 for each in (a, b))
    sums = y[_orders(len(y))] @ x
    return float(np.mean(np.abs(sums) >= abs(y @ x) - SAME_ORDER))


@lru_cache(maxsize=EXACT_PAIRS)
def _orders(n: int) -> npt.NDArray[np.int8]:
    return np.array(list(permutations(range(n))), dtype=np.int8)
