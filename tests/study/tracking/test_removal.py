"""A removed study's runs, in a real SQLite store of MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.cli import commands, execute
from study.tracking.tracker import rebuild
from tests.study.conftest import Event, place_of


def test_they_go_to_the_bin_and_its_name_is_free(
    store: str, write_study: Callable[..., Path], events: list[Event], capsys: Any
) -> None:
    from mlflow import MlflowClient

    root = write_study(events)
    write_study(events, "other")
    for name in ("small", "other"):
        rebuild(place_of(root / name))
    assert execute(commands, "study", ["rm", "small", "--root", str(root), "--yes"]) == 0
    out = capsys.readouterr().out
    assert "MLflow: 5 runs, " in out and "MLflow has its runs in the bin, as small-removed-" in out
    client = MlflowClient(store)
    assert client.get_experiment_by_name("small") is None
    assert client.get_experiment_by_name("other").lifecycle_stage == "active"
    write_study(events[:8])
    rebuild(place_of(root / "small"))
    assert len(client.search_runs([client.get_experiment_by_name("small").experiment_id])) == 3
