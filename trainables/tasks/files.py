"""Rows out of local files: JSON lines, CSV, TSV, Parquet, CoNLL-U. Every problem is named with file and row."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.errors import UserError, shown
from trainables.languages import normalize
from trainables.tasks.words import Sentence, syntactic

Located = tuple[str, dict[str, Any]]
"""Where a row stands (``file:line``), and the row as it stands there."""


def find_files(folder: Path, pattern: str, split: str, codes: Mapping[str, str]) -> dict[str, Path]:
    """Language code -> file, for the files of one split that `pattern` names in a folder.

    `codes` maps what files call a language to its code; other names are normalised. Raises `UserError` for two files of
    one language.
    """
    found: dict[str, Path] = {}
    for name, path in _named(folder, pattern.replace("{split}", split)):
        code = codes.get(name) or normalize(name)
        if code in found:
            raise UserError(f"{path}: a second file of {split} in {code!r}, beside {found[code].name}")
        found[code] = path
    return found


def languages_of(folder: Path, pattern: str, split: str) -> set[str]:
    """What the files of one split call their languages."""
    return {name for name, _ in _named(folder, pattern.replace("{split}", split))}


def _named(folder: Path, named: str) -> Iterator[tuple[str, Path]]:
    """(language as it is spelt, file) of what a pattern with ``{language}`` and ``*`` names, of the formats read."""
    pieces = re.split(r"(\{language\}|\*)", named)
    first = pieces.index("{language}") if "{language}" in pieces else -1
    spelt = {"{language}": "(?P=language)", "*": "[^/]*"}  # a second time it is the same language
    expression = re.compile(
        "".join(
            "(?P<language>[^/]+?)" if i == first else spelt.get(piece, re.escape(piece))
            for i, piece in enumerate(pieces)
        )
    )
    for path in sorted(folder.glob(named.replace("{language}", "*"))):
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match is not None and path.suffix in _READERS:
            yield match["language"], path


def read_file(
    path: Path, quoting: bool | None = None, words: Callable[[Sentence], Sentence] = syntactic
) -> Iterator[Located]:
    """The rows of a file; its ending says the format. Raises `UserError` at the first row that cannot be read.

    `quoting`: whether the cells of a .tsv file stand in quotes; None: where every cell of its header does. `words`:
    what the words of a sentence of a .conllu file are.
    """
    assert path.suffix in _READERS, path
    by_ending: dict[str, dict[str, Any]] = {".tsv": {"quoting": quoting}, ".conllu": {"words": words}}
    try:
        yield from _READERS[path.suffix](path, **by_ending.get(path.suffix, {}))
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
            row = json.loads(line, object_pairs_hook=_once)
        except ValueError as error:
            raise UserError(f"{place}: must be one JSON object (got {error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{place}: must be one JSON object (got {shown(row)})")
        if "\\ud" in line.lower():  # the one way in which text that is no Unicode gets in
            _check_unicode(place, row)
        yield place, row


def _check_unicode(place: str, row: dict[str, Any]) -> None:
    for name, value in row.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start : error.end])
            raise UserError(f"{place}: {name!a} must be Unicode text (got half of a surrogate pair, {half})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are different: the last of equal ones would win without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {_twice([name for name, _ in pairs])!r} twice")
    return found


def _twice(names: Sequence[str]) -> str:
    """The first name that is there more than once."""
    return next(name for i, name in enumerate(names) if name in names[:i])


def _header(place: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise UserError(f"{place}: must have different columns (got {_twice(names)!r} twice)")


def _tsv(path: Path, quoting: bool | None = None) -> Iterator[Located]:
    """Rows under a header line, one a line: a cell never holds a line end, and quotes are text unless they are said."""
    names: list[str] | None = None
    for place, line in _lines(path):
        text = line.rstrip("\r\n")
        if not text and names is not None:
            continue
        if names is None and quoting is None:
            quoting = all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in text.split("\t"))
        cells = _unquoted(place, text) if quoting else text.split("\t")
        if names is None:
            names = cells
            _header(place, names)
            continue
        if len(cells) != len(names):
            raise UserError(f"{place}: must have as many cells as the header, {len(names)} (got {len(cells)})")
        yield place, dict(zip(names, cells, strict=True))


def _unquoted(place: str, line: str) -> list[str]:
    try:
        (cells,) = csv.reader([line], delimiter="\t", strict=True)
    except csv.Error as error:
        raise UserError(f"{place}: not valid TSV in quotes (got {error})") from None
    return cells


def _csv(path: Path) -> Iterator[Located]:
    """Rows under a header line; a row's place is its last line."""
    csv.field_size_limit(sys.maxsize)  # a chapter in a cell is data
    place = str(path)

    def lines() -> Iterator[str]:
        nonlocal place
        for place, line in _lines(path):  # noqa: B007 - read by the loop below
            yield line

    try:
        reader = csv.DictReader(lines(), strict=True)
        _header(f"{path}:1", reader.fieldnames or ())
        for row in reader:
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
            _header(str(path), file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except ArrowInvalid as error:
        raise UserError(f"{path}: must be a Parquet file (got {str(error).splitlines()[0]})") from None


def _conllu(path: Path, words: Callable[[Sentence], Sentence]) -> Iterator[Located]:
    """Sentences as `tokens` and `pos_tags` (UPOS)."""
    for start, sentence in _sentences(path):
        try:
            lines = words(sentence)
        except ValueError as error:
            raise UserError(f"{start}: {error}") from None
        if lines:
            yield start, {"tokens": [cells[1] for cells in lines], "pos_tags": [cells[3] for cells in lines]}


def _sentences(path: Path) -> Iterator[tuple[str, list[list[str]]]]:
    """(place of its first line, lines of cells) of every sentence of a CoNLL-U file; comments are left out."""
    start = ""
    sentence: list[list[str]] = []
    for place, line in _lines(path):
        line = line.rstrip("\r\n")
        if not line:
            if sentence:
                yield start, sentence
            start, sentence = "", []
        elif not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != 10:
                raise UserError(f"{place}: must have the 10 columns of CoNLL-U (got {len(cells)})")
            start = start or place
            sentence.append(cells)
    if sentence:
        yield start, sentence


_READERS: Mapping[str, Callable[..., Iterator[Located]]] = {
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".conllu": _conllu,
}
ENDINGS = tuple(_READERS)
"""Endings of the formats that can be read."""


def near_files(folder: Path, pattern: str, split: str) -> str:
    """What is in a folder where no file was found that is read, in words: what is not read, or else what there is."""
    stem = pattern.replace("{split}", split).replace("{language}", "*")
    stem = stem if stem.endswith("*") else f"{stem.rpartition('.')[0] or stem}.*"
    unread = sorted({path.suffix for path in folder.glob(stem) if path.is_file() and path.suffix not in _READERS})
    if unread:
        return f"found, but {', '.join(unread)} is not read: {', '.join(ENDINGS)} are"
    there = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*") if not path.name.startswith("."))
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return (
        f"there are {', '.join(there[:MOST_NAMED])}{' …' if len(there) > MOST_NAMED else ''}"
        if there
        else "it is empty"
    )


MOST_NAMED = 8
"""Files of a folder that a message names."""
