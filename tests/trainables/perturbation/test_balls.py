"""Balls: uniform draws, projections and directions, against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainables.perturbation.balls import ball

BALLS = [(norm, scope) for norm in ("l2", "linf") for scope in ("token", "sentence")]


def measured(norm: str, scope: str, delta: torch.Tensor) -> torch.Tensor:
    """Norms of every ball (s, t) or (s, 1), in double precision."""
    x = delta.double() if scope == "token" else delta.double().flatten(1).unsqueeze(1)
    return x.norm(dim=2) if norm == "l2" else x.abs().amax(2)


def make(norm, scope, epsilon, lengths, d, m=None):
    width = max(lengths)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return ball(norm, scope, epsilon, m, mask, torch.zeros(len(lengths), width, d))


@pytest.mark.parametrize(("norm", "scope"), BALLS)
@given(
    epsilon=st.floats(1e-6, 1e3),
    scale=st.floats(1e-8, 1e8),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(lambda x: max(x) > 0),
    d=st.sampled_from([1, 3, 64, 768]),
    draw=st.integers(0, 2**62),
)
@settings(max_examples=25, deadline=None)
def test_no_start_and_no_projection_ever_measures_above_epsilon(norm, scope, epsilon, scale, lengths, d, draw):
    b = make(norm, scope, epsilon, lengths, d)
    generator = torch.Generator().manual_seed(draw % 2**31)
    anything = torch.randn(b.shape, generator=generator) * scale * b.mask.unsqueeze(2)
    start = b.uniform(torch.arange(len(lengths)), draw)
    for delta in (b.project(anything)[0], b.project(b.step(start, anything, 1.0))[0], start):
        assert (measured(norm, scope, delta) <= epsilon).all()
        assert not delta[~b.mask].any()


@pytest.mark.parametrize(("norm", "scope"), BALLS)
def test_projection_keeps_what_is_inside_and_moves_the_rest_to_the_nearest_point(norm, scope):
    b = make(norm, scope, 2.0, [3, 5], 8)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(b.shape, generator=generator) * b.mask.unsqueeze(2)
    inside, size = b.project(x * 0.01)
    assert torch.equal(inside, x * 0.01)
    assert b.left(size) == 0
    far, size = b.project(x * 100)
    assert b.left(size) == b.count == (8 if scope == "token" else 2)
    sizes = measured(norm, scope, far)
    torch.testing.assert_close(sizes[sizes > 0], torch.full_like(sizes[sizes > 0], 2.0), rtol=2e-5, atol=0)
    for _ in range(20):  # no other point of the ball is nearer
        other = b.uniform(torch.tensor([0, 1]), int(torch.randint(2**40, (1,), generator=generator)))
        assert (other - x * 100).norm() >= (far - x * 100).norm()


@pytest.mark.parametrize(("norm", "scope"), BALLS)
def test_the_step_is_the_longest_rise_of_a_linear_function_at_that_norm(norm, scope):
    b = make(norm, scope, 0.5, [4, 2], 6)
    generator = torch.Generator().manual_seed(1)
    g = torch.randn(b.shape, generator=generator)
    step = b.step(torch.zeros_like(g), g, 1.0)
    sizes = measured(norm, scope, step)
    torch.testing.assert_close(sizes[sizes > 0], torch.full_like(sizes[sizes > 0], 0.5))
    gain = (step * g).sum((1, 2))
    for draw in range(50):
        assert ((b.uniform(torch.tensor([7, 8]), draw) * g).sum((1, 2)) <= gain).all()


@pytest.mark.parametrize(("norm", "scope"), BALLS)
def test_directions_survive_gradients_that_would_underflow_when_squared(norm, scope):
    b = make(norm, scope, 1.0, [4], 6)
    g = torch.randn(b.shape, generator=torch.Generator().manual_seed(2))
    zero = torch.zeros_like(g)
    torch.testing.assert_close(b.step(zero, g * 1e-30, 1.0), b.step(zero, g, 1.0))
    assert not b.step(zero, zero, 1.0).any()


@pytest.mark.parametrize(("scope", "n"), [("token", 6), ("sentence", 30)])
def test_l2_draws_are_uniform_in_the_ball(scope, n):
    b = make("l2", scope, 1.0, [5] * 4000, 6)
    delta = b.uniform(torch.arange(4000), 99)
    radii = measured("l2", scope, delta).flatten().numpy()
    assert stats.kstest(radii**n, "uniform").pvalue > 1e-3
    # One coordinate of a uniform point of the n-ball: (x+1)/2 is Beta((n+1)/2, (n+1)/2).
    first = delta[:, 0, 0].double().numpy()
    assert stats.kstest((first + 1) / 2, stats.beta((n + 1) / 2, (n + 1) / 2).cdf).pvalue > 1e-3


def test_linf_draws_are_uniform_in_the_cube():
    b = make("linf", "token", 0.3, [5] * 500, 6)
    delta = b.uniform(torch.arange(500), 99).double().numpy().ravel()
    assert stats.kstest(delta / 0.3, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_relative_radii():
    lengths, d, m, epsilon = [4, 9], 16, 1.7, 0.3
    radius = {key: make(*key, epsilon, lengths, d, m).radius.flatten().tolist() for key in BALLS}
    assert radius["l2", "token"] == pytest.approx([epsilon * m] * 2)
    assert radius["l2", "sentence"] == pytest.approx([epsilon * m * 2, epsilon * m * 3])
    assert radius["linf", "token"] == radius["linf", "sentence"] == pytest.approx([epsilon * m / 4] * 2)
    assert make("l2", "sentence", epsilon, lengths, d).radius.flatten().tolist() == pytest.approx([epsilon] * 2)
