"""MLflow's database, made by a process that is killed meanwhile."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from study.tracking import database
from study.tracking.answers import settings
from study.tracking.server import default_uri
from tests.study.tracking.conftest import wait_for
from trainables.errors import UserError


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


@pytest.mark.parametrize("name", ["a#b", "50% off", "Ünï cöde"])
def test_a_database_lies_in_the_root_whatever_its_name(name: str, tmp_path: Path, empty_store: Path) -> None:
    root = tmp_path / name
    root.mkdir()
    (root / "mlflow.db").write_bytes(empty_store.read_bytes())
    with settings():
        from mlflow import MlflowClient

        MlflowClient(default_uri(root)).create_experiment("here")
    assert b"here" in (root / "mlflow.db").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_root_that_no_uri_can_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--root: MLflow's file cannot lie in a folder with"):
        default_uri(tmp_path / name)
