"""SQuAD's form: articles, their paragraphs, and the questions about each, in one JSON object.

SQuAD 1.1 and 2.0, XQuAD, MLQA, TyDiQA-GoldP, XQuAD-R (whose paragraphs have ``sentence_breaks`` too). A row is a
question with the ``title`` and ``context`` it stands in, or, for LAReQA, a paragraph. Its place is its way in the file:
``data[0].paragraphs[2].qas[1]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainables.errors import shown
from trainables.tasks.base import DataError, RowError
from trainables.tasks.formats.json_rows import document
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source


def read(source: Source, reading: Reading) -> Iterator[Raw]:
    """The questions of all articles, in order, or the paragraphs."""
    value = document(source)
    if isinstance(value, DataError):
        yield str(source.path), value
        return
    for place, article in _members(value, "data", f"{source.path}:"):
        if isinstance(article, RowError):
            yield place, article
            continue
        title = article.get("title", "")
        for where, paragraph in _members(article, "paragraphs", f"{place}."):
            if reading.paragraphs or isinstance(paragraph, RowError):
                yield where, paragraph if isinstance(paragraph, RowError) else {"title": title, **paragraph}
            elif "context" not in paragraph:
                yield where, RowError("must have a context")
            else:
                around = {"title": title, "context": paragraph["context"]}
                for spot, question in _members(paragraph, "qas", f"{where}."):
                    yield spot, question if isinstance(question, RowError) else {**around, **question}


def _members(holder: Any, name: str, place: str) -> Iterator[tuple[str, dict[str, Any] | RowError]]:
    """(place, object) of a list of objects under a key."""
    members = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(members, list):
        yield f"{place}{name}", RowError(f"must be a list, as in SQuAD's files (got {shown(members)})")
        return
    for i, member in enumerate(members):
        right = isinstance(member, dict)
        yield f"{place}{name}[{i}]", member if right else RowError(f"must be an object (got {shown(member)})")
