"""Fixed designs: all points chosen before the first trial, by a rule that no score can bend."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from search_spaces.dimensions import Point, Space, Value


def design(
    space: Space, sampler: str, points: int, seed: int, levels: Mapping[str, Sequence[Value]] | None = None
) -> list[Point]:
    """The points of a `grid` (all there are), `latin_hypercube` or `sobol` design (`points` of them).

    A scrambled Sobol sequence of n points begins one of more points; a Latin hypercube does not.

    >>> import search_spaces
    >>> space = search_spaces.load({"perturbation.ascent_steps": [1, 3], "perturbation.norm": ["l2", "linf"]})
    >>> design(space, "grid", points=4, seed=0)[0]
    {'perturbation.ascent_steps': 1, 'perturbation.norm': 'l2'}
    """
    if sampler == "grid":
        return space.grid(levels)
    from scipy.stats import qmc  # a second and a half, which other studies do without

    dimensions = len(space.searched)
    generator = np.random.default_rng(seed)
    if sampler == "latin_hypercube":
        sample = qmc.LatinHypercube(dimensions, rng=generator).random(points)
    else:
        # Drawn by whole powers of two, as the sequence's balance wants, and cut.
        sample = qmc.Sobol(dimensions, rng=generator).random_base2(max(math.ceil(math.log2(points)), 0))[:points]
    return [space.at([float(u) for u in row]) for row in sample]
