"""Which checkpoints of finished trials stay: the weights of the study's best few, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from study import objectives
from study.config import StudyConfig
from study.proposals import Outcome
from study.protocol import visible
from study.record import StudyRecord
from trainables import checkpoint

KEPT = 3
"""Trials whose weights outlive them."""


def predictions_path(study: Path, number: int) -> Path:
    """Parquet file with a confirm trial's example-level predictions."""
    return study / "predictions" / f"{number}.parquet"


class Checkpoints:
    """The folder ``checkpoints/<trial>/<step>`` of a study."""

    def __init__(self, config: StudyConfig, record: StudyRecord, study: Path) -> None:
        """Takes up what an earlier driver left: finished trials it had no time to tidy up."""
        self.config, self.folder = config, study / "checkpoints"
        self.values: dict[int, float] = {}
        for trial in record.trials.values():
            if trial.ended and self.of(trial.number).is_dir():
                self.finished(trial.number, trial.state)  # type: ignore[arg-type]

    def of(self, number: int) -> Path:
        """Folder of a trial."""
        return self.folder / str(number)

    def predictions_of(self, number: int) -> str:
        """Where the workers of a confirm trial leave its example-level predictions."""
        return str(predictions_path(self.folder.parent, number))

    def finished(self, number: int, outcome: Outcome | None) -> None:
        """Reduce a trial that has ended to its weights if it is among the best, else to nothing."""
        value = self._value(number) if outcome == "COMPLETE" else None
        if value is None:
            self._drop(number)
            return
        checkpoint.keep_weights_only(self.of(number))
        self.values[number] = value
        if len(self.values) > KEPT:
            self._drop(min(self.values, key=lambda n: (self.values[n], -n)))

    def _value(self, number: int) -> float | None:
        """The first objective of a completed trial, larger is better; None where its checkpoint does not tell."""
        reported = [e for e in checkpoint.last_evaluations(self.of(number)) if e.split == "validation"]
        objective = next(o for o in self.config.search.objectives if o.threshold is None)
        if not reported:
            return None
        try:
            value = objectives.value(objective, visible(reported[-1], self.config), self.config)
        except objectives.UnscoredError:
            return None
        return value if objective.direction == "maximize" else -value

    def _drop(self, number: int) -> None:
        self.values.pop(number, None)
        shutil.rmtree(self.of(number), ignore_errors=True)
