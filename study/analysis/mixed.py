"""Linear mixed models with crossed random effects: REML, and Kenward and Roger's intervals of single coefficients.

The model: ``y = X b + sum over k of Z_k u_k + e``, each u_k with independent normal elements of variance theta_k, e of
theta_r. Blocks may cross each other (languages and tasks). Theory: Searle, Casella and McCulloch 1992, chapter 6
(Fisher scoring in the form of iterated MINQUE); Kenward and Roger 1997, Biometrics 53:983, whose standard error counts
what estimating the variances adds, and whose degrees of freedom are, for one coefficient, Satterthwaite's.

All of it follows from the cross-products of (X, Z, y), so that nothing is as large as the number of rows squared, and
leading dimensions are many fits at once. Ours, since the library's has no Kenward and Roger, and takes a second a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROUNDS = 100
"""Of Fisher scoring, at most."""

WHOLE = 8
"""The first of them, which go the whole step; later ones half of it, as the whole one can go back and forth at the edge
where a variance is zero."""

SMALL = 1e-6
"""A share of the variance of y below which a variance is zero; also how closely the rounds have to agree."""


@dataclass(frozen=True)
class MixedFit:
    """Arrays over leading dimensions; p coefficients, K + 1 variances, the residual's last."""

    coefficients: Floats
    """(…, p)"""
    errors: Floats
    """(…, p) Kenward and Roger's standard errors; NaN where the rows cannot tell the variances apart."""
    df: Floats
    """(…, p)"""
    variances: Floats
    """(…, K + 1), none below zero."""


class _Products:
    """Cross-products of T = (X, Z, y), and their like under the inverse of y's covariance."""

    def __init__(self, y: Floats, x: Floats, blocks: Sequence[Floats]) -> None:
        self.p, self.n = x.shape[-1], y.shape[-1]
        lead = np.broadcast_shapes(y.shape[:-1], x.shape[:-2], *(z.shape[:-2] for z in blocks))
        parts = [np.broadcast_to(part, (*lead, *part.shape[-2:])) for part in (x, *blocks, y[..., None])]
        together = np.concatenate(parts, axis=-1)
        self.gram = np.swapaxes(together, -1, -2) @ together
        self.widths = [z.shape[-1] for z in blocks]
        ends = np.cumsum([self.p, *self.widths])
        self.x, self.y = slice(0, self.p), int(ends[-1])
        self.z = slice(self.p, self.y)
        self.blocks = [slice(int(a), int(b)) for a, b in pairwise(ends)]

    def weighted(self, variances: Floats) -> Floats:
        """T'V⁻¹T, by Woodbury's identity."""
        rest = variances[..., -1, None, None]
        root = np.sqrt(np.repeat(variances[..., :-1], self.widths, axis=-1))
        scaled = root[..., :, None] * self.gram[..., self.z, :]
        inner = root[..., None, :] * scaled[..., self.z]
        inner = inner + rest * np.eye(inner.shape[-1])
        return np.asarray((self.gram - np.swapaxes(scaled, -1, -2) @ np.linalg.solve(inner, scaled)) / rest)

    def projected(self, weighted: Floats) -> Floats:
        """T'PT, P = V⁻¹ - V⁻¹X (X'V⁻¹X)⁻¹ X'V⁻¹."""
        towards = weighted[..., self.x, :]
        solved = np.linalg.solve(weighted[..., self.x, self.x], towards)
        return np.asarray(weighted - np.swapaxes(towards, -1, -2) @ solved)

    def scores(self, projected: Floats, variances: Floats) -> tuple[Floats, Floats]:
        """tr(P V_i P V_j) (…, K + 1, K + 1) and y'P V_i P y (…, K + 1). The residual's follow from P V P = P."""
        k, rest = len(self.blocks), variances[..., -1]
        lead = projected.shape[:-2]
        information, squares = np.zeros((*lead, k + 1, k + 1)), np.zeros((*lead, k + 1))
        trace = np.zeros((*lead, k))
        for i, a in enumerate(self.blocks):
            squares[..., i] = (projected[..., a, self.y] ** 2).sum(axis=-1)
            trace[..., i] = np.trace(projected[..., a, a], axis1=-2, axis2=-1)
            for j, b in enumerate(self.blocks):
                information[..., i, j] = (projected[..., a, b] ** 2).sum(axis=(-2, -1))
        own = variances[..., :-1]
        crossed = (trace - (information[..., :k, :k] * own[..., None, :]).sum(axis=-1)) / rest[..., None]
        information[..., :k, k] = information[..., k, :k] = crossed
        whole = (self.n - self.p - (own * trace).sum(axis=-1)) / rest
        information[..., k, k] = (whole - (own * crossed).sum(axis=-1)) / rest
        squares[..., k] = (projected[..., self.y, self.y] - (own * squares[..., :k]).sum(axis=-1)) / rest
        return information, squares


def fit(y: npt.ArrayLike, x: npt.ArrayLike, blocks: Sequence[npt.ArrayLike]) -> MixedFit:
    """Fit y (…, n) on X (…, n, p), of full rank, with the blocks Z_k (…, n, q_k) as random effects."""
    values, columns, *parts = (np.asarray(a, dtype=float) for a in (y, x, *blocks))
    products = _Products(values, columns, parts)
    variances = _reml(products)
    weighted = products.weighted(variances)
    covariance = np.asarray(np.linalg.inv(weighted[..., products.x, products.x]), dtype=float)
    coefficients = (covariance @ weighted[..., products.x, products.y, None])[..., 0]
    errors, df = _kenward_roger(products, weighted, covariance, variances)
    return MixedFit(coefficients, errors, df, variances)


def _reml(products: _Products) -> Floats:
    """(…, K + 1) variances, those that would be negative zero."""
    k = len(products.blocks)
    total = products.gram[..., products.y, products.y] / products.n
    variances = np.repeat(total[..., None], k + 1, axis=-1) / (k + 1)
    for done in range(ROUNDS):
        before = variances
        information, squares = products.scores(products.projected(products.weighted(variances)), variances)
        found = _solve(information, squares, SMALL * total)
        variances = found if done < WHOLE else (before + found) / 2
        variances = np.where(variances < SMALL * total[..., None], 0.0, variances)
        if np.allclose(before, variances, rtol=1e-4, atol=SMALL * float(np.min(total))):
            break
    return variances


def _solve(information: Floats, squares: Floats, least: Floats) -> Floats:
    """Variances of which the scores are as expected; negative ones become zero, and the others are solved for anew."""
    k = squares.shape[-1]
    free = np.ones(squares.shape, dtype=bool)
    for _ in range(k):
        both = free[..., :, None] & free[..., None, :]
        found = np.linalg.solve(np.where(both, information, np.eye(k)), np.where(free, squares, 0.0)[..., None])[..., 0]
        free &= found > 0
        free[..., -1] = True
    found = np.where(free, found, 0.0)
    found[..., -1] = np.maximum(found[..., -1], least)
    return np.asarray(np.maximum(found, 0.0))


def _kenward_roger(
    products: _Products, weighted: Floats, covariance: Floats, variances: Floats
) -> tuple[Floats, Floats]:
    """Standard errors and degrees of freedom (…, p); variances that are zero count as known."""
    k, p = len(products.blocks), products.p
    projected = products.projected(weighted)
    information, _ = products.scores(projected, variances)
    free = variances > 0
    both = free[..., :, None] & free[..., None, :]
    # Covariance of the variances: twice the inverse of tr(P V_i P V_j).
    uncertain = np.where(both, 2 * np.linalg.inv(np.where(both, information, np.eye(k + 1))), 0.0)
    # What the residual's parts are by the blocks': V_r = (V - sum of theta_k V_k) / theta_r, and P V V⁻¹ X = 0.
    rest = variances[..., -1:]
    ones = np.broadcast_to(np.eye(k), (*rest.shape[:-1], k, k))
    share = np.concatenate([ones, -(variances[..., None, :-1] / rest[..., None])], axis=-2)
    between = np.swapaxes(share, -1, -2) @ uncertain @ share
    ways = [weighted[..., products.x, block] for block in products.blocks]
    added = np.zeros((*rest.shape[:-1], p, p))
    for i, a in enumerate(products.blocks):
        for j, b in enumerate(products.blocks):
            inner = ways[i] @ projected[..., a, b] @ np.swapaxes(ways[j], -1, -2)
            added = added + between[..., i, j, None, None] * inner
    errors = covariance + 2 * covariance @ added @ covariance
    # How the variance of each coefficient changes with each of the variances.
    through = [np.swapaxes(covariance @ way, -1, -2) for way in ways]
    slopes = [(t**2).sum(axis=-2) for t in through]
    diagonal = np.diagonal(covariance, axis1=-2, axis2=-1)
    of_rest = (diagonal - sum(variances[..., i, None] * s for i, s in enumerate(slopes))) / rest
    gradient = np.stack([*slopes, of_rest], axis=-1)
    spread = (gradient[..., None, :] @ uncertain[..., None, :, :] @ gradient[..., :, None])[..., 0, 0]
    square = np.diagonal(errors, axis1=-2, axis2=-1)
    # Not above zero where a handful of cells cannot tell the variances apart.
    return np.sqrt(np.where(square > 0, square, np.nan)), 2 * diagonal**2 / spread
