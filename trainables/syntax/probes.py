"""Probes: distances and depths in the tree are to be read from states by linear maps (Hewitt & Manning, NAACL 2019).

As auxiliary losses (Ahmad et al., ACL 2021, section 3.3). Suffixes: s sequences, t tokens, d size of a state.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.devices import whole_precision
from trainables.layout import Paths
from trainables.syntax.trees import APART


class Probes(nn.Module):
    """mean_ij |D_ij - ||B(h_i - h_j)||^2| + mean_i |depth_i - ||C h_i||^2| over the tokens of each tree: (s,).

    0 for a sequence without a tree.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.between = nn.Linear(size, size, bias=False)
        self.depth = nn.Linear(size, size, bias=False)

    def forward(self, states: Tensor, paths: Paths) -> Tensor:
        """`states` (s, t, d)."""
        there = paths.depths != APART
        both = there[:, :, None] & there[:, None, :]
        mapped, deep = (self._map(each, states) for each in (self.between, self.depth))
        squares = mapped.square().sum(-1)
        with whole_precision(states.device.type):  # or what cancels would be rounded otherwise
            products = mapped @ mapped.transpose(1, 2)
        apart = (squares[:, :, None] + squares[:, None, :] - 2 * products).clamp_min(0)
        off = ((paths.between.to(apart.dtype) - apart).abs() * both).sum((1, 2)) / both.sum((1, 2)).clamp_min(1)
        depths = deep.square().sum(-1)
        wrong = ((paths.depths.to(depths.dtype) - depths).abs() * there).sum(1) / there.sum(1).clamp_min(1)
        return off + wrong

    def _map(self, linear: nn.Module, states: Tensor) -> Tensor:
        """Squares of half precision would say little of a distance."""
        mapped: Tensor = linear(states)
        return mapped if mapped.dtype == torch.float64 else mapped.float()
