"""Example-level scores and predictions of a trial's last evaluation, as Parquet."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.evaluation import Predictions, Stream, join
from trainables.materials import Materials
from trainables.scores import Split

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("metric", pa.string()),
        ("language", pa.string()),
        ("example", pa.int64()),
        ("score", pa.float64()),
        ("prediction", pa.string()),
    ]
)
"""`example` is the row's number in its file; `score` that of the primary metric on this row alone, in [0, 1];
`prediction` JSON."""


def table(materials: Materials, split: Split, plan: Stream, predictions: Predictions) -> pa.Table:
    """One row per language and example that was scored."""
    metric = materials.shape.metrics[0]
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for language, items in plan.items.items():
        encoded, rows = materials.evaluation[split][language], materials.rows[split][language]
        of_row: dict[int, list[int]] = defaultdict(list)
        for position, item in enumerate(items):
            of_row[int(encoded.rows[item])].append(position)
        for row, positions in sorted(of_row.items()):
            alone = join([(encoded, items[p]) for p in positions], materials.shape.sequences_per_item)
            predicted = [predictions[language][p] for p in positions]
            score, _ = materials.shape.score(rows, alone, predicted, language)[metric]
            values = (split, metric, language, row, score, json.dumps(predicted, ensure_ascii=False))
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return pa.table(columns, schema=SCHEMA)


def write(path: Path, tables: list[pa.Table]) -> None:
    """Write aside, then rename: the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.concat_tables(tables), aside)
    aside.rename(path)
