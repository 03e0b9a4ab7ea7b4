"""CoNLL: a word and its tags on each line, a blank line after each sentence.

Columns stand between tabs, or between runs of blanks where the first line has no tab. They are ``column1`` and on; the
first is also what the task calls its tokens, the last what it calls its tags, and ``header`` gives them other names:
``columns: {tags: column2}`` takes CoNLL-2003's parts of speech. Where it names two, between blanks, a word may have
blanks itself: the tag is what follows the last (XGLUE's POS); where one is ``id`` a word may be nothing, since its
number says that it is one (xSID). Lines of ``-DOCSTART-`` and comments before a sentence are no words. Chunks in IOB1
and BIOES (also BILOU) become IOB2, unless the task's own labels have other prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.names import repeated
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source, ended

_CHUNK = re.compile(r"[BIESLUM]-.+")
_BLANKS = re.compile(r"[ \t]+")
_GOES_ON, _ENDED = "IELM", "OSUEL"


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """The sentences; each is placed at its first word, and what is malformed in one at its line, in its place."""
    if (problem := repeated(reading.header)) is not None:
        yield str(source.path), problem
        return
    place, first = _first_word(source)
    tabs = "\t" in first
    spare = _may_be_empty(reading)
    width = len(reading.header) or (len(cells_of(first, tabs)) if first else 0)
    if first and width < 2:
        yield place, DataError("must have at least two columns, a word and its tag (got 1)")
        return
    start, words, broken = "", list[list[str]](), False
    for place, line in source.lines():
        text = ended(line)
        if not text.strip(" \t") or text.startswith("-DOCSTART-"):
            if words and not broken:
                yield start, _row(words, reading)
            words, broken = [], False
            continue
        cells = cells_of(text, tabs)
        if not words and text.startswith("#") and _is_comment(text, cells, width, tabs, reading.labels):
            continue
        if len(reading.header) == 2 < len(cells) and not tabs:
            cells = [text.strip(" \t").removesuffix(cells[-1]).rstrip(" \t"), cells[-1]]
        start = start if words else place
        words.append(cells)
        if len(cells) != width or not all(cell or i == spare for i, cell in enumerate(cells)):
            broken = True
            yield place, RowError(_miscounted(cells, width))
    if words and not broken:
        yield start, _row(words, reading)


def _may_be_empty(reading: Reading) -> int | None:
    """The place of words that may be nothing, since another column counts them."""
    word = reading.column("tokens")
    return reading.header.index(word) if {"id", word} <= set(reading.header) else None


def _first_word(source: Source) -> tuple[str, str]:
    """(place, line) of what shows how many columns there are: the first line that is surely no comment."""
    for place, line in source.lines():
        text = ended(line)
        if text.strip(" \t") and not text.startswith(("#", "-DOCSTART-")):
            return place, text
    return str(source.path), ""


def cells_of(line: str, tabs: bool) -> list[str]:
    """The cells of a line, between tabs or between blanks."""
    return line.split("\t") if tabs else _BLANKS.split(line.strip(" \t"))


def _is_comment(text: str, cells: Sequence[str], width: int, tabs: bool, labels: Sequence[str]) -> bool:
    """Whether a line before a sentence is one, and not the word #: it is as wide as none, or cut otherwise.

    A line that is cut otherwise and has a tag is a word all the same.
    """
    if len(cells) != width:
        return True
    tagged = any(cell in labels or cell == "O" or _CHUNK.fullmatch(cell) for cell in cells[1:])
    return ("\t" in text) != tabs and not tagged


def _miscounted(cells: Sequence[str], width: int) -> str:
    if len(cells) == width:
        return f"must have a word and its tags in {width} columns (got an empty column {list(cells).index('') + 1})"
    return f"must have as many columns as the first line, {width} (got {len(cells)})"


def _row(words: Sequence[Sequence[str]], reading: Reading) -> dict[str, Any]:
    columns = [iob2(list(column), reading.labels) for column in zip(*words, strict=True)]
    if reading.header:
        return dict(zip(reading.header, columns, strict=True))
    row = {f"column{i}": column for i, column in enumerate(columns, start=1)}
    return {reading.column("tokens"): columns[0], reading.column("tags"): columns[-1], **row}


def iob2(tags: list[str], labels: Sequence[str] = ()) -> list[str]:
    """Chunk tags of any scheme in IOB2: the first of each chunk is a B, the others are I.

    Other tags stay as they are, and so do all where the task has labels of another scheme.

    >>> iob2(["I-LOC", "I-LOC", "B-LOC", "O", "S-PER", "B-ORG", "E-ORG"])
    ['B-LOC', 'I-LOC', 'B-LOC', 'O', 'B-PER', 'B-ORG', 'I-ORG']
    """
    kept = any(label[:2] in ("E-", "S-", "L-", "U-", "M-") for label in labels)
    kept = kept or (bool(labels) and not any(label.startswith("B-") for label in labels))
    if kept or not all(tag == "O" or _CHUNK.fullmatch(tag) for tag in tags):
        return tags
    found, before = [], "O"
    for tag in tags:
        inside = tag[0] in _GOES_ON and before[0] not in _ENDED and before[2:] == tag[2:]
        found.append(tag if tag == "O" else f"{'I' if inside else 'B'}-{tag[2:]}")
        before = tag
    return found
