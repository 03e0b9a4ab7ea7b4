"""How many trials a cluster holds at a time.

Machine by machine and card by card, as Ray places them: a worker lies on one machine, and a fraction of a GPU on one
card. Two cards hold two workers of 0.6, not three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.question.config import ScalingConfig
from trainables.errors import UserError

GROWING = "growing"
"""Custom resource of the head of a cluster whose machines come when they are asked for."""

UNIT = 10_000
"""Parts of one CPU or GPU that Ray counts in."""

Machines = Sequence[Mapping[str, float]]
"""The resources of each."""


def concurrency(scaling: ScalingConfig, machines: Machines) -> int:
    """Trials at a time that the cluster's CPUs and GPUs hold. Raises UserError where not even one fits.

    A cluster that says of itself, by the resource `growing`, that it starts machines when they are asked for, may hold
    none at all yet: there a number of trials is taken at its word, and workers wait for their machines.
    """
    grows = any(machine.get(GROWING) for machine in machines)
    if grows and scaling.concurrent_trials != "auto":
        return scaling.concurrent_trials
    most = held(scaling, machines)
    if most < 1 and grows:
        raise UserError(
            "scaling.concurrent_trials: a cluster that grows has no machine for a trial yet: give the number of trials "
            'at a time that it is to grow to (got "auto")'
        )
    if most < 1:
        need = f"{scaling.workers_per_trial} x ({scaling.cpus_per_worker:g} CPU, {scaling.gpus_per_worker:g} GPU)"
        cpus, gpus = (sum(machine.get(name, 0.0) for machine in machines) for name in ("CPU", "GPU"))
        count = f" on {len(machines)} machines" if len(machines) > 1 else ""
        raise UserError(f"scaling: one trial needs {need}, the cluster has {cpus:g} CPU, {gpus:g} GPU{count}")
    return most if scaling.concurrent_trials == "auto" else min(most, scaling.concurrent_trials)


def held(scaling: ScalingConfig, machines: Machines) -> int:
    """Trials whose workers fit on these machines at once, wherever each of a trial's workers is."""
    return sum(_workers(scaling, machine) for machine in machines) // scaling.workers_per_trial


def _workers(scaling: ScalingConfig, machine: Mapping[str, float]) -> int:
    """Workers that fit on one machine."""
    fits = [_units(machine.get("CPU", 0.0)) // _units(scaling.cpus_per_worker)]
    if scaling.gpus_per_worker:
        cards = int(machine.get("GPU", 0.0))
        shared = on_a_card(scaling)
        fits.append(cards * shared if shared else cards * UNIT // _units(scaling.gpus_per_worker))
    return min(fits)


def on_a_card(scaling: ScalingConfig) -> int:
    """Workers that share one GPU; 0 where a worker has one or several of its own, or none."""
    need = scaling.gpus_per_worker
    return UNIT // _units(need) if 0 < need < 1 else 0


def _units(amount: float) -> int:
    """As Ray has it: in whole numbers, in which three times 0.1 is 0.3."""
    return max(1, round(amount * UNIT)) if amount else 0


def concurrency_words(scaling: ScalingConfig, at_once: int) -> str:
    """How many trials run at a time, and what each occupies."""
    gpus = f", {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
    workers = f"{scaling.workers_per_trial} worker{'s' if scaling.workers_per_trial > 1 else ''}"
    trials = f"{at_once} trial{'s' if at_once > 1 else ''} at a time"
    return f"{trials}, each {workers} of {scaling.cpus_per_worker:g} CPU{gpus}"
