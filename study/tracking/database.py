"""MLflow's own SQLite file: it is there whole, or not at all.

MLflow makes its database by dozens of migrations that are no transaction. A process killed among them leaves a file
that takes no run, and that no later process can complete. So it is made aside, under a name of its own each time
(MLflow keeps what it opened, by name), and renamed.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from trainables.storage import files

LOCK_SECONDS = 300.0
"""Longest wait for another process that makes the same database."""


def ensure(uri: str) -> None:
    """Make the database that `uri` names, if that is an SQLite file that does not exist.

    Takes seconds. Raises `OSError` where the file cannot be written, or another process makes it for too long.
    """
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if _is_there(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
        if _is_there(path):
            return
        from mlflow import MlflowClient

        with files.replaced(path, sweep=True) as aside:
            MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)


def _is_there(path: Path) -> bool:
    """An empty file is what a process leaves that is killed at its first step."""
    return path.exists() and path.stat().st_size > 0
