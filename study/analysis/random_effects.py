"""Effects of several units as a sample of units like them: REML, with Hartung and Knapp's standard error.

The model: unit k's effect is ``mean + unit_k + error_k``, the units' true effects varying by tau², the errors by known
variances. tau² is by restricted maximum likelihood; the mean's standard error by Hartung and Knapp (2001), with k - 1
degrees of freedom, since a handful of units leave tau² so uncertain that a normal interval is far too short. (The
library's ``iterated`` is Paule and Mandel's tau², which is another estimate.)

Variances that are estimates themselves are to be pooled over units before they come here: those of two or three seeds
each, taken for known, leave 85 % of the mean's 95 (`benchmarks/pooled.py`). Their common degrees of freedom, `df`, go
into what is said of tau².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from study.analysis import intervals
from study.analysis.intervals import UNKNOWN, Interval

Floats = npt.NDArray[np.float64]

ROUNDS = 500
"""Of Fisher scoring, at most."""


@dataclass(frozen=True)
class RandomEffects:
    """What units like these have in common, and how they differ. NaN, unknown: one unit alone, or no variation."""

    units: int
    estimate: float
    interval: Interval
    """Of the mean over units like these."""
    p: float
    tau2: float
    tau2_interval: Interval
    i2: float
    """Share of the variance of the measured effects that is the units' own, in [0, 1] (Higgins and Thompson 2002)."""
    p_heterogeneity: float
    """Of the units' true effects being equal."""
    prediction: Interval
    """Where the effect of another such unit is found, measured as these are (its error is in it: the customary interval
    for the true effect covers 85 to 93 % of them where units are few and tau² is small)."""


@dataclass(frozen=True)
class Fit:
    """Arrays over leading dimensions."""

    tau2: Floats
    estimate: Floats
    error: Floats
    """Hartung and Knapp's standard error of the estimate."""
    scale: Floats
    """Their factor: the weighted mean square of the effects about the estimate, near 1."""


def reml(effects: npt.ArrayLike, variances: npt.ArrayLike) -> Floats:
    """tau² of (…, K) effects with known variances (above zero) of their errors; Fisher scoring, never below zero."""
    y, v = np.broadcast_arrays(np.asarray(effects, dtype=float), np.asarray(variances, dtype=float))
    tau2 = np.maximum(y.var(axis=-1, ddof=1) - v.mean(axis=-1), 0.0)
    for _ in range(ROUNDS):
        w = 1 / (tau2[..., None] + v)
        one, two, three = ((w**power).sum(axis=-1) for power in (1, 2, 3))
        residual = y - ((w * y).sum(axis=-1) / one)[..., None]
        score = (w**2 * residual**2).sum(axis=-1) - (one - two / one)
        step = score / (two - 2 * three / one + (two / one) ** 2)
        before, tau2 = tau2, np.maximum(tau2 + step, 0.0)
        if np.allclose(before, tau2, rtol=1e-10, atol=1e-12 * float(v.max(initial=0.0))):
            break
    return np.asarray(tau2)


def fit(effects: npt.ArrayLike, variances: npt.ArrayLike) -> Fit:
    """REML and Hartung and Knapp's error of (…, K) effects. Without errors (all variances zero): the plain t test."""
    y, v = np.broadcast_arrays(np.asarray(effects, dtype=float), np.asarray(variances, dtype=float))
    assert np.all(v > 0) or not v.any(), "variances are all above zero, or all unknown"
    tau2 = reml(y, v) if v.any() else y.var(axis=-1, ddof=1)
    w = 1 / (tau2[..., None] + v)
    estimate = (w * y).sum(axis=-1) / w.sum(axis=-1)
    scale = (w * (y - estimate[..., None]) ** 2).sum(axis=-1) / (y.shape[-1] - 1)
    return Fit(np.asarray(tau2), estimate, np.sqrt(scale / w.sum(axis=-1)), scale)


def heterogeneity(effects: npt.ArrayLike, variances: npt.ArrayLike, tau2: npt.ArrayLike, df: float = np.inf) -> Floats:
    """Chance of effects that differ by no more than these do, given `tau2`: its distribution function, to be inverted.

    The generalised Q (Viechtbauer 2007), an F variable whose denominator has Satterthwaite's degrees of freedom of
    tau² plus a variance that is estimated with `df`; exact for tau² = 0 and equal variances.
    """
    y, v = np.broadcast_arrays(np.asarray(effects, dtype=float), np.asarray(variances, dtype=float))
    t = np.asarray(tau2, dtype=float)[..., None]
    w = 1 / (t + v)
    residual = y - ((w * y).sum(axis=-1) / w.sum(axis=-1))[..., None]
    q = (w * residual**2).sum(axis=-1) / (y.shape[-1] - 1)
    inside = v.mean(axis=-1)
    # From here on the F distribution is chi-squared over its degrees of freedom to six digits.
    free = np.minimum(df * ((t[..., 0] + inside) / inside) ** 2, 1e8)
    return np.asarray(stats.f.cdf(q, y.shape[-1] - 1, free))


def random_effects(effects: npt.ArrayLike, variances: npt.ArrayLike, df: float = np.inf) -> RandomEffects:
    """(K,) effects, and the variances of their errors, which are known or pooled with `df` degrees of freedom.

    Variances of zero mean that errors are unknown: then the mean has its t interval, and nothing is said of tau².

    >>> found = random_effects([0.1, 0.3, 0.35, 0.65], [0.01, 0.01, 0.02, 0.02])
    >>> round(found.estimate, 3), round(found.tau2, 3)
    (0.335, 0.035)
    """
    y, v = np.broadcast_arrays(np.asarray(effects, dtype=float), np.asarray(variances, dtype=float))
    nothing = float("nan")
    if y.size < 2 or (np.ptp(y) < intervals.NO_VARIATION and not v.any()):
        mean = float(y.mean()) if y.size else nothing
        return RandomEffects(y.size, mean, UNKNOWN, nothing, nothing, UNKNOWN, nothing, nothing, UNKNOWN)
    found, free = fit(y, v), y.size - 1
    estimate, error = float(found.estimate), float(found.error)
    spread = np.sqrt(float(found.scale) * (float(found.tau2) + float(v.mean())) + error**2)
    has_errors = bool(np.all(v > 0))
    return RandomEffects(
        y.size, estimate,
        interval=intervals.around(estimate, error, free),
        p=intervals.p_value(estimate, error, free),
        tau2=float(found.tau2) if has_errors else nothing,
        tau2_interval=_tau2_interval(y, v, df) if has_errors else UNKNOWN,
        i2=float(found.tau2) / (float(found.tau2) + _typical(v)) if has_errors else nothing,
        p_heterogeneity=1 - float(heterogeneity(y, v, 0.0, df)) if has_errors else nothing,
        prediction=intervals.around(estimate, float(spread), free),
    )  # fmt: skip


def _typical(v: Floats) -> float:
    """The typical error's variance of Higgins and Thompson."""
    w = 1 / v
    return float((v.size - 1) * w.sum() / (w.sum() ** 2 - (w**2).sum()))


def _tau2_interval(y: Floats, v: Floats, df: float) -> Interval:
    """The values of tau² that are not refused at either end."""
    tail = (1 - intervals.LEVEL) / 2

    def end(chance: float) -> float:
        def over(tau2: float) -> float:
            return float(heterogeneity(y, v, tau2, df)) - chance

        if over(0.0) <= 0:
            return 0.0
        upper = float(y.var(ddof=1) + v.mean())
        while over(upper) > 0:
            upper *= 2
        return float(optimize.brentq(over, 0.0, upper, xtol=1e-12 * upper))

    return Interval(end(1 - tail), end(tail))
