"""What is said about files beside what is in them, and the rows that come out of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainables.errors import UserError
from trainables.tasks.base import DataError, RowError

FormatName = Literal["jsonl", "json", "squad", "csv", "tsv", "text", "conll", "conllu", "parquet", "arrow", "mewslix"]
"""What a format is called in ``format:``."""

Located = tuple[str, dict[str, Any]]
"""Where a row stands (``file:line``), and the row as it stands there."""

Raw = tuple[str, dict[str, Any] | RowError]
"""The same, or what is wrong in a row's place; after a `DataError` no further row comes."""

MOST_PROBLEMS = 5
"""Malformed rows of a file that are named before reading stops."""


@dataclass(frozen=True)
class Reading:
    """How files are to be read, as far as they don't say it themselves."""

    format: FormatName | None = None
    """The format; none: recognised."""
    encoding: str = "utf-8"
    """Encoding of text, one that keeps ASCII."""
    header: tuple[str, ...] = ()
    """Names of the columns of files that have no line of names."""
    quoting: bool | None = None
    """Whether cells stand in quotes; none: of .tsv where every cell of the first line does, of .csv always."""
    shape: str | None = None
    """Shape of the task; a tagging task's text is sentences, one word a line."""
    paragraphs: bool = False
    """Whether a row of SQuAD's form is a paragraph with its questions, and not a question."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the shape -> column of the data, where the two differ."""
    labels: tuple[str, ...] = ()
    """The task's labels."""
    words: str | None = None
    """What a word of CoNLL-U is (`trainables.tasks.words`)."""
    language: str = ""
    """Code of the language that is read."""

    def column(self, name: str) -> str:
        """What the data calls a column of the shape."""
        return self.columns.get(name, name)


def sound(rows: Iterator[Raw]) -> Iterator[Located]:
    """The rows where all are sound. Raises `UserError` at the first few that are not."""
    problems: list[str] = []
    for place, row in rows:
        if not isinstance(row, RowError):
            if not problems:
                yield place, row
            continue
        problems.append(f"{place}: {row}")
        if len(problems) == MOST_PROBLEMS or isinstance(row, DataError):
            break
    if problems:
        raise UserError(*problems)
