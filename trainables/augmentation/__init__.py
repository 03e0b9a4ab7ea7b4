"""Robust training by more data: `augment` turns training rows into copies with other words.

In: rows of text. Out: rows. base: the interface, start here; words: replacing words in running text
synonyms, code_switching, character_noise  the methods; noise: that of the last, and of evaluation under noise
keyboards: letters that lie next to each other
resources: where other words come from; dictionaries: how those files are read
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trainables.augmentation import character_noise, code_switching, synonyms
from trainables.augmentation.base import METHODS, Augmentation, Corpus, Supervision, TextsByLanguage
from trainables.config import AugmentationConfig
from trainables.errors import UserError, shown, suggestion
from trainables.languages import NO_OWN, Own, group
from trainables.seeds import derive
from trainables.tasks.base import Row

__all__ = ["METHODS", "augment", "changed", "check", "check_resource", "supervision", "texts_of"]

_SHIPPED = (character_noise, code_switching, synonyms)  # importing them registers their methods


def check(config: AugmentationConfig, own: Own = NO_OWN) -> None:
    """Raise `UserError` for an unknown method, or an alphabet of a group that there is not, nor in a task's `own`."""
    if config.method != "none" and config.method not in METHODS:
        near = suggestion(config.method, ["none", *METHODS]) or f", known: none, {', '.join(METHODS)}"
        raise UserError(f"augmentation.method: unknown method{near} (got {shown(config.method)})")
    if config.alphabet != character_noise.SOURCE:
        try:
            group(config.alphabet, (), own=own)
        except UserError as error:
            rule = error.lines[0].partition(": ")[2]
            raise UserError(f"augmentation.alphabet: must be {character_noise.SOURCE}, or a group; {rule}") from None


def check_resource(config: AugmentationConfig, language: str) -> None:
    """Raise `UserError` where the words of a language that the configured augmentation needs are not here."""
    if config.method in METHODS:
        METHODS[config.method].check_resource(config, language)


def supervision(config: AugmentationConfig) -> Supervision:
    """What the configured augmentation needs beyond source labels."""
    return "none" if config.method not in METHODS else METHODS[config.method].supervision_of(config)


def augment(
    config: AugmentationConfig,
    rows: Sequence[Row],
    columns: Sequence[str],
    language: str,
    seed: int,
    others: Callable[[], TextsByLanguage] = dict,
    own: Own = NO_OWN,
) -> list[Row]:
    """`config.copies` copies of each row, the copies of one row together; the unchanged row is not among them.

    In the `columns`, texts or lists of texts, every word is changed by a draw of its own with chance
    `config.probability`; each text of a row has its own stream, so the sentences of a pair are independent. A copy
    depends on nothing but (seed, row number, copy, column). `language` is the rows' own; `others` reads unlabelled
    texts of the task's other languages, and is called where an alphabet is to be theirs; `own` is what
    the task says of them. With method ``none`` the rows
    come back as they are. Raises `UserError` for an unknown method, a missing resource, one that knows none of the
    words, or a task shape without such columns.
    """
    check(config, own)
    if config.method == "none":
        return list(rows)
    if not columns:
        raise UserError(
            f"augmentation.method: this task's texts cannot be changed word by word (got {config.method!r})"
        )
    corpus = Corpus(language, list(texts_of(rows, columns)), others, own)
    method: Augmentation = METHODS[config.method](config, corpus)

    def copied(row: Row, number: int, copy: int) -> Row:
        return changed(row, columns, lambda column, texts: method.copy(texts, derive(seed, number, copy, column)))

    return [copied(row, i, copy) for i, row in enumerate(rows) for copy in range(config.copies)]


def texts_of(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    """All texts in the columns of some rows."""
    return (text for row in rows for column in columns for text in _listed(row[column]))


def changed(row: Row, columns: Sequence[str], change: Callable[[str, Sequence[str]], Sequence[str]]) -> Row:
    """The row with the texts of its columns changed: `change` is given a column's name and its texts."""
    other = {}
    for column in columns:
        texts = change(column, _listed(row[column]))
        other[column] = texts[0] if isinstance(row[column], str) else list(texts)
    return {**row, **other}


def _listed(value: Any) -> Sequence[str]:
    """A column's texts, of which there may be one."""
    return (value,) if isinstance(value, str) else value
