"""The watch over the processes of a local Ray, with one that stands in for it."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import psutil
import pytest

from study.execution import cluster
from tests.waiting import wait_for
from trainables.background import Background


def test_an_essential_process_that_dies_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WATCH_SECONDS", 0.01)
    shutil.copy(str(shutil.which("sleep")), tmp_path / "raylet")
    process = subprocess.Popen([tmp_path / "raylet", "600"])
    lost: list[str] = []
    wait_for(lambda: psutil.Process(process.pid).name() == "raylet", 10, "its start")
    essential = cluster._essential([psutil.Process(process.pid)])
    with Background("ray-watch", partial(cluster._watch, essential, lost.append)) as thread:
        assert not lost
        process.kill()
        wait_for(lambda: thread.ended, 10, "the watch's end")
    process.wait(10)
    assert lost == ["raylet"]
