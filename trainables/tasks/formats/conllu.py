"""CoNLL-U and CoNLL-U Plus: Universal Dependencies as published.

A row has ``tokens`` (FORM), ``pos_tags``, ``upos`` and ``tags`` (all three UPOS), ``xpos``, ``deprel``, ``lemmas``,
``feats`` and ``heads``, one entry a word: ``columns: {tags: xpos}`` chooses. ``parsed`` says that heads are gold.
Ranges (``1-2``) and empty nodes (``8.1``) are no words, unless `words: fused` makes one of a range, as in XTREME.
CoNLL-U Plus names its columns in its first line; those of its own come in lower case. Columns stand between tabs, or
between blanks in a line that has no tab. Ids count from 1, so that a missing word or a missing blank line is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.errors import shown
from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.conll import cells_of
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended
from trainables.tasks.words import fused, heads_of_fused

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""CoNLL-U's ten columns."""

PLUS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
"""The first line of CoNLL-U Plus."""

_NUMBER = re.compile(r"[0-9]{1,9}")
_NO_WORD = re.compile(r"[0-9]+(-|\.)[0-9]+")
"""The id of a range, or of an empty node."""

_NAMES = {"FORM": "tokens", "LEMMA": "lemmas", "HEAD": "heads"}


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """The sentences; each is placed at its first word, and what is malformed first in one at its line, in its place."""
    columns: Sequence[str] = COLUMNS
    start, lines, count, broken = "", list[list[str]](), 0, False
    for place, line in source.lines():
        text = ended(line)
        if not text.strip(" \t"):
            if count and not broken:
                yield start, _row(columns, lines, reading)
            start, lines, count, broken = "", [], 0, False
        elif text.startswith("#") and ("ID" in columns or not lines):
            if (plus := PLUS.match(text)) is not None:
                columns = plus[1].split()
                if "FORM" not in columns or len(set(columns)) < len(columns):
                    rule = "must have FORM among them, and no column twice"
                    yield place, DataError(f"global.columns {rule} (got {' '.join(columns)})")
                    return
        elif not broken:
            cells = cells_of(text, "\t" in text)
            start = start or place
            problem = _problem(cells, columns, count)
            if problem is not None:
                broken = True
                yield place, problem
            else:
                lines.append(cells)
                count += "ID" not in columns or _NUMBER.fullmatch(cells[columns.index("ID")]) is not None
    if count and not broken:
        yield start, _row(columns, lines, reading)


def _problem(cells: Sequence[str], columns: Sequence[str], before: int) -> RowError | None:
    """What is wrong with a line after so many words of its sentence."""
    if len(cells) != len(columns):
        kind = "the 10 columns of CoNLL-U" if columns is COLUMNS else f"the {len(columns)} columns named"
        return RowError(f"must have {kind} (got {len(cells)})")
    number = cells[columns.index("ID")] if "ID" in columns else str(before + 1)
    if _NO_WORD.fullmatch(number):
        return None
    if not _NUMBER.fullmatch(number):
        return RowError(f"must have a word's number, a range or an empty node as its id (got {shown(number)})")
    if int(number) == 1 and before:
        return RowError(f"must have a blank line before it, ids start again (got 1 after {before})")
    if int(number) != before + 1:
        return RowError(f"must have the id {before + 1}, ids count words (got {number})")
    return None


def _row(columns: Sequence[str], lines: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any] | RowError:
    is_fused = reading.words == "fused"
    if is_fused and tuple(columns) != COLUMNS:
        return DataError("must have the 10 columns of CoNLL-U for words: fused (got CoNLL-U Plus)")
    try:
        words = fused(lines, reading.language) if is_fused else _syntactic(columns, lines)
    except ValueError as error:
        return RowError(str(error))
    found: dict[str, list[Any]] = {
        _NAMES.get(name, name.lower()): list(column)
        for name, column in zip(columns, zip(*words, strict=True), strict=True)
    }
    if _has_no_words(found):
        return DataError("must have its words: this treebank is published without them (got _ in every FORM)")
    if is_fused:
        found["heads"] = heads_of_fused(lines, words)
    if "heads" in found:
        found["heads"] = [int(head) if _NUMBER.fullmatch(head) else head for head in found["heads"]]
    upos, how = found.get("upos"), {"parsed": "gold"} if "heads" in found else {}
    return {**({} if upos is None else {"pos_tags": upos, "tags": upos}), **found, **how}


def _syntactic(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Words of UD: ranges are taken apart."""
    if "ID" not in columns:
        return lines
    place = columns.index("ID")
    return [cells for cells in lines if _NUMBER.fullmatch(cells[place])]


def _has_no_words(row: Mapping[str, Sequence[str]]) -> bool:
    """Whether the forms are withheld: an underscore that is a word of its own is punctuation or a symbol."""
    kinds = row.get("upos", ())
    return all(form == "_" for form in row["tokens"]) and not any(kind in ("PUNCT", "SYM") for kind in kinds)
