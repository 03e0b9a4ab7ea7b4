"""Randomised smoothing: l2 radii within which the smoothed classifier provably keeps its answer.

The smoothed classifier g answers what the base classifier f answers most often under Gaussian noise: g(x) = argmax_c
P(f(x + N(0, sigma^2 I)) = c). If c has probability p > 1/2, g answers c at every point closer than sigma * Phi^-1(p)
(Cohen et al. 2019, arXiv 1902.02918, theorem 1; with p_B = 1 - p_A). The distance is the joint l2 norm over all
perturbed tokens of an item, n x d coordinates. The guarantee is about g, never about f, and about points near the
embeddings: it says nothing about replaced words, whose embeddings are usually farther away than the radius reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import beta, norm
from torch import Tensor
from torch.nn.functional import one_hot

from trainables.perturbation.balls import gaussian
from trainables.perturbation.base import Perturbable
from trainables.seeds import derive

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Certificates:
    """One certificate per item: with probability at least 1 - alpha each, g keeps `answers` within `radius`.

    Where it abstains the radius is 0 and the answer carries no guarantee.
    """

    answers: Integers
    radius: Floats
    abstained: Bools

    def correct(self, gold: Integers) -> Bools:
        """Whether g answers rightly without abstaining."""
        correct: Bools = np.logical_and(self.answers == gold, ~self.abstained)
        return correct


def lower_bound(successes: npt.ArrayLike, draws: int, alpha: float) -> Floats:
    """One-sided Clopper–Pearson bound: lies below the true probability in at least 1 - alpha of all samples."""
    k = np.asarray(successes, dtype=np.float64)
    bound = beta.ppf(alpha, np.maximum(k, 1.0), draws - k + 1.0)
    return np.where(k > 0, bound, 0.0)


def certified_radius(successes: npt.ArrayLike, draws: int, sigma: float, alpha: float) -> Floats:
    """sigma * Phi^-1(p), p the lower bound; 0 where p is not above 1/2 (abstention). In the unit of sigma.

    The draws cap it: all of them agreeing, it is 1.5 sigma at 100 draws and alpha 0.001.

    >>> certified_radius([100, 80, 50], draws=100, sigma=0.25, alpha=0.001).round(3).tolist()
    [0.375, 0.099, 0.0]
    """
    p = lower_bound(successes, draws, alpha)
    return np.where(p > 0.5, sigma * norm.ppf(np.maximum(p, 0.5)), 0.0)


def certify(
    answers: Callable[[range], Tensor],
    classes: int,
    selection_draws: int,
    draws: int,
    sigma: float,
    alpha: float,
    at_once: int = 1,
) -> Certificates:
    """Certificates of a batch of items (Cohen et al., CERTIFY).

    `answers(numbers)` are the base classifier's answers under the noise draws of those numbers, `at_once` of them at
    most: (draws, n), integers below `classes`. The first `selection_draws` choose the answer, the `draws` after them
    estimate its probability: the same draws for both would bias the bound upwards. Sigma, an absolute standard
    deviation per coordinate, sets the unit of the radii.
    """
    selected = _votes(answers, range(selection_draws), classes, at_once).argmax(axis=1)
    votes = _votes(answers, range(selection_draws, selection_draws + draws), classes, at_once)
    successes = np.take_along_axis(votes, selected[:, None], axis=1)[:, 0]
    radius = certified_radius(successes, draws, sigma, alpha)
    return Certificates(selected, radius, lower_bound(successes, draws, alpha) <= 0.5)


def _votes(answers: Callable[[range], Tensor], draws: range, classes: int, at_once: int) -> Integers:
    """How often each class was answered, (n, classes)."""
    parts = [draws[begin : begin + at_once] for begin in range(0, len(draws), at_once)]
    votes = torch.stack([one_hot(answers(part), classes).sum(dim=0) for part in parts]).sum(dim=0)
    return np.asarray(votes.cpu().numpy(), dtype=np.int64)


@torch.no_grad()
def noisy_answers(batch: Perturbable, sigma: float, draws: range) -> Tensor:
    """The base classifier's answers (draws, n) under draws of Gaussian noise, sigma absolute per coordinate.

    `batch` has the items once for each draw, one copy of all after the other.
    """
    seeds = torch.tensor([derive(batch.draw, "smoothing", draw) for draw in draws], device=batch.keys.device)
    each = seeds.repeat_interleave(len(batch.keys) // len(draws), output_size=len(batch.keys))
    noise = gaussian(sigma, None, batch.keys, each, batch.mask, batch.embeddings)
    return batch.answers(batch.forward(batch.embeddings + noise)).view(len(draws), -1)


@torch.no_grad()
def nearest_word_distance(ids: Tensor, table: Tensor, chunk: int = 256) -> Tensor:
    """Distance (k,) from each word embedding ``table[ids]`` to the nearest other row of `table` (v, e).

    The scale to read a certified radius against: a shorter radius holds no other word's embedding.
    """
    nearest = []
    for part in torch.split(ids, chunk):
        distances = torch.cdist(table[part], table)
        distances.scatter_(1, part.unsqueeze(1), float("inf"))
        nearest.append(distances.amin(dim=1))
    return torch.cat(nearest) if nearest else table.new_zeros(0)
