"""Counter-based noise: every number is a function of (draw, key, token, coordinate) and of nothing else.

So a sequence's noise depends neither on the batch or worker it is in nor on padding, and no generator has a state to
save. The numbers are the SplitMix64 stream (Steele, Lea & Flood 2014) whose seed is a hash of (draw, key), evaluated
out of order; integer arithmetic is the same on every device. A token's number is its rank among the perturbed ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainables.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64's increment; int64 arithmetic wraps modulo 2^64
_MIX1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX2 = 0x94D049BB133111EB - 2**64


def normal(keys: Tensor, draw: int | Tensor, mask: Tensor, dim: int) -> Tensor:
    """Standard normal noise (s, t, dim), float32, zero where `mask` (s, t) is false; `draw` may be each sequence's."""
    coordinates, _ = _streams(keys, draw)
    return _normal(coordinates, ranks(mask), mask, dim)


def normal_and_per_token(keys: Tensor, draw: int, mask: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`normal` and `per_token`, which begin alike: on an accelerator each number of a sequence costs a launch."""
    (coordinates, balls), numbers = _streams(keys, draw), ranks(mask)
    return _normal(coordinates, numbers, mask, dim), _per_token(balls, numbers)


def _normal(streams: Tensor, numbers: Tensor, mask: Tensor, dim: int) -> Tensor:
    half = -(-dim // 2)
    bits = _bits(streams, numbers, half)
    # Box-Muller, a pair of numbers from the two ends of each 64-bit word.
    radius = (((bits >> 33) & 0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)).log_().mul_(-2.0).sqrt_()
    angle = (bits & 0xFFFFFF).float().mul_(2.0 * math.pi * 2.0**-24)
    noise = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=2)[:, :, :dim]
    return noise.masked_fill_(~mask.unsqueeze(2), 0.0)


def uniform(keys: Tensor, draw: int, mask: Tensor, dim: int) -> Tensor:
    """Uniform noise in [-1, 1), (s, t, dim), float32, zero where `mask` (s, t) is false."""
    coordinates, _ = _streams(keys, draw)
    noise = _unit(_bits(coordinates, ranks(mask), dim)).mul_(2.0).sub_(1.0)
    return noise.masked_fill_(~mask.unsqueeze(2), 0.0)


def per_token(keys: Tensor, draw: int, mask: Tensor) -> Tensor:
    """One uniform number in [0, 1) per token, (s, t, 1), independent of the coordinates' noise."""
    _, balls = _streams(keys, draw)
    return _per_token(balls, ranks(mask))


def _per_token(streams: Tensor, numbers: Tensor) -> Tensor:
    return _unit(_mix(streams[:, None] + (numbers + 1) * _GOLDEN)).unsqueeze(2)


def per_sequence(keys: Tensor, draw: int) -> Tensor:
    """One uniform number in [0, 1) per sequence, (s, 1, 1), independent of the coordinates' noise."""
    _, balls = _streams(keys, draw)
    return _unit(_mix(balls))[:, None, None]


def ranks(mask: Tensor) -> Tensor:
    """Rank of each token among its sequence's perturbed tokens (s, t): the same with any padding, on either side."""
    return mask.cumsum(1) - 1


def _bits(streams: Tensor, numbers: Tensor, width: int) -> Tensor:
    """64 random bits for each of `width` numbers of each token, (s, t, width), int64."""
    tokens = streams[:, None] + numbers * width * _GOLDEN
    counters = torch.arange(1, width + 1, device=streams.device) * _GOLDEN
    return _mix(tokens.unsqueeze(2) + counters)


def _streams(keys: Tensor, draw: int | Tensor) -> Tensor:
    """Two independent streams of each sequence (2, s): of its tokens' coordinates, and of its balls."""
    purpose = torch.arange(1, 3, device=keys.device)[:, None]
    return _mix(_mix(keys * _GOLDEN + draw) + purpose)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, a bijection of 64-bit words (int64; shifts are made logical by masking)."""
    z = (z ^ ((z >> 30) & (2**34 - 1))).mul_(_MIX1)
    z ^= (z >> 27).bitwise_and_(2**37 - 1)
    z.mul_(_MIX2)
    z ^= (z >> 31).bitwise_and_(2**33 - 1)
    return z


def _unit(bits: Tensor) -> Tensor:
    """The upper 24 bits as float32 in [0, 1), exactly."""
    return ((bits >> 40) & 0xFFFFFF).float().mul_(2.0**-24)
