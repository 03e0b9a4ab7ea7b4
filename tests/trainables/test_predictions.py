"""Example-level scores add up to the language's score, whatever the task's metric is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trainables import predictions
from trainables.config import Budget, EncoderConfig, EvaluationConfig, TaskConfig, TrainingConfig, TrialConfig
from trainables.evaluation import Stream
from trainables.loop import run_trial
from trainables.materials import Materials
from trainables.scores import Split

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("task", ["names", "pairs", "questions", "choices"])
def test_weighted_scores_of_the_rows_are_the_score_of_the_language(task: str, tmp_path: Path) -> None:
    tables: list[pa.Table] = []

    def keep(materials: Materials, outcomes: list[tuple[Split, Stream, predictions.Predictions]]) -> None:
        tables.extend(predictions.table(materials, *outcome) for outcome in outcomes)

    config = TrialConfig(
        task=TaskConfig(name=str(DATA / f"{task}.yaml"), target_languages="all", max_length=64),
        encoder=EncoderConfig(freeze_embeddings=True, freeze_lower_layers=11),
        training=TrainingConfig(
            batch_size=4, budget=Budget(steps=20), learning_rate=1e-3, head_learning_rate=1e-2, seed=1
        ),
        evaluation=EvaluationConfig(),
    )
    *_, last = run_trial(config, tmp_path, predicted=keep)
    frame = tables[0].to_pandas()
    assert set(frame["language"]) == set(last.primary.languages)
    assert sum(last.primary.values.values()) > 0, "zeros would prove nothing"
    for language, rows in frame.groupby("language"):
        expected = last.primary[str(language)]
        weight = rows["weight"].to_numpy()
        found = float(np.average(rows["score"], weights=weight)) if weight.sum() else 0.0
        assert found == pytest.approx(expected), language
