"""Runs that have ended, written whole into MLflow's own SQLite file: many of them in one transaction.

MLflow's client takes ten transactions for a run, and makes an object of every point. Catching up with a thousand trials
of fifty languages that way takes a busy machine many minutes. Here it is rows, as MLflow writes them. The tables are
MLflow's own affair, so this is a short cut and no more: only a file is written to whose schema is the one that the rows
were held against (`REVISION`), and whatever isn't written here is left to `store`, which says what is amiss.

A run is there whole or not at all, and whether it is there already is looked up in the same transaction.
"""

from __future__ import annotations

import math
import posixpath
import re
import sqlite3
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.tracking.runs import PARENT, TRIAL, UUID, Point, milliseconds

REVISION = "dc11669786a5"
"""The schema whose rows these are, as the file itself names it: that of MLflow 3.17."""

BUSY_SECONDS = 20.0
"""Longest wait for another writer: MLflow's own."""

KEY = re.compile(r"[\w/.\- :]{1,250}")
"""Names that MLflow takes of tags, parameters and metrics."""


@dataclass(frozen=True)
class Whole:
    """A trial's run as it is once it has ended."""

    number: int
    name: str
    begun: float
    """Unix seconds."""
    ended: float
    """Unix seconds."""
    status: str
    tags: Mapping[str, str]
    """All of them, those by which it is found too."""
    parameters: Mapping[str, str]
    points: Sequence[Point]

    @property
    def is_plain(self) -> bool:
        """Whether MLflow takes it as it is; it refuses, or alters, what is not plain."""
        keys = {*self.tags, *self.parameters, *(point.key for point in self.points)}
        return all(KEY.fullmatch(key) and posixpath.normpath(key) == key and key[:1] not in "/." for key in keys)


@dataclass(frozen=True)
class There:
    """What a file has of a trial's run."""

    id: str
    """Empty where a trial has several."""
    status: str
    times: tuple[int, int | None]
    """Milliseconds of begin and end."""
    parent: str | None


def there(uri: str, study: str) -> dict[int, There]:
    """The runs of trials that a study, by its UUID, has in a file; none where this way is not open."""
    with suppress(sqlite3.Error), _opened(uri) as file:
        return _there(file, study)
    return {}


def write(uri: str, experiment: str, location: str, parent: str, study: str, runs: Sequence[Whole]) -> dict[int, str]:
    """Write those `runs` that are not there yet; returns MLflow's identifiers of what was written, by trial's number.

    `experiment` and `location` are the identifier and the folder of artifacts of the experiment, `parent` is the run of
    the study, `study` its UUID. Nothing is written, and nothing is raised, where this way is not open: `uri` is no
    SQLite file of the known schema, the parent is not in it, or the file takes no rows.
    """
    with suppress(sqlite3.Error), _opened(uri) as file, file:
        file.execute("BEGIN IMMEDIATE")
        return _write(file, int(experiment), location.rstrip("/"), parent, study, runs)
    return {}


@contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there, of the known schema. Raises `sqlite3.Error`, for any other URI too."""
    if not uri.startswith("sqlite:///") or "?" in uri:
        raise sqlite3.NotSupportedError(uri)
    path = Path(uri.removeprefix("sqlite:///")).absolute()
    # The mode: a file that was deleted is not to come back without its tables.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", BUSY_SECONDS, uri=True)) as file:
        file.execute("PRAGMA foreign_keys = ON")
        if file.execute("SELECT version_num FROM alembic_version").fetchall() != [(REVISION,)]:
            raise sqlite3.NotSupportedError(uri)
        yield file


def _write(
    file: sqlite3.Connection, experiment: int, location: str, parent: str, study: str, runs: Sequence[Whole]
) -> dict[int, str]:
    active = "FROM runs WHERE run_uuid = ? AND experiment_id = ? AND lifecycle_stage = 'active'"
    if "?" in location or file.execute(f"SELECT 1 {active}", (parent, experiment)).fetchone() is None:
        return {}
    known = _there(file, study)
    new = {uuid.uuid4().hex: run for run in runs if run.is_plain and run.number not in known}
    for table, rows in {
        "runs": [_run(key, run, experiment, location) for key, run in new.items()],
        "tags": [(k, v, key) for key, run in new.items() for k, v in {**run.tags, "mlflow.runName": run.name}.items()],
        "params": [(k, v, key) for key, run in new.items() for k, v in run.parameters.items()],
        "metrics": [(*row, key) for key, run in new.items() for row in dict.fromkeys(map(_metric, run.points))],
        "latest_metrics": [(*row, key) for key, run in new.items() for row in _latest(run.points)],
    }.items():
        columns = COLUMNS[table]
        places = ", ".join("?" * len(columns))
        file.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
    return {run.number: key for key, run in new.items()}


def _there(file: sqlite3.Connection, study: str) -> dict[int, There]:
    found: dict[int, There] = {}
    for number, key, status, begun, ended, parent in file.execute(TRIALS, (TRIAL, PARENT, UUID, study)):
        is_one = int(number) not in found
        found[int(number)] = There(key if is_one else "", status if is_one else "", (begun, ended), parent)
    return found


TRIALS = """
SELECT trial.value, runs.run_uuid, runs.status, runs.start_time, runs.end_time, parent.value FROM tags AS study
JOIN runs ON runs.run_uuid = study.run_uuid AND runs.lifecycle_stage = 'active'
JOIN tags AS trial ON trial.run_uuid = study.run_uuid AND trial.key = ?
LEFT JOIN tags AS parent ON parent.run_uuid = study.run_uuid AND parent.key = ?
WHERE study.key = ? AND study.value = ?
"""

COLUMNS = {
    "runs": (
        *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"),
        *("end_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"),
    ),
    "tags": ("key", "value", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
    "latest_metrics": ("key", "value", "timestamp", "step", "is_nan", "run_uuid"),
}


def _run(key: str, run: Whole, experiment: int, location: str) -> tuple[Any, ...]:
    times = milliseconds(run.begun), milliseconds(run.ended)
    artifacts = f"{location}/{key}/artifacts"
    return (
        *(key, run.name, "UNKNOWN", "", "", "unknown", run.status, *times),
        *("", "active", artifacts, experiment),
    )


Metric = tuple[str, float, int, int, bool]


def _metric(point: Point) -> Metric:
    """A point as a row: there is no infinity in SQL, and what is no number has a column that says so."""
    value = min(max(point.value, -sys.float_info.max), sys.float_info.max)
    is_nan = math.isnan(point.value)
    return point.key, 0.0 if is_nan else value, point.milliseconds, point.step, is_nan


def _latest(points: Sequence[Point]) -> Iterator[Metric]:
    """The last point of every metric: by step, then by time, then by value."""
    last: dict[str, Metric] = {}
    for row in map(_metric, points):
        before = last.get(row[0])
        if before is None or (row[3], row[2], row[1]) > (before[3], before[2], before[1]):
            last[row[0]] = row
    yield from last.values()
