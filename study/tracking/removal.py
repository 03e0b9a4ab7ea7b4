"""The runs of a study that is removed, in the studies' own MLflow: put into its bin, under another name.

So the next study of that name has an experiment of its own, and the old one can be restored until `mlflow gc`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.tracking.answers import reason, settings
from study.tracking.server import artifact_folder, default_uri
from trainables.errors import UserError


def runs(root: Path, name: str) -> int:
    """Runs that the root's own MLflow shows of a study; 0 where there is none. Imports MLflow, which takes seconds."""
    if not (root / "mlflow.db").exists():
        return 0
    with _client(root) as client:
        found = _experiment(client, name)
        if found is None:
            return 0
        count, token = 0, None
        while True:
            page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
            count, token = count + len(page), page.token
            if not token:
                return count


def artifact_bytes(root: Path, name: str) -> int:
    """Bytes of the artifacts of a study that lie under its root."""
    return sum(path.stat().st_size for path in (artifact_folder(root) / name).rglob("*") if path.is_file())


def discard(root: Path, name: str) -> str | None:
    """Put a study's experiment into the bin of the root's own MLflow; returns its name there, or None without one."""
    with _client(root) as client:
        found = _experiment(client, name)
        if found is None:
            return None
        aside = f"{name}-removed-{time.time_ns() // 1_000_000}"
        client.rename_experiment(found.experiment_id, aside)
        client.delete_experiment(found.experiment_id)
        return aside


def _experiment(client: Any, name: str) -> Any | None:
    found = client.get_experiment_by_name(name)
    return found if found is not None and found.lifecycle_stage == "active" else None


@contextmanager
def _client(root: Path) -> Iterator[Any]:
    """MLflow's client of a root's own database. What it raises is a `UserError`."""
    uri = default_uri(root)
    with settings():
        from mlflow import MlflowClient

        try:
            yield MlflowClient(uri)
        except Exception as error:
            raise UserError(f"MLflow at {uri} {reason(error, uri)}") from error
