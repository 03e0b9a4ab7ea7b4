"""Several processes tokenise as one does, and say what they died of."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import psutil
import pytest

from tests.trainables.model.test_by_word import ROWS
from tests.trainables.standing import Standing, dying, failing, number
from trainables.config import EncoderConfig
from trainables.model.pretrained import load_tokenizer
from trainables.tasks import encoding
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.tokenising import in_processes

CHUNKS = [[("a",)] * 3 for _ in range(20)]


@pytest.mark.parametrize("paired", [False, True])
def test_several_processes_find_what_one_does(paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(EncoderConfig(name_or_path="offline:e5-small"))
    rows = [(text, ROWS[-1 - i % 500]) if paired else (text,) for i, text in enumerate(ROWS[:500] * 5)]
    whole = encode_sequences(rows, tokenizer, 20)
    asked: list[int] = []
    monkeypatch.setattr(encoding, "FEW", 1)
    monkeypatch.setattr(encoding, "cpus", lambda: 2)
    monkeypatch.setattr(encoding, "in_processes", lambda *how: asked.append(how[2]) or in_processes(*how))
    found = encode_sequences(rows, tokenizer, 20)
    assert asked == [2]
    for name, array in whole.items():
        np.testing.assert_array_equal(found[name], array)


def test_few_texts_are_tokenised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "in_processes", None)
    tokenizer = load_tokenizer(EncoderConfig(name_or_path="offline:e5-small"))
    assert len(encode_sequences([("a",)] * 2100, tokenizer, 20)["offsets"]) == 2101


def test_many_cpus_have_no_more_processes_than_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(encoding, "FEW", 2)
    monkeypatch.setattr(encoding, "cpus", lambda: 64)
    monkeypatch.setattr(encoding, "in_processes", lambda *how: asked.append(how[2]) or iter(()))
    encode_sequences([("a",)] * 3000, load_tokenizer(EncoderConfig(name_or_path="offline:e5-small")), 20)
    assert asked == [encoding.MOST]


def test_processes_are_gone_when_nobody_waits_for_them() -> None:
    """Whoever is interrupted leaves off in the middle."""
    found = in_processes(Standing(number), iter(CHUNKS), 2)  # type: ignore[arg-type]
    mine = {pid for each in islice(found, 8) for pid in each}
    assert mine
    assert os.getpid() not in mine
    found.close()  # type: ignore[attr-defined]
    assert not any(psutil.pid_exists(int(pid)) for pid in mine)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("whole", "message"), [(failing, "failed:(.|\n)*ValueError: of this text"), (dying, "ended with status 7")]
)
def test_what_a_process_died_of_is_said(whole: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"a process that tokenised {message}"):
        list(in_processes(Standing(whole), iter(CHUNKS), 2))  # type: ignore[arg-type]


def test_they_need_neither_torch_nor_transformers() -> None:
    check = "import sys, trainables.tasks.tokenising; sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
