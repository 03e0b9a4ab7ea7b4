"""The learning rate of a step, as a share of its peak: one rule for fine-tuning and for what comes before it."""

from __future__ import annotations


def rate(step: int, steps: int, warmup_fraction: float, decays: bool = True) -> float:
    """At a step counted from 0: linear warm-up over a fraction of the steps, then linear decay to zero, or none."""
    warmup = round(warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (steps - step) / max(1, steps - warmup) if decays else 1.0
