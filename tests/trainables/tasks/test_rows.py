"""Rows that are too many for memory behave like those that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.config import TaskConfig
from trainables.tasks.rows import SpilledRows, collect
from trainables.tasks.task import load_task

ROWS = [{"text": f"Zeile {i} – ünï", "label": i % 3, "tags": [i, {"a": None}]} for i in range(100)]


def test_spilled_rows_are_the_rows() -> None:
    spilled = collect(iter(ROWS), in_memory=10)
    assert isinstance(spilled, SpilledRows)
    assert len(spilled) == 100
    assert list(spilled) == ROWS
    assert [spilled[-1], spilled[7]] == [ROWS[-1], ROWS[7]]
    assert spilled[3:9:2] == ROWS[3:9:2]
    assert list(zip(spilled, spilled, strict=True)) == list(zip(ROWS, ROWS, strict=True))
    with pytest.raises(IndexError):
        spilled[100]


def test_few_rows_stay_a_list() -> None:
    assert collect(iter(ROWS), in_memory=100) == ROWS
    assert collect(iter(())) == []


@pytest.mark.parametrize("name", ["pairs", "choices", "names", "questions", "translations"])
def test_every_shape_encodes_spilled_rows(
    name: str, miniatures: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TaskConfig(name=str(miniatures / f"{name}.yaml"))
    listed = load_task(config, ("train", "test"))
    monkeypatch.setattr("trainables.tasks.rows.collect.__defaults__", (1,))
    spilled = load_task(config, ("train", "test"))
    assert isinstance(spilled.rows["train"]["en"], SpilledRows)
    assert spilled.fingerprint == listed.fingerprint
    for split in ("train", "test"):
        for code, rows in listed.rows[split].items():
            one = listed.shape.encode(rows, tokenizer, 64).arrays()
            other = spilled.shape.encode(spilled.rows[split][code], tokenizer, 64).arrays()
            for key, array in one.items():
                np.testing.assert_array_equal(array, other[key], err_msg=key)
