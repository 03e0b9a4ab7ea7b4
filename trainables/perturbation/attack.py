"""Projected-gradient attack on a trained model's word embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainables.config import AttackConfig
from trainables.perturbation.ascent import ascend
from trainables.perturbation.balls import ball
from trainables.perturbation.base import Perturbable
from trainables.seeds import derive

Judge = Callable[[Tensor], Tensor]
"""Logits to whether each item is answered rightly (n,), bool."""


class _Worst:
    """The worst logits seen so far, item by item: wrong ones before right ones, then by loss."""

    def __init__(self, batch: Perturbable, right: Judge) -> None:
        self._batch = batch
        self._judge = right
        self.logits = batch.forward(batch.embeddings).detach()
        self._loss = batch.loss(self.logits)
        self._right = right(self.logits)

    def objective(self, logits: Tensor) -> Tensor:
        """The training loss (n,), taking note of the logits."""
        loss = self._batch.loss(logits)
        right = self._judge(logits.detach())
        worse = (self._right & ~right) | ((self._right == right) & (loss.detach() > self._loss))
        self.logits = torch.where(worse.view(-1, *(1,) * (logits.dim() - 1)), logits.detach(), self.logits)
        self._loss = torch.where(worse, loss.detach(), self._loss)
        self._right = torch.where(worse, right, self._right)
        return loss


def attacked_logits(
    batch: Perturbable, config: AttackConfig, reference_norm: float, right: Judge
) -> dict[float, Tensor]:
    """For each radius, the logits of every item at the worst point found in its ball.

    Worst = answered wrongly in any restart at any step, else of highest loss; so an item counts as right only if the
    attack never got it wrong. Balls are nested, and the clean point is in all of them: scores never rise with the
    radius, the restarts or the steps of a restart seen so far. Steps are 2.5 epsilon / K long (Madry et al., arXiv
    1706.06083), starts uniform. Not to be called in inference mode.
    """
    scale = reference_norm if config.relative else None
    with torch.enable_grad():
        worst = _Worst(batch, right)
        found = {}
        for epsilon in sorted(config.epsilon):
            around = ball(config.norm, config.scope, epsilon, scale, batch.mask, batch.embeddings)
            for draw in _draws(batch.draw, config.restarts):
                start = around.uniform(batch.keys, draw)
                end = ascend(batch, around, start, config.ascent_steps, 2.5 / config.ascent_steps, worst.objective)
                with torch.no_grad():
                    worst.objective(batch.forward(batch.embeddings + end.delta))
            found[epsilon] = worst.logits
    return found


def _draws(draw: int, restarts: int) -> Sequence[int]:
    return [derive(draw, "restart", i) for i in range(restarts)]
