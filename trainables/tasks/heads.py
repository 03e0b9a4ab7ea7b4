"""Dependency heads of a row's words: where files have them, and where tokens stand in the trees of their texts.

Columns of a row: ``heads`` of the words of ``tokens`` or ``text``, ``heads_pair`` of those of ``text_pair``; words of a
text are what stands between its blanks. ``parsed`` says who found them: ``gold``, as in treebanks, or ``predicted``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.batch import NO_TREE
from trainables.errors import shown
from trainables.syntax import trees
from trainables.syntax.trees import Parsed
from trainables.tasks.base import Row, RowError, TaskShape

HOW = "parsed"
"""Column, and setting of a task for all of its files, that says who found the heads."""

COLUMNS = ("heads", "heads_pair", HOW)


def with_heads(row: Row, raw: Row, shape: TaskShape, columns: Mapping[str, str], how: str | None = None) -> Row:
    """A row that was read, with the heads of all its texts; as it is where one of them has none.

    `how` they were found, where the task says it. Raises `RowError` for what is no tree.
    """
    found: dict[str, Any] = {}
    for text, column in shape.head_columns.items():
        name = columns.get(column, column)
        try:
            heads = trees.heads_of(raw.get(name), len(words_of(row[text])))
        except ValueError as error:
            raise RowError(f"{name} {error}") from None
        if heads is None:
            return row
        found[column] = heads
    said = how or raw.get(columns.get(HOW, HOW)) or "predicted"
    if said not in ("gold", "predicted"):
        raise RowError(f"{HOW} must be gold or predicted (got {shown(said)})")
    return {**row, **found, HOW: said} if found else row


def without_heads(row: Row) -> Row:
    """What a row is where nobody asks for syntax."""
    return {name: value for name, value in row.items() if name not in COLUMNS}


def crossed_heads(first: Row, second: Row) -> dict[str, Any]:
    """What is said of heads where the first text of one row stands beside the second of another."""
    if not all("heads" in row and "heads_pair" in row for row in (first, second)):
        return {}
    how = min((first[HOW], second[HOW]), key=trees.PARSED.index)
    return {"heads": first["heads"], "heads_pair": second["heads_pair"], HOW: how}


def words_of(text: Any) -> Sequence[str]:
    """The words of a text, or of a list of them."""
    return text.split() if isinstance(text, str) else text


def heads_in(row: Row, shape: TaskShape) -> list[list[int]] | None:
    """The heads of each of a row's texts; None where it has none, or no longer the words that they are of."""
    found: list[list[int]] = [row[column] for column in shape.head_columns.values() if column in row]
    sizes = [len(words_of(row[text])) for text in shape.head_columns]
    return found if found and [len(heads) for heads in found] == sizes else None


def parsed(rows: Sequence[Row], shape: TaskShape) -> tuple[Parsed, int]:
    """How some rows were parsed, and how many of them: ``predicted`` where any of those were."""
    how = [row[HOW] for row in rows if heads_in(row, shape) is not None]
    return min(how, key=trees.PARSED.index, default="none"), len(how)


def parents_of_words(
    rows: Sequence[Row], shape: TaskShape, words: Sequence[Sequence[int | None]]
) -> npt.NDArray[np.int16] | None:
    """The parents (tokens,) of items one after another, from their rows and the words of their tokens (special: None).

    None where no row has heads.
    """
    known = [heads_in(row, shape) for row in rows]
    if not any(known):
        return None
    pairs = zip(known, words, strict=True)
    return np.concatenate(
        [
            np.full(len(of), NO_TREE, np.int16)
            if heads is None
            else trees.parents([None if word is None else (0, word) for word in of], heads)
            for heads, of in pairs
        ]
    )


def parents_of_texts(
    rows: Sequence[Row], shape: TaskShape, tokenizer: Any, max_length: int, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int16] | None:
    """The parents (tokens,) of rows of one sequence each, which lie at `offsets`; None where no row has heads."""
    found = np.full(int(offsets[-1]), NO_TREE, dtype=np.int16)
    known = [(number, row, heads) for number, row in enumerate(rows) if (heads := heads_in(row, shape)) is not None]
    for number, row, heads in known:
        texts = [row[name] for name in shape.head_columns]
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
        places = _places(texts, encoded.sequence_ids(0), encoded["offset_mapping"])
        if len(places) == offsets[number + 1] - offsets[number]:  # else it was segmented anew
            found[offsets[number] : offsets[number + 1]] = trees.parents(places, heads)
    return found if known else None


def _places(
    texts: Sequence[str], sides: Sequence[int | None], offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int] | None]:
    """The text and word of each token: that of its last letter, since a blank may stand before a word's first.

    A token of blanks alone goes with the word after it, or the last there is.
    """
    numbers = [_numbers(text) for text in texts]
    return [
        None if side is None else (side, numbers[side][min(max(begin, end - 1), len(numbers[side]) - 1)])
        for side, (begin, end) in zip(sides, offsets, strict=True)
    ]


def _numbers(text: str) -> list[int]:
    """Of each character the number of its word, from 0; of a blank that of the word after it, if there is one."""
    numbers: list[int] = []
    word, was_blank = -1, True
    for character in text:
        word += was_blank and not character.isspace()
        was_blank = character.isspace()
        numbers.append(word + was_blank)
    return [min(number, max(word, 0)) for number in numbers] or [0]
