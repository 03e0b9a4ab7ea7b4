"""How far a model's confidence can be trusted: formulas over plain arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def calibration_error(confidences: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], bins: int) -> float:
    """Expected calibration error: distance of mean confidence and accuracy in each bin, weighted by its answers.

    Confidences (n,) are the probabilities of the answers; bin k of B holds those above k/B and up to (k + 1)/B (Guo et
    al. 2017, arXiv 1706.04599, equation 3). In [0, 1]. It depends on B, and is biased upwards where bins hold few.
    """
    place = bin_of(confidences, bins)
    surplus = np.bincount(place, weights=confidences - right, minlength=bins)
    return float(np.abs(surplus).sum() / len(confidences))


def bin_of(confidences: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.int64]:
    """Number (n,) of the bin of each confidence, from 0."""
    return np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)


def brier(probabilities: npt.NDArray[np.float64], gold: npt.NDArray[np.int64]) -> float:
    """Mean over answers of the squared distance between the probabilities (n, c) and the one-hot gold (n,).

    Summed over classes, as Brier (1950) has it: in [0, 2], 0 for certainty that is right.
    """
    chosen = probabilities[np.arange(len(gold)), gold]
    return float(np.mean((probabilities**2).sum(1) - 2 * chosen + 1))


def confidence_weighted_accuracy(confidences: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Share of the confidence that lies on right answers: sum of c_i over the right ones / sum of all c_i.

    Confidences (n,) are the probabilities of the answers. In [0, 1]; above the accuracy where right answers are the
    more confident ones, equal to it where confidence says nothing.
    """
    return float(confidences[right].sum() / confidences.sum())
