"""What takes long says how far it is; what does not says nothing."""

from __future__ import annotations

import pytest

from trainables import progress
from trainables.progress import told


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
