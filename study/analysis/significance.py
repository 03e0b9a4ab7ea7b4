"""Tests that are not a t test, and corrections for testing often."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as _mcnemar
from statsmodels.stats.multitest import multipletests

Floats = npt.NDArray[np.float64]

EXACT_PAIRS = 16
"""Most pairs whose sign flips are all enumerated (65,536 of them)."""

SEED = 0
"""Of random permutations: a report made again is the same."""

DIGITS = 12
"""Decimals to which a statistic is rounded: scores are multiples of one over a count, so that flips are often equal to
the observed in truth, but not to the last bit."""

DRAWS = 9_999
"""Random permutations where enumeration is too much; the smallest p-value is then one in ten thousand."""


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values (family-wise error; for claims). NaN stays NaN and is not counted.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    return _adjusted(p, "holm")


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Benjamini and Hochberg's step-up adjusted p-values (false discovery rate; for maps). NaN stays NaN."""
    return _adjusted(p, "fdr_bh")


def _adjusted(p: npt.ArrayLike, method: str) -> Floats:
    """The library counts NaN as a test."""
    result = np.array(p, dtype=float)
    known = ~np.isnan(result)
    if known.any():
        result[known] = multipletests(result[known], method=method)[1]
    return result


def smallest_sign_flip_p(pairs: int) -> float:
    """The smallest two-sided p-value that `pairs` pairs can give when only signs are flipped: 2 / 2**pairs.

    >>> smallest_sign_flip_p(8)
    0.0078125
    """
    return min(1.0, 2.0 ** (1 - pairs))


def sign_flip(differences: npt.ArrayLike) -> float:
    """Two-sided p of the sign-flip (Fisher randomisation) test of paired differences; exact up to `EXACT_PAIRS` pairs.

    It assumes only that under no effect each difference is as likely as its negative: no normality.

    >>> sign_flip([0.01, 0.02, 0.03, 0.04, 0.02])
    0.0625
    """
    d = np.asarray(differences, dtype=float)
    if d.size == 0 or np.isnan(d).any():
        return float("nan")
    if d.size == 1:  # the library wants two
        return 1.0
    # "two-sided" doubles the smaller tail, so that random flips could not go below two in ten thousand.
    test = stats.permutation_test(
        (d,),
        lambda x, axis: np.round(np.abs(x.sum(axis=axis)), DIGITS),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_PAIRS if d.size <= EXACT_PAIRS else DRAWS,
        alternative="greater",
        rng=SEED,
    )
    return float(test.pvalue)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Two-sided exact p of McNemar's test for two systems' right (1) and wrong (0) answers to the same examples."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    return float(_mcnemar(table, exact=True).pvalue)


def clustered_mcnemar(differences: npt.ArrayLike) -> float:
    """McNemar's test where each example is answered under several seeds (Durkalski et al. 2003, Stat. Med. 22:2417).

    `differences` (seeds, examples) holds right minus wrong, in {-1, 0, 1}; the examples are the clusters. With a single
    seed its statistic is McNemar's (b - c)^2 / (b + c). The p-value is asymptotic: two-sided, chi-squared with one df.
    """
    per_example = np.asarray(differences, dtype=float).mean(axis=0)
    squares = float(np.sum(per_example**2))
    if squares == 0:
        return 1.0
    return float(stats.chi2.sf(per_example.sum() ** 2 / squares, 1))


def swap_sentences(scores: tuple[npt.ArrayLike, npt.ArrayLike], weights: tuple[npt.ArrayLike, npt.ArrayLike]) -> float:
    """Two-sided p of approximate randomisation (Noreen 1989): each sentence's two systems are swapped at random.

    `scores` and `weights` are those of two systems, (seeds, examples); a system's score is the mean over seeds of
    sum(score x weight) / sum(weight), recomputed for each of `DRAWS` swaps, so it is right for corpus F1 as for means.
    A sentence is swapped in all seeds together.
    """
    # Ours: SciPy's paired permutations move one value a sample, and a sentence is a score and a weight under each seed.
    (xa, xb), (wa, wb) = ([np.atleast_2d(np.asarray(v, dtype=float)) for v in pair] for pair in (scores, weights))
    numerators, denominators = (xa * wa, xb * wb), (wa, wb)

    def difference(swap: Floats) -> Floats:
        ratios = []
        for own, other in ((0, 1), (1, 0)):
            top, bottom = (v[own].sum(1) + swap @ (v[other] - v[own]).T for v in (numerators, denominators))
            ratios.append(np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0).mean(axis=1))
        return np.asarray(ratios[0] - ratios[1])

    observed = abs(difference(np.zeros((1, xa.shape[1])))[0])
    generator = np.random.default_rng(SEED)
    # In blocks: a test set of five thousand sentences would otherwise need half a gigabyte.
    block = max(1, 4_000_000 // max(1, xa.shape[1]))
    extreme = 0
    for start in range(0, DRAWS, block):
        swap = generator.integers(0, 2, size=(min(block, DRAWS - start), xa.shape[1])).astype(float)
        extreme += int(np.sum(np.abs(difference(swap)) >= observed - 1e-12))
    return (1 + extreme) / (1 + DRAWS)
