"""MLflow's database, made by a process that is killed meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from study.tracking import database
from tests.study.tracking.conftest import wait_for


def size_of_aside(folder: Path) -> int:
    """Bytes of the largest file of a database in the making; SQLite's journals come and go beside it."""
    sizes = [0]
    for path in folder.glob(".mlflow.db.aside*"):
        with suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return max(sizes)


@pytest.mark.slow
def test_a_database_half_made_is_not_there(tmp_path: Path, empty_store: Path) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"
    code = f"from study.tracking import database; database.ensure({uri!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        wait_for(lambda: size_of_aside(tmp_path) > 100_000, 300)
        process.kill()
    assert not path.exists()
    database.ensure(uri)
    assert not list(tmp_path.glob("*aside*")) and path.stat().st_size == empty_store.stat().st_size
    before = path.stat()
    database.ensure(uri)
    assert path.stat() == before
