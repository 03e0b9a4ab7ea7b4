"""Robust training by more data: `augment` turns training rows into copies with other words.

In: rows of text. Out: rows. base: the interface, start here; words: replacing words in running text
synonyms, code_switching  the methods; resources: where their words come from; dictionaries: how those files are read
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from trainables.augmentation import code_switching, synonyms
from trainables.augmentation.base import METHODS, Augmentation
from trainables.augmentation.words import replace_words, words_of
from trainables.config import AugmentationConfig
from trainables.errors import UserError, shown, suggestion
from trainables.seeds import derive
from trainables.tasks.base import Row

__all__ = ["METHODS", "augment", "check"]

_SHIPPED = (code_switching, synonyms)  # importing them registers their methods


def check(config: AugmentationConfig) -> None:
    """Raise `UserError` for an unknown method."""
    if config.method != "none" and config.method not in METHODS:
        near = suggestion(config.method, ["none", *METHODS]) or f", known: none, {', '.join(METHODS)}"
        raise UserError(f"augmentation.method: unknown method{near} (got {shown(config.method)})")


def augment(
    config: AugmentationConfig, rows: Sequence[Row], columns: Sequence[str], language: str, seed: int
) -> list[Row]:
    """`config.copies` copies of each row, the copies of one row together; the unchanged row is not among them.

    In the `columns`, texts or lists of texts, every word is replaced by a draw of its own with chance
    `config.probability`; each text of a row has its own stream, so the sentences of a pair are independent. A copy
    depends on nothing but (seed, row number, copy, column). `language` is the rows' own. With method ``none`` the rows
    come back as they are. Raises `UserError` for an unknown method, a missing resource, one that knows none of the
    words, or a task shape without such columns.
    """
    check(config)
    if config.method == "none":
        return list(rows)
    if not columns:
        raise UserError(
            f"augmentation.method: this task's texts cannot be changed word by word (got {config.method!r})"
        )
    words = {word for row in rows for column in columns for text in _texts(row[column]) for word in words_of(text)}
    method = METHODS[config.method](config.resource, language, words)
    if not any(method.knows(word) for word in words):
        raise UserError(f"augmentation.resource: knows none of the {len(words):,} words of the training texts")
    return [
        {**row, **{column: _copy(row[column], method, config, derive(seed, i, copy, column)) for column in columns}}
        for i, row in enumerate(rows)
        for copy in range(config.copies)
    ]


def _texts(value: Any) -> Iterator[str]:
    yield from (value,) if isinstance(value, str) else value


def _copy(value: Any, method: Augmentation, config: AugmentationConfig, seed: int) -> Any:
    """One column's text, or list of texts, with other words."""
    random = Random(seed)

    def choose(word: str) -> str:
        considered = random.random() < config.probability
        return method.replacement(word, random) if considered and method.knows(word) else word

    if isinstance(value, str):
        return replace_words(value, choose)
    return [replace_words(text, choose) for text in value]
