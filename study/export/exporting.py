"""Everything a study has recorded, as files for other tools: tidy Parquet, a README, and the tables of a paper."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from study.export import headline, relations
from study.export.relations import Relation
from study.export.rows import Row, rows
from study.reporting import findings
from study.reporting.files import replace_text
from study.reporting.source import from_ledger
from study.reporting.table import Table
from study.views import history
from study.views.found import Study, find
from trainables.errors import UserError

MANIFEST = "export.json"
"""File that tells an export from any other folder: study, uuid and the names of the files that belong to it."""

BATCH = 50_000
"""Rows of a table in memory at a time."""


def export(root: Path, name: str, to: Path) -> None:
    """Write the export of the study `name` into the folder `to`, and print the files.

    `to` is new, empty, or holds an earlier export of the same study, whose files are replaced. All is written aside and
    moved there once it is whole. Raises `UserError`.
    """
    study = find(root, name)
    old = _earlier(to, study)
    shown, to = to, to.resolve()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as aside:
            folder = Path(aside) / to.name  # a temporary folder itself is nobody else's to read
            folder.mkdir()
            counts = _write(study, root, folder)
            replace_text(folder / "README.md", _readme(study, counts))
            files = sorted(path.name for path in folder.iterdir())
            manifest = {"study": name, "uuid": study.record.uuid, "files": files}
            replace_text(folder / MANIFEST, json.dumps(manifest, indent=1))
            _place(folder, to, old - set(files))
    except OSError as error:
        raise UserError(f"{shown}: cannot be written, {error.strerror}") from error
    print("\n".join(str(shown / file) for file in files))


def _earlier(to: Path, study: Study) -> set[str]:
    """Files of an earlier export in the folder. Raises `UserError` where anything else is in it."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(to)):
        raise UserError(f"--to: must be a folder of this machine (got {to})")
    if not to.exists() or not any(to.iterdir()):
        return set()
    try:
        manifest = json.loads((to / MANIFEST).read_text(encoding="utf-8"))
        name, uuid, files = manifest["study"], manifest["uuid"], set(map(str, manifest["files"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"--to: must be a new or empty folder, or an earlier export of this study (got {to})") from None
    if uuid != study.record.uuid:
        raise UserError(f"--to: holds an export of another study, {name}; choose another folder (got {to})")
    return {file for file in files if Path(file).name == file}


def _write(study: Study, root: Path, folder: Path) -> dict[str, int]:
    """All tables; name of each -> its rows."""
    made: dict[str, Iterable[Row]] = {name: make() for name, make in rows(study).items()}
    results = history.results_of(study.place)
    if results is not None:
        made["results"] = _results(results)
    found = findings.find(from_ledger(study.name, root, study)) if any(t.reports for t in study.trials) else None
    texts = {"headline": headline.headline(found), "endpoint": headline.endpoint(found)} if found else {}
    counts = {}
    for relation in relations.relations():
        text = texts.get(relation.name)
        if text is not None:
            made[relation.name] = listed = [_finite(row) for row in text[0]]
            _as_text(relation, listed, text[1], folder)
        if relation.name in made:
            counts[relation.name] = _parquet(relation, made[relation.name], folder / f"{relation.name}.parquet")
    return counts


def _parquet(relation: Relation, rows: Iterable[Row], path: Path) -> int:
    """Write a table batch by batch; returns the number of its rows."""
    schema, count, iterator = relation.schema, 0, iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(islice(iterator, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _results(results: pd.DataFrame) -> Iterator[Row]:
    texts = [c for c in ("example", "prediction") if c in results.columns]
    plain = results.assign(**{c: results[c].map(str).where(results[c].notna(), None) for c in texts})
    for start in range(0, len(plain), BATCH):
        yield from map(_finite, plain.iloc[start : start + BATCH].to_dict("records"))


def _finite(row: Mapping[Any, Any]) -> Row:
    """What is not a number does not exist."""
    return {str(k): None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _as_text(relation: Relation, rows: list[dict[str, Any]], table: Table, folder: Path) -> None:
    frame = pd.DataFrame(rows, columns=[c.name for c in relation.columns])
    replace_text(folder / f"{relation.name}.csv", frame.to_csv(index=False))
    head = "% needs \\usepackage{booktabs}, \\usepackage[utf8]{inputenc}\n"
    replace_text(folder / f"{relation.name}.tex", head + replace(table, name=relation.name).latex())


def _readme(study: Study, counts: dict[str, int]) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    there = [relation for relation in relations.relations() if relation.name in counts]
    files = "\n".join(f"| `{r.name}.parquet` | {counts[r.name]:,} | {r.rows} |" for r in there)
    facts = f"Study `{study.name}` ({study.condition}), uuid {study.record.uuid}, code {study.record.code_version}."
    return "\n\n".join(
        [
            f"# Export of the study {study.name}",
            *([study.config.question] if study.config.question else []),
            f"{facts} Exported {now} by `study export {study.name}`.",
            f"| file | rows | one row per |\n|---|--:|---|\n{files}",
            relations.JOINS,
            relations.EXAMPLE,
            relations.UNITS,
            *(relations.describe(relation) for relation in there),
        ]
    )


def _place(folder: Path, to: Path, stale: Iterable[str]) -> None:
    """Move a whole export into its place: by one rename where nothing is there, else file by file."""
    if not to.exists():
        folder.rename(to)
        return
    for path in sorted(folder.iterdir()):
        path.replace(to / path.name)
    for name in stale:
        (to / name).unlink(missing_ok=True)
