"""Certificates: the bound against its definition, the radius against a classifier whose true radius is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from trainables.perturbation.base import Perturbable
from trainables.perturbation.certify import (
    Certificates,
    certified_radius,
    certify,
    lower_bound,
    nearest_word_distance,
    noisy_answers,
)


@pytest.mark.parametrize("n", [1, 20, 100, 1000])
def test_the_bound_solves_its_defining_equation(n):
    """At the bound, seeing at least k successes has probability alpha exactly."""
    for k in {1, n // 2, n - 1, n} - {0}:
        p = lower_bound(k, n, 0.001)
        assert stats.binom.sf(k - 1, n, p) == pytest.approx(0.001, rel=1e-6)
    assert lower_bound(0, n, 0.001) == 0.0
    assert lower_bound(n, n, 0.001) == pytest.approx(0.001 ** (1 / n))


@pytest.mark.parametrize("p", [0.3, 0.55, 0.9, 0.99])
def test_the_bound_holds_as_often_as_it_promises(p):
    """Exact coverage, summed over all outcomes."""
    k = np.arange(101)
    missed = stats.binom.pmf(k, 100, p)[lower_bound(k, 100, 0.01) > p].sum()
    assert missed <= 0.01


def test_the_cap_and_abstention():
    assert certified_radius(100, 100, 1.0, 0.001) == pytest.approx(1.5, abs=0.01)
    assert certified_radius(100, 100, 0.2, 0.001) == pytest.approx(0.3, abs=0.002)
    radii = certified_radius(np.arange(101), 100, 1.0, 0.001)
    assert (np.diff(radii) >= 0).all()
    assert (radii[: 65 + 1] == 0).all()  # 65 of 100 is not significantly above one half at this level
    assert radii[67] > 0


def half_space(offsets: torch.Tensor, tokens: int = 3, dim: int = 5):
    """A linear classifier on `tokens` tokens; item i lies `offsets[i]` from its boundary, on the side of class 1."""
    w = torch.randn(tokens, dim, generator=torch.Generator().manual_seed(0))
    w /= w.norm()
    x = offsets[:, None, None] * w
    mask = torch.ones(len(offsets), tokens + 2, dtype=torch.bool)
    mask[:, tokens:] = False
    x = torch.cat([x, torch.zeros(len(offsets), 2, dim)], dim=1)

    def forward(points):
        assert not points[:, tokens:].any()
        score = (points[:, :tokens] * w).sum((1, 2))
        return torch.stack([torch.zeros_like(score), score], dim=1)

    def nothing(*_):
        raise AssertionError

    return Perturbable(forward, x, mask, nothing, nothing, lambda z: z.argmax(1), torch.arange(len(offsets)), 3)


def test_radii_of_a_half_space_reach_the_true_distance_and_rarely_beyond():
    """For a linear classifier the smoothed one is the same, so the true radius is the distance from the boundary."""
    sigma, alpha, items = 0.7, 0.05, 400
    view = half_space(torch.full((items,), 0.5))
    found = certify(lambda draws: noisy_answers(view, sigma, draws), 2, 20, 500, sigma, alpha)
    beyond = (found.radius > 0.5).sum()
    assert stats.binom.sf(beyond - 1, items, alpha) > 1e-3, "more certificates fail than alpha allows"
    assert beyond > 0, "the bound is too timid to be Clopper–Pearson's"
    settled = ~found.abstained
    assert settled.mean() > 0.9
    assert (found.answers[settled] == 1).all()
    assert found.radius[settled].mean() == pytest.approx(0.43, abs=0.04)


@pytest.mark.parametrize("at_once", [1, 7, 999])
def test_selection_and_estimation_use_separate_draws(at_once):
    asked = []

    def answers(draws):
        asked.append(list(draws))
        return torch.tensor([[0, 1 if i < 5 else 0] for i in draws])

    found = certify(answers, 2, 5, 100, 1.0, 0.001, at_once)
    assert [i for each in asked for i in each] == list(range(105))
    assert max(map(len, asked)) == min(at_once, 100)
    assert found.answers.tolist() == [0, 1]
    assert found.abstained.tolist() == [False, True]  # the chosen class never came up again
    assert found.radius.tolist() == pytest.approx([float(certified_radius(100, 100, 1.0, 0.001)), 0.0])


def test_right_is_who_answers_rightly_and_does_not_abstain():
    c = Certificates(np.array([0, 1, 2, 1]), np.array([0.5, 1.0, 0.0, 2.0]), np.array([False, False, True, False]))
    assert c.correct(np.array([0, 1, 2, 0])).tolist() == [True, True, False, False]


def test_distance_to_the_nearest_other_word():
    table = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([3, 3, 49, 0])
    expected = [min((table[i] - table[j]).norm().item() for j in range(50) if j != i) for i in ids.tolist()]
    assert nearest_word_distance(ids, table, chunk=3).tolist() == pytest.approx(expected, rel=1e-4)
