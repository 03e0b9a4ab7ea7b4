"""Steps of a trial whose results are read at once."""

from __future__ import annotations

from trainables.training.step import Interrupted, read, train_step
from trainables.training.trial import Trial


def stepped(trial: Trial, interrupted: Interrupted = lambda: False) -> tuple[float, bool]:
    """One step; its mean loss over the batch, and whether any worker was interrupted."""
    train_step(trial, interrupted)
    return read(trial)
