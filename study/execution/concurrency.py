"""How many trials a cluster holds at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from study.question.config import ScalingConfig
from trainables.errors import UserError

GROWING = "growing"
"""Custom resource of the head of a cluster whose machines come when they are asked for."""


def concurrency(scaling: ScalingConfig, resources: Mapping[str, float]) -> int:
    """Trials at a time that the cluster's CPUs and GPUs hold. Raises UserError where not even one fits.

    A cluster that says of itself, by the resource `growing`, that it starts machines when they are asked for, may hold
    none at all yet: there a number of trials is taken at its word, and workers wait for their machines.
    """
    if resources.get(GROWING) and scaling.concurrent_trials != "auto":
        return scaling.concurrent_trials
    fits = [
        math.floor(resources.get(name, 0.0) / (scaling.workers_per_trial * need))
        for name, need in (("CPU", scaling.cpus_per_worker), ("GPU", scaling.gpus_per_worker))
        if need
    ]
    most = min(fits)
    if most < 1 and resources.get(GROWING):
        raise UserError(
            "scaling.concurrent_trials: a cluster that grows has no machine for a trial yet: give the number of trials "
            'at a time that it is to grow to (got "auto")'
        )
    if most < 1:
        need = f"{scaling.workers_per_trial} x ({scaling.cpus_per_worker:g} CPU, {scaling.gpus_per_worker:g} GPU)"
        has = f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
        raise UserError(f"scaling: one trial needs {need}, the cluster has {has}")
    return most if scaling.concurrent_trials == "auto" else min(most, scaling.concurrent_trials)


def concurrency_words(scaling: ScalingConfig, at_once: int) -> str:
    """How many trials run at a time, and what each occupies."""
    gpus = f", {scaling.gpus_per_worker:g} GPU" if scaling.gpus_per_worker else ""
    workers = f"{scaling.workers_per_trial} worker{'s' if scaling.workers_per_trial > 1 else ''}"
    trials = f"{at_once} trial{'s' if at_once > 1 else ''} at a time"
    return f"{trials}, each {workers} of {scaling.cpus_per_worker:g} CPU{gpus}"
