"""Tables that fit a terminal: heads are shortened, then the least columns left out, then cells cut.

Widths are those on a terminal, where a Chinese character takes two places and a combining one none.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

Rows = Sequence[Sequence[str]]

GAP = 2
"""Blanks between columns."""

NARROWEST = 24
"""Least room in which a column of text is wrapped; in less it is cut."""


def width() -> int | None:
    """Places of the terminal that is written to; None where it is a file or a pipe, which take any line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns(rows: Rows, right: Iterable[int] | None = None) -> str:
    """Rows of cells in aligned columns; all but the first are set right unless `right` names them.

    >>> print(columns([["language", "score"], ["sw", "0.5"]]))
    language  score
    sw          0.5
    """
    widths = _widths(rows)
    to_right = set(range(1, len(widths)) if right is None else right)

    def padded(cell: str, i: int) -> str:
        space = " " * (widths[i] - cell_len(cell))
        return space + cell if i in to_right else cell + space

    return "\n".join((" " * GAP).join(padded(cell, i) for i, cell in enumerate(row)).rstrip() for row in rows)


def fit(
    rows: Rows, room: int | None, least: Sequence[str] = (), short: Mapping[str, str] | None = None
) -> tuple[str, list[str], dict[str, str]]:
    """A table whose lines have at most `room` places, if that is no None.

    The first row has the titles; `least` those that may go, the first first; `short` what others may be called instead.
    Returns the table, the titles that were left out, and short title -> title of those that were shortened.
    """
    titles = list(rows[0])
    if room is None or _total(rows) <= room:
        return columns(rows), [], {}
    names = [(short or {}).get(title, title) for title in titles]
    kept, gone = list(range(len(titles))), list[str]()
    shown = [names, *map(list, rows[1:])]
    for title in least:
        if _total(_take(shown, kept)) <= room:
            break
        kept.remove(titles.index(title))
        gone.append(title)
    called = {names[i]: titles[i] for i in kept if names[i] != titles[i]}
    return columns(_cut(_take(shown, kept), room)), [title for title in titles if title in gone], called


def listed(rows: Rows, room: int | None) -> str:
    """A table of text, set left, whose last column is wrapped within it."""
    *before, last = _widths(rows)
    left = (room or 0) - sum(before) - GAP * len(before)
    if room is None or last <= left:
        return columns(rows, right=())
    if left < NARROWEST:
        return columns(_cut(rows, room), right=())
    lines = []
    for row in rows:
        for number, part in enumerate(_wrapped(row[-1], left)):
            lines.append([*(row[:-1] if number == 0 else [""] * len(before)), part])
    return columns(lines, right=())


def wrapped(text: str, room: int | None) -> str:
    """Prose, each of its lines broken between words where it is longer than `room`."""
    if room is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, room))


def _wrapped(line: str, room: int) -> list[str]:
    if cell_len(line) <= room:
        return [line]
    return [part.plain.rstrip() for part in Text(line).wrap(Console(width=room), room)]


def _take(rows: Rows, kept: Sequence[int]) -> list[list[str]]:
    return [[row[i] for i in kept] for row in rows]


def _widths(rows: Rows) -> list[int]:
    return [max(cell_len(row[i]) for row in rows) for i in range(len(rows[0]))]


def _total(rows: Rows) -> int:
    widths = _widths(rows)
    return sum(widths) + GAP * (len(widths) - 1)


def _cut(rows: Rows, room: int) -> list[list[str]]:
    """The rows with the cells of their widest columns cut until they fit, if need be."""
    widths = _widths(rows)
    while sum(widths) + GAP * (len(widths) - 1) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return [[_cropped(cell, widths[i]) for i, cell in enumerate(row)] for row in rows]


def _cropped(cell: str, room: int) -> str:
    return cell if cell_len(cell) <= room else set_cell_size(cell, room - 1).rstrip() + "…"
