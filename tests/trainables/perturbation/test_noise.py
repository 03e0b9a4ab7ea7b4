"""Counter-based noise: what it depends on, and that it is distributed as it says."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from trainables.perturbation import noise

DRAW = 0x1234_5678_9ABC_DEF0


def mask_of(*lengths: int, width: int, left: bool = False) -> torch.Tensor:
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return mask.flip(1) if left else mask


@pytest.mark.parametrize("kind", [noise.normal, noise.uniform])
@pytest.mark.parametrize("dim", [1, 7, 32])
def test_a_sequences_noise_depends_only_on_draw_key_and_its_own_tokens(kind, dim):
    keys = torch.tensor([5, 11, 2**40])
    batch = kind(keys, DRAW, mask_of(3, 6, 4, width=6), dim)
    wide = kind(keys, DRAW, mask_of(3, 6, 4, width=19), dim)
    left = kind(keys, DRAW, mask_of(3, 6, 4, width=19, left=True), dim)
    alone = kind(keys[1:2], DRAW, mask_of(6, width=6), dim)
    assert torch.equal(batch, wide[:, :6])
    assert torch.equal(batch[0, :3], left[0, -3:])
    assert torch.equal(batch[1], alone[0])
    assert not wide[:, 6:].any()
    assert not torch.equal(batch, kind(keys, DRAW + 1, mask_of(3, 6, 4, width=6), dim))
    assert not torch.equal(batch[0, :3], batch[1, :3])


def test_normal_noise_is_standard_normal_and_uncorrelated():
    mask = mask_of(*[40] * 100, width=40)
    x = noise.normal(torch.arange(100), DRAW, mask, 50).double()
    assert stats.kstest(x.flatten().numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(x.square().sum((1, 2)).numpy(), stats.chi2(40 * 50).cdf).pvalue > 1e-3
    for shifted in (x.roll(1, 0), x.roll(1, 1), x.roll(1, 2), x.roll(25, 2)):
        assert abs((x * shifted).mean()) < 4 / x.numel() ** 0.5


def test_uniform_noise_is_uniform_and_the_numbers_per_ball_are_their_own():
    mask = mask_of(*[40] * 100, width=40)
    keys = torch.arange(100)
    x = noise.uniform(keys, DRAW, mask, 50)
    assert stats.kstest(x.flatten().double().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    per_token = noise.per_token(keys, DRAW, mask)
    assert stats.kstest(per_token.flatten().double().numpy(), "uniform").pvalue > 1e-3
    assert (
        stats.kstest(noise.per_sequence(torch.arange(5000), DRAW).flatten().double().numpy(), "uniform").pvalue > 1e-3
    )
    assert abs(torch.corrcoef(torch.stack([x[:, :, 0].flatten(), per_token.flatten()]))[0, 1]) < 0.06


def test_excluded_tokens_get_no_noise_and_do_not_shift_it():
    mask = torch.tensor([[False, True, True, True, False, False]])
    x = noise.normal(torch.tensor([3]), DRAW, mask, 8)
    assert torch.equal(x[0, 1:4], noise.normal(torch.tensor([3]), DRAW, torch.ones(1, 3, dtype=torch.bool), 8)[0])
    assert not x[0, [0, 4, 5]].any()
