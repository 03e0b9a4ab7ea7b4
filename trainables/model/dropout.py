"""Dropout whose masks are drawn once a batch and shared by every pass over it.

Adversarial methods pass over a batch several times under one mask (FreeLB, arXiv 1909.11764, section 3.3). Seeding the
generator anew before each pass gives the same masks, and draws them again each time: on a CPU a quarter of a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.seeds import derive

STEPS = 2**16
"""Probabilities are rounded to multiples of one over this: a mask costs 16 random bits an element."""


class Masks:
    """The masks of one batch: each a function of (seed, place, shape), whatever the order of the passes."""

    def __init__(self) -> None:
        self._seed = 0
        self._kept: dict[tuple[int, int, torch.Size], Tensor] = {}

    def begin(self, seed: int) -> None:
        """Forget the masks of the batch before."""
        self.use(seed)
        self.forget()

    def use(self, seed: int) -> None:
        """Go on with the masks of a seed; those of another are kept for when it comes again."""
        self._seed = seed

    def forget(self) -> None:
        """Keep none: no further pass over this batch will come."""
        self._kept.clear()

    def factors(self, place: int, like: Tensor, p: float) -> Tensor:
        """What `like` is multiplied by at a place of the model: 0 with probability p, else 1 / (1 - p), in fp32."""
        kept = self._kept.get((self._seed, place, like.shape))
        if kept is None:
            kept = self._kept[self._seed, place, like.shape] = draw(derive(self._seed, place), like, p)
        return kept

    def drop(self, place: int, states: Tensor, p: float) -> Tensor:
        """`states` after dropout at a place of the model, in their own type."""
        # The product is rounded, not the factor: in bf16 that would shrink, or stretch, all that passes.
        return (states * self.factors(place, states, p)).to(states.dtype)


def draw(seed: int, like: Tensor, p: float, out: Tensor | None = None) -> Tensor:
    """Factors of independent dropout in the shape and place of `like`, fp32; 0 <= p < 1, to 2^-17. Into `out`, which is
    as large and contiguous, where there is one: on a CPU new memory costs as much as what is drawn."""
    if p == 0.0:
        return torch.ones_like(like, dtype=torch.float32) if out is None else out.fill_(1.0)
    generator = torch.Generator(like.device).manual_seed(seed)
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: like.numel()]
    survive = min(round((1 - p) * STEPS), STEPS - 1)
    flat = None if out is None else out.view(-1)
    return torch.mul(bits.lt_(survive - STEPS // 2), STEPS / survive, out=flat).view(like.shape)


class SharedDropout(nn.Dropout):
    """`nn.Dropout` with the masks of its model: on a CPU kept ones; elsewhere the device draws them anew in each pass,
    which is cheaper than to read them, and whoever passes over a batch again seeds its generator again."""

    def __init__(self, p: float, masks: Masks, place: int) -> None:
        super().__init__(p)
        self.masks, self.place = masks, place

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return input
        if input.device.type != "cpu":
            return super().forward(input)
        return self.masks.drop(self.place, input, self.p)


def share(model: nn.Module) -> Masks:
    """Replace every `nn.Dropout` of a model; what is returned is told of each batch."""
    masks = Masks()
    holders = [(m, name, d) for m in model.modules() for name, d in m.named_children() if isinstance(d, nn.Dropout)]
    for place, (module, name, dropout) in enumerate(holders):
        setattr(module, name, SharedDropout(dropout.p, masks, place).train(dropout.training))
    return masks
