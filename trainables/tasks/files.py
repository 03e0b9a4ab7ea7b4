"""Rows out of local files: JSON lines, CSV, TSV, Parquet, CoNLL-U. Every problem is named with file and row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.errors import UserError, shown
from trainables.languages import normalize

Located = tuple[str, dict[str, Any]]
"""Where a row stands (``file:line``), and the row as it stands there."""


def find_files(folder: Path, pattern: str, split: str, codes: Mapping[str, str]) -> dict[str, Path]:
    """Language code -> file, for the files of one split that `pattern` names in a folder.

    `codes` maps what files call a language to its code, where the task says so; other names are normalised. Raises
    `UserError` for two files of one language.
    """
    named = pattern.replace("{split}", split)
    expression = re.compile(
        "".join({"{language}": "(?P<language>[^/]+?)", "*": "[^/]*"}.get(piece, re.escape(piece)) for piece in
        re.split(r"(\{language\}|\*)", named))
    )  # fmt: skip
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(named.replace("{language}", "*"))):
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match is None or path.suffix not in _READERS:
            continue
        code = codes.get(match["language"]) or normalize(match["language"])
        if code in found:
            raise UserError(f"{path}: a second file of {split} in {code!r}, beside {found[code].name}")
        found[code] = path
    return found


def read_file(path: Path) -> Iterator[Located]:
    """The rows of a file; its ending says the format. Raises `UserError` at the first row that cannot be read."""
    assert path.suffix in _READERS, path
    try:
        yield from _READERS[path.suffix](path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read (got {error.strerror or error})") from None


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, line) of a UTF-8 text file; a byte-order mark at its start is no text."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} at position {error.start}"
                raise UserError(f"{path}:{number}: must be UTF-8 (got {byte})") from None
            yield f"{path}:{number}", text


def _json_lines(path: Path) -> Iterator[Located]:
    for place, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{place}: must be one JSON object (got {error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{place}: must be one JSON object (got {shown(row)})")
        yield place, row


def _table(path: Path, delimiter: str) -> Iterator[Located]:
    """Rows under a header line; a row's place is its last line."""
    place = str(path)

    def lines() -> Iterator[str]:
        nonlocal place
        for place, line in _lines(path):  # noqa: B007 - read by the loop below
            yield line

    try:
        for row in csv.DictReader(lines(), delimiter=delimiter, strict=True):
            if None in row or None in row.values():
                raise UserError(f"{place}: must have as many cells as the header")
            yield place, dict(row)
    except csv.Error as error:
        raise UserError(f"{place}: not valid CSV (got {error})") from None


def _parquet(path: Path) -> Iterator[Located]:
    import pyarrow.parquet
    from pyarrow import ArrowInvalid

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except ArrowInvalid as error:
        raise UserError(f"{path}: must be a Parquet file (got {str(error).splitlines()[0]})") from None


def _conllu(path: Path) -> Iterator[Located]:
    """Sentences as `tokens` and `pos_tags` (UPOS); multi-word ranges and empty nodes are left out, as in XTREME."""
    start = ""
    tokens: list[str] = []
    tags: list[str] = []
    for place, line in _lines(path):
        line = line.rstrip("\r\n")
        if not line:
            if tokens:
                yield start, {"tokens": tokens, "pos_tags": tags}
            start, tokens, tags = "", [], []
        elif not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != 10:
                raise UserError(f"{place}: must have the 10 columns of CoNLL-U (got {len(cells)})")
            start = start or place
            if cells[0].isdigit():
                tokens.append(cells[1])
                tags.append(cells[3])
    if tokens:
        yield start, {"tokens": tokens, "pos_tags": tags}


_READERS = {
    ".jsonl": _json_lines,
    ".csv": lambda path: _table(path, ","),
    ".tsv": lambda path: _table(path, "\t"),
    ".parquet": _parquet,
    ".conllu": _conllu,
}
ENDINGS = tuple(_READERS)
"""Endings of the formats that can be read."""
