"""The tables of docs/tasks.md say of each task what the catalogue says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY
from trainables.tasks.definition import catalogue
from trainables.tasks.shapes import shape_of

PAGE = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8").partition("\n## ")[2].partition("\n## ")[0]
IN_WORDS = {"mAP@20": "map_at_20", "(seqeval)": "", "(MLQA's)": ""}
FURTHER = {"copa", "siqa", "squad"}
"""Those that a sentence has in place of a row."""


def rows() -> Iterator[dict[str, str]]:
    """Column -> cell, of every task of every table."""
    titles: list[str] = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            titles = []
        elif not titles:
            titles = cells
        elif set(cells[0]) - set("-:"):
            for name in re.findall(r"`(\w+)`", cells[0]):
                yield {**dict(zip(titles, cells, strict=True)), "task": name}


def test_every_task_has_a_row() -> None:
    named = [row["task"] for row in rows()]
    assert sorted([*named, *FURTHER]) == sorted(catalogue())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["task"])
def test_a_row_is_the_catalogues(row: dict[str, str]) -> None:
    task = catalogue()[row["task"]]
    shape = shape_of(task)
    assert row["shape"] == task.shape.replace("_", " ")
    assert row.get("checked", task.checked) == task.checked
    if task.codes and row["task"] not in ("xnli_crossed", "pawsx_crossed", "taxi1500"):  # pairs; what has files
        declared = {*task.codes} - {"en"} if "+ en" in row["languages"] else {*task.codes}
        told = row["languages"].removesuffix("+ en").split()
        assert len(declared) == (int(told[0]) if told[0].isdigit() else len(told))
    words = row["score"]
    for long, short in IN_WORDS.items():
        words = words.replace(long, short)
    assert tuple(word.strip(" `") for word in words.split(",")) == shape.metrics
