"""Which format a file has, and reading it: by what is in it, with its ending where that leaves a choice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.tasks.formats import columnar, conll, conllu, delimited, json_rows, lines, mewslix, squad
from trainables.tasks.formats.reading import FormatName, Located, Raw, Reading, sound
from trainables.tasks.formats.source import PACKED, Source

READERS: Mapping[FormatName, Callable[[Source, Reading], Iterator[Raw]]] = {
    "jsonl": json_rows.read_lines,
    "json": json_rows.read_array,
    "squad": squad.read,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "text": lines.read,
    "conll": conll.read,
    "conllu": conllu.read,
    "parquet": columnar.read_parquet,
    "arrow": columnar.read_arrow,
    "mewslix": mewslix.read,
}

BESIDE: Mapping[FormatName, Callable[[Path], tuple[Path, ...]]] = {"mewslix": mewslix.beside}
"""Files that those of a format refer to."""

SURE: Mapping[str, FormatName] = {
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conllu": "conllu",
}
"""Endings that say the format; of several forms of one file these come first."""

ENDINGS: tuple[str, ...] = (
    *SURE,
    *(".ndjson", ".json", ".txt", ".arrow", ".feather", ".conllup", ".conll", ".iob", ".iob2", ".bio", ".bioes"),
)
"""Endings of files that a pattern with an open ending (``.*``) names, each also with one of `PACKED` behind it."""


@dataclass(frozen=True)
class Piece:
    """A file of rows, or files whose lines belong together, by the column that each holds."""

    path: Path
    beside: tuple[tuple[str, Path], ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files."""
        return tuple(path for _, path in self.beside) or (self.path,)

    def __str__(self) -> str:
        return str(self.path)


def read_piece(piece: Piece, reading: Reading) -> Iterator[Raw]:
    """The rows of a file, or of files that belong together. Raises `UserError` where one cannot be read at all."""
    if piece.beside:
        return lines.read_together(dict(piece.beside), reading)
    return READERS[recognise(piece.path, reading)](Source(piece.path, reading.encoding), reading)


def read_file(path: Path) -> Iterator[Located]:
    """The rows of a file of which nothing is said. Raises `UserError` at the first few that are malformed."""
    return sound(read_piece(Piece(path), Reading()))


def ending_of(path: Path) -> str:
    """A file's ending without that of its compression: ``.jsonl`` of ``train.en.jsonl.gz``."""
    return (Path(path.stem) if path.suffix in PACKED else path).suffix


def recognise(path: Path, reading: Reading) -> FormatName:
    """The format that is named, or else the file's own. Raises `UserError` where it is none of ours."""
    if reading.format is not None:
        return reading.format
    ending = ending_of(path)
    if ending in SURE and not (ending == ".tsv" and reading.shape == "tagging"):
        return SURE[ending]
    head = Source(path).head()
    if head.startswith(columnar.PARQUET):
        return "parquet"
    if head.startswith((columnar.ARROW, columnar.STREAM)) or ending in (".arrow", ".feather"):
        return "arrow"
    found = _of_text(head.decode("utf-8-sig", errors="replace"), ending, reading)
    if found is None:
        raise UserError(
            f"{path}: its format is not to be seen in it, name it in the task's file, format: {' or '.join(READERS)}"
        )
    return found


def _of_text(head: str, ending: str, reading: Reading) -> FormatName | None:
    start = head.lstrip()
    if ending == ".ndjson" or not start:
        return "jsonl"
    if ending == ".json" or re.match(r'\{\s*["}]|\[\s*[{\]]', start):
        return _of_json(start)
    if ending == ".conllup" or _is_conllu(start):
        return "conllu"
    if reading.shape == "tagging" or ending in (".conll", ".iob", ".iob2", ".bio", ".bioes"):
        return "conll"
    first = start.splitlines()[0]
    if "\t" in first:
        return "tsv"
    named = set(reading.columns.values())
    return "csv" if "," in first and (reading.header or named & set(first.replace('"', "").split(","))) else None


def _of_json(start: str) -> FormatName:
    """Lines of JSON, an array, or SQuAD's articles: one object too, so that what it holds tells them apart."""
    if start.startswith("["):
        return "json"
    try:
        first = json.loads(start.partition("\n")[0])
    except (ValueError, RecursionError):  # one object on several lines, or on one that is longer than what was read
        return "squad" if re.search(r'"(paragraphs|data)"\s*:\s*\[', start) else "jsonl"
    return "squad" if isinstance(first, dict) and _are_articles(first.get("data")) else "jsonl"


def _are_articles(data: Any) -> bool:
    return isinstance(data, list) and any(isinstance(each, dict) and "paragraphs" in each for each in data)


def _is_conllu(start: str) -> bool:
    if conllu.PLUS.match(start):
        return True
    words = (line for line in start.splitlines() if line.strip() and not line.startswith("#"))
    cells = conll.cells_of(first := next(words, ""), "\t" in first)
    return len(cells) == len(conllu.COLUMNS) and re.fullmatch(r"[0-9]+([-.][0-9]+)?", cells[0]) is not None
