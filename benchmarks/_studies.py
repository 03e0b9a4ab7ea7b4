"""What the benchmarks of whole studies share: one configuration, and the time that a study's trials took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.question.config import StudyConfig
from study.record import roots
from study.record.record import StudyRecord
from trainables.loading import validate

POOL = 8
"""Batches drawn together, where they shall be of like length (`training.length_pool`)."""

EPSILON = (0.02, 0.3)
"""Radii of the perturbed trials lie between these."""


def configuration(
    name: str, trials: int, steps: int, examples: int, frozen: bool = True, **scaling: Any
) -> StudyConfig:
    """Adversarial trials of one ascent step on the embedded data, the radius on a grid; trial 0 is unperturbed.

    `examples` are scored in each language at the end. `frozen`: embeddings and the lower six layers.
    """
    low, high = EPSILON
    radii = [low * (high / low) ** (i / max(1, trials - 2)) for i in range(trials - 1)]
    content = {
        "name": name,
        "trial": {
            "task": {"name": "intents", "source_language": "en", "target_languages": "all"},
            "encoder": {
                "name_or_path": "offline:e5-small",
                "freeze_embeddings": frozen,
                "freeze_lower_layers": 6 if frozen else 0,
                "trim_vocabulary": True,
            },
            "training": {
                "batch_size": 32,
                "budget": {"steps": steps},
                "learning_rate": 2e-4,
                "head_learning_rate": 1e-2,
            },
            "perturbation": {"method": "adversarial", "ascent_steps": 1},
            "evaluation": {"examples_per_language": examples},
        },
        "search": {
            "mode": "design",
            "sampler": "grid",
            "space": {"perturbation.epsilon": {"type": "float", "low": low, "high": high, "log": True}},
            "levels": {"perturbation.epsilon": radii},
        },
        "scaling": scaling,
    }
    return validate(StudyConfig, content)


@dataclass(frozen=True)
class Interval:
    """What one trial took of its slot: from the end of the trial before it there to its own end, in seconds."""

    number: int
    wall: float
    arithmetic: float
    """Of these, training and evaluation, which the trial measures itself."""


def intervals(record: StudyRecord, slots: int) -> Iterator[Interval]:
    """Of all trials but the first in each slot, which pay for the start."""
    free: list[float] = []
    for trial in sorted(record.trials.values(), key=lambda t: t.started or 0.0):  # all of a design are asked at once
        assert trial.started is not None and trial.finished is not None
        if len(free) >= slots:
            before = max(end for end in free if end <= trial.started)
            free.remove(before)
            evaluation = trial.evaluation()
            assert evaluation is not None, f"trial {trial.number} failed: {trial.error}"
            arithmetic = evaluation.cost["train_seconds"] + evaluation.cost["evaluation_seconds"]
            yield Interval(trial.number, trial.finished - before, arithmetic)
        free.append(trial.finished)


def timed(config: StudyConfig, root: Path) -> tuple[StudyRecord, float]:
    """Run a study; its record, and the seconds of the whole call."""
    from study.execution.runner import run_study  # imports Ray, which a measurement of memory does without

    began = time.perf_counter()
    record = run_study(config, roots.place(root, config.name))
    return record, time.perf_counter() - began
