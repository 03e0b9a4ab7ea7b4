"""Example-level scores and predictions of a trial's last evaluation, as Parquet."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.materials.materials import Materials
from trainables.scores import Split
from trainables.scoring.evaluation import Found
from trainables.scoring.stream import Stream
from trainables.storage import files

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("metric", pa.string()),
        ("language", pa.string()),
        ("example", pa.int64()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
        ("prediction", pa.string()),
        ("confidence", pa.float64()),
    ]
)
"""`example` is the row's number in its file; `score` that of the primary metric on this row alone, in [0, 1]; the
language's score is the mean weighted by `weight`; `prediction` JSON; `confidence` the probability of that answer, null
unless `evaluation.calibration` asks for it."""


def table(materials: Materials, split: Split, plan: Stream, found: Found) -> pa.Table:
    """One row per language and example that was scored."""
    metric = materials.shape.metrics[0]
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    predictions = found["answers"]
    for language, items in plan.items.items():
        whole, rows = materials.evaluation[split][language], materials.rows[split][language]
        encoded = whole.pick(items, materials.shape.sequences_per_item)
        predicted: dict[int, list[Any]] = defaultdict(list)
        for row, prediction in zip(encoded.rows.tolist(), predictions[language], strict=True):
            if prediction is not None:  # a candidate, which is no question
                predicted[row].append(prediction)
        scores = materials.shape.row_scores(rows, encoded, predictions[language], language)
        sure = _confidences(encoded.rows.tolist(), found.get("probabilities", {}).get(language, ()))
        for row, (score, weight) in sorted(scores.items()):
            answer = json.dumps(predicted[row], ensure_ascii=False)
            values = (split, metric, language, row, score, weight, answer, sure.get(row))
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return pa.table(columns, schema=SCHEMA)


def _confidences(rows: list[int], probabilities: Sequence[Any]) -> dict[int, float]:
    """Row -> probability of its answer; of rows with several items nothing."""
    if len(set(rows)) < len(rows):
        return {}
    return {row: float(max(given)) for row, given in zip(rows, probabilities, strict=False)}


def write(path: Path, tables: list[pa.Table]) -> None:
    """The file is whole or absent."""
    with files.replaced(path) as aside:
        pq.write_table(pa.concat_tables(tables), aside)
