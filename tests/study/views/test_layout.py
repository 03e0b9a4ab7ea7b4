"""Tables at any width: nothing wraps within a row, and what is missing is said."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from study.question import catalogue
from study.question.config import StudyConfig
from study.suite import tables as listing
from study.views import layout, tables
from study.views.found import Study, find
from study.views.picture import View
from trainables.scores import Evaluation, LanguageScores

Event = dict[str, Any]
Write = Callable[..., Path]

CODES = re.findall("..", "enarbgdeeleseufifrhehiiditjakakomrruswyo")

DIMENSIONS = {
    "perturbation.epsilon": 0.1234567,
    "perturbation.ascent_steps": 3,
    "perturbation.norm": "linf",
    "perturbation.scope": "sentence",
    "training.learning_rate": 2.345e-05,
    "training.head_learning_rate": 0.01234567,
    "training.batch_size": 32,
    "encoder.freeze_lower_layers": 6,
}


@pytest.fixture
def wide(write_study: Write, events: list[Event]) -> Study:
    """Twenty languages, eight dimensions; the question is in Chinese, and a trial is still running."""
    events[0]["config"] |= {"name": "wide", "question": "小さな摂動は低資源言語に役立つか" * 8}
    scores = {"accuracy": LanguageScores(dict.fromkeys(CODES, 0.5), dict.fromkeys(CODES, 40))}
    for event in events:
        if event["event"] == "report":
            cost = {"forward_equivalents": 60.0, "train_seconds": 30.0}
            event["evaluation"] = Evaluation(
                event["step"], "validation", scores, {}, cost, event["step"] == 20
            ).to_json()
        if event["event"] == "asked" and event["kind"] == "sampled":
            number = event["trial"]
            event["point"] = {k: f"{v}{number}" if isinstance(v, str) else v * number for k, v in DIMENSIONS.items()}
    return find(write_study(events[:-1], "wide"), "wide")


def widest(text: str) -> int:
    return max(cell_len(line) for line in text.splitlines())


@pytest.mark.parametrize("room", [60, 72, 80, 100, 110, 140])
def test_no_line_is_longer_than_the_terminal(wide: Study, room: int) -> None:
    text = tables.result(wide, room=room)
    assert widest(text) <= room
    (head,) = [line for line in text.splitlines() if line.startswith("trial ")]
    assert ("epsilon" in head) and ("step" in head)


def test_all_of_it_is_there_where_there_is_room(wide: Study) -> None:
    for text in (tables.result(wide), tables.result(wide, room=400)):
        assert "Left out" not in text
        assert "Short for" not in text
        head = next(line for line in text.splitlines() if line.startswith("trial "))
        assert head.split()[-6:] == [
            "source",
            "target_mean",
            "low_resource_mean",
            "worst_language",
            "transfer_gap",
            "step",
        ]


def test_what_is_claimed_goes_last_and_what_went_is_said(wide: Study) -> None:
    text = " ".join(tables.result(wide, room=110).split())
    left_out = (
        text.partition("Left out for want of room: ")[2].partition(" (--all and --json have them).")[0].split(", ")
    )
    assert {"transfer_gap", "worst_language", "target_mean"} <= set(left_out)
    assert wide.config.protocol.primary_endpoint == "low_resource_mean"
    assert "low_resource_mean (low_res)" in text and "low_resource_mean" not in left_out
    assert "epsilon" not in left_out


def test_a_pipe_and_all_have_everything(wide: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert layout.width() is None
    monkeypatch.setattr(layout, "width", lambda: 80)
    root = tmp_path / "studies"
    assert widest(tables.text(root, "wide")) <= 80
    assert "Left out" in tables.text(root, "wide")
    assert "Left out" not in tables.text(root, "wide", every_trial=True)
    assert widest(listing.listing(root)) <= 80


@pytest.mark.parametrize("room", [60, 80, 110])
def test_lists_of_what_there_is_are_wrapped_in_their_last_column(room: int) -> None:
    for rows in (catalogue.recipes(), catalogue.spaces(), catalogue.methods(), catalogue.tasks()):
        text = layout.listed(rows, room)
        assert widest(text) <= room
        assert len(text.splitlines()) >= len(rows)
        words = " ".join(" ".join(row) for row in rows).split()
        before = sum(max(cell_len(row[i]) for row in rows) + layout.GAP for i in range(len(rows[0]) - 1))
        if room - before >= layout.NARROWEST:
            assert sorted(text.split()) == sorted(words)


@given(
    st.lists(st.lists(st.text(max_size=40), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(60, 160),
    st.integers(0, 5),
)
def test_any_table_fits(cells: list[list[str]], room: int, droppable: int) -> None:
    clean = ["".join(c for c in cell if c.isprintable()) for row in cells for cell in row]
    rows = [[f"c{i}" for i in range(6)], *(clean[i : i + 6] for i in range(0, len(clean), 6))]
    text, gone, _ = layout.fit(rows, room, [f"c{i}" for i in range(droppable)], {"c5": "x"})
    assert widest(text) <= room
    assert set(gone) <= {f"c{i}" for i in range(droppable)}
    assert widest(layout.listed(rows, room)) <= room


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_live_picture_fits(config: StudyConfig, events: list[Event], width: int) -> None:
    view = View(config, 4, lambda evaluation: evaluation.primary["en"], begun=1000.0)
    for event in events:
        if event["event"] == "asked":
            event["point"] = DIMENSIONS
        view.hear(event)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view.table(2000.0, width, 40))
    assert widest(console.export_text()) <= width


def test_columns_are_aligned_by_what_a_terminal_shows() -> None:
    assert layout.columns(
        [["名前", "n", "of"], ["yɔ̀rùbá".replace("ù", "u\u0300"), "12", "x"]], right=(1,)
    ).splitlines() == [
        "名前     n  of",
        "yɔ̀ru\u0300bá  12  x",
    ]
