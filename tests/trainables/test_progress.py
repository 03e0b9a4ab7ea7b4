"""What takes long says how far it is; what does not says nothing."""

from __future__ import annotations

import pytest

from trainables import progress
from trainables.progress import Progress, is_progress, told


def test_how_far_it_is_comes_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(told("abc", "reading", "rows")) == ["a", "b", "c"]
    assert not capsys.readouterr().err
    now = iter(range(0, 100, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    assert list(told(range(6), "tokenising train", "languages", 2000)) == [*range(6)]
    assert capsys.readouterr().err.splitlines() == [
        "tokenising train: 3 of 2,000 languages (0.25 a second)",
        "tokenising train: 6 of 2,000 languages (0.25 a second)",
    ]
    aligning = Progress("aligning", "steps")
    for step in range(3):
        aligning.add(note=f"loss {step}")
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "aligning: 3 steps (0.25 a second), loss 2"
    for _ in told(range(1), "aligned encoders", "encoders", 3):
        next(now), next(now)
    (slow,) = capsys.readouterr().err.splitlines()
    assert slow == "aligned encoders: 1 of 3 encoders (12 s each)" and is_progress(slow)
    assert is_progress(f"{line}\n") and is_progress("reading: 6 of 2,000 rows (1,234 a second)")
    assert not is_progress("cache: built it in 3.0 s (/x)") and not is_progress("trial 3: 4 of 5 (0.2 a second)")
