"""CoNLL-U and CoNLL-U Plus: Universal Dependencies as published.

A row has ``tokens`` (FORM), ``pos_tags``, ``upos`` and ``tags`` (all three UPOS), ``xpos``, ``deprel``, ``lemmas``,
``feats`` and ``heads``, one entry a word: ``columns: {tags: xpos}`` chooses. Ranges (``1-2``) and empty nodes (``8.1``)
are no words, as in XTREME. CoNLL-U Plus names its columns in its first line; those of its own come in lower case.
Columns stand between tabs, or between blanks in a line that has no tab. Ids count from 1, so that a missing word or a
missing blank line is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.conll import cells_of
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""CoNLL-U's ten columns."""

PLUS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
"""The first line of CoNLL-U Plus."""

_NUMBER = re.compile(r"[0-9]{1,9}")
_NO_WORD = re.compile(r"[0-9]+(-|\.)[0-9]+")
"""The id of a range, or of an empty node."""

_NAMES = {"FORM": "tokens", "LEMMA": "lemmas", "HEAD": "heads"}


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """The sentences; each is placed at its first word."""
    columns: Sequence[str] = COLUMNS
    start, words = "", list[list[str]]()
    for place, line in source.lines():
        text = ended(line)
        if not text.strip(" \t"):
            if words:
                yield start, _row(columns, words)
            start, words = "", []
            continue
        if text.startswith("#") and ("ID" in columns or not words):
            if (plus := PLUS.match(text)) is not None:
                columns = plus[1].split()
                if "FORM" not in columns:
                    yield place, DataError(f"global.columns must have FORM among them (got {' '.join(columns)})")
                    return
            continue
        cells = cells_of(text, "\t" in text)
        start = start or place
        if len(cells) != len(columns):
            kind = "the 10 columns of CoNLL-U" if columns is COLUMNS else f"the {len(columns)} columns named"
            yield place, RowError(f"must have {kind} (got {len(cells)})")
            continue
        number = cells[columns.index("ID")] if "ID" in columns else str(len(words) + 1)
        if not _NUMBER.fullmatch(number):
            if not _NO_WORD.fullmatch(number):
                yield place, RowError(f"must have a word's number, a range or an empty node as its id (got {number!r})")
            continue
        if int(number) == 1 and words:
            yield place, RowError(f"must have a blank line before it, ids start again (got 1 after {len(words)})")
            start, words = place, []
        elif int(number) != len(words) + 1:
            yield place, RowError(f"must have the id {len(words) + 1}, ids count words (got {number})")
        words.append(cells)
    if words:
        yield start, _row(columns, words)


def _row(columns: Sequence[str], words: Sequence[Sequence[str]]) -> dict[str, Any] | RowError:
    found: dict[str, list[Any]] = {
        _NAMES.get(name, name.lower()): list(column)
        for name, column in zip(columns, zip(*words, strict=True), strict=True)
    }
    if _has_no_words(found):
        return DataError("must have its words: this treebank is published without them (got _ in every FORM)")
    if "heads" in found:
        found["heads"] = [int(head) if _NUMBER.fullmatch(head) else head for head in found["heads"]]
    upos = found.get("upos")
    return found if upos is None else {"pos_tags": upos, "tags": upos, **found}


def _has_no_words(row: Mapping[str, Sequence[str]]) -> bool:
    """Whether the forms are withheld: an underscore that is a word of its own is punctuation or a symbol."""
    kinds = row.get("upos", ())
    return all(form == "_" for form in row["tokens"]) and not any(kind in ("PUNCT", "SYM") for kind in kinds)
