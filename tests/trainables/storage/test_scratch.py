"""Temporary folders, and where Ray's sockets can have names that are short enough."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from trainables.errors import UserError
from trainables.storage import scratch as module
from trainables.storage.scratch import LONGEST_TEMP, scratch, socket_folder


def test_a_batch_jobs_long_folder_is_left_for_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 87)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    chosen = socket_folder()
    assert chosen != long and len(str(chosen)) <= LONGEST_TEMP
    with scratch("study-ray", chosen) as folder:
        socket = folder / "session_2026-11-29_00-00-00_000000_4194304" / "sockets" / "plasma_store"
        assert len(str(socket)) <= 107 and folder.parent == chosen
    assert not folder.exists()
    monkeypatch.setattr(module, "SHORT", (str(long),))
    with pytest.raises(UserError, match="TMPDIR: its name must be at most"):
        socket_folder()
