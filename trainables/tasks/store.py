"""Where a task's rows are: built-in, in local files, or on the hub; behind one interface."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.config import TaskConfig
from trainables.errors import UserError, shown
from trainables.languages import distinct, normalize
from trainables.tasks.base import DataError, RowError
from trainables.tasks.definition import Hub, Layout, TaskDefinition
from trainables.tasks.files import example, find_files, has_files, languages_of, near_files, patterns_of
from trainables.tasks.formats.reading import Raw
from trainables.tasks.formats.registry import BESIDE, Piece, read_piece
from trainables.tasks.hub import read_hub


class Store(ABC):
    """One data set. Languages by their codes, splits as the data set calls them."""

    @property
    @abstractmethod
    def spelt(self) -> Mapping[str, str]:
        """What the data set calls its languages -> their codes, over all splits."""

    @abstractmethod
    def languages(self, split: str) -> tuple[str, ...]:
        """Codes of the languages that a split has rows of, as far as can be known without reading."""

    @abstractmethod
    def rows(self, split: str, code: str) -> Iterator[Raw]:
        """The rows of one language, and what is malformed in their place. Raises `UserError`."""

    @abstractmethod
    def place(self, split: str, code: str) -> str:
        """Where the rows of one language are, for messages."""

    def looked(self, split: str) -> str:
        """Where all of a split's rows were looked for, and what is there instead; for messages."""
        return self.place(split, "{language}")

    @abstractmethod
    def key(self, split: str) -> str:
        """Names the content of a split without reading it; equal keys mean equal rows."""


class Files(Store):
    """A folder of local files, which are looked for once."""

    def __init__(self, definition: TaskDefinition, folder: Path, words: str | None = None) -> None:
        """They lie as the definition says, or as the first of its layouts that any of them matches."""
        self._all = [
            (definition, Layout(files="")),
            *((definition.laid_out(each), each) for each in definition.layouts),
        ]
        self.folder, self.words = folder, words
        self.definition, self.layout = next((each for each in self._all if self._matches(*each)), self._all[0])
        self._found: dict[str, dict[str, tuple[Piece, ...]]] = {}

    @property
    def _called(self) -> Mapping[str, str]:
        """Split as the task calls it -> as the files do, where they call it otherwise."""
        return self.layout.splits

    @property
    def is_published(self) -> bool:
        """Whether they lie as one of the layouts has it, and not as the task's own pattern."""
        return self.definition is not self._all[0][0]

    def _matches(self, definition: TaskDefinition, layout: Layout) -> bool:
        splits = _splits(definition)
        return any(has_files(self.folder, definition.files, layout.splits.get(split, split)) for split in splits)

    @cached_property
    def spelt(self) -> Mapping[str, str]:
        own, files = self.definition.spelt, self.definition.files
        splits = [self._called.get(split, split) for split in _splits(self.definition)]
        return {**distinct(*(languages_of(self.folder, files, split) - own.keys() for split in splits)), **own}

    def languages(self, split: str) -> tuple[str, ...]:
        if self.definition.language_column is not None:  # the files would have to be read for less
            return self.definition.codes if self.files(split) else ()
        return tuple(self.files(split))

    def rows(self, split: str, code: str) -> Iterator[Raw]:
        return answered(self._of_language(split, code), self.definition, f"{self.definition.name}, {split} in {code}")

    def place(self, split: str, code: str) -> str:
        found = self.files(split).get("" if self.definition.language_column else code)
        external = next((name for name, own in self.spelt.items() if own == code), code)
        called = self._called.get(split, split)
        return str(found[0] if found else self.folder / example(self.definition.files, called, external))

    def looked(self, split: str) -> str:
        named = [
            patterns_of(each.files)[0].replace("{split}", layout.splits.get(split, split))
            for each, layout in ([(self.definition, self.layout)] if self.is_published else self._all)
        ]
        called = self._called.get(split, split)
        return f"{self.folder / ' or '.join(named)}; {near_files(self.folder, self.definition.files, called)}"

    def key(self, split: str) -> str:
        stats = {
            code: [(p, p.stat()) for each in found for path in each.paths for p in (path, *self._beside(path))]
            for code, found in self.files(split).items()
        }
        sums = {code: [[str(p), s.st_size, s.st_mtime_ns] for p, s in found] for code, found in sorted(stats.items())}
        said = sums if self.words is None else [self.words, sums]
        if not self.is_published:
            return json.dumps(said)
        renamed = self.layout.columns, self.layout.labels
        more = [renamed] if any(renamed) else []
        return json.dumps([said, self.definition.model_dump(mode="json"), self._called, *more])

    def _beside(self, path: Path) -> tuple[Path, ...]:
        name = self.definition.format
        return BESIDE[name](path) if name is not None and name in BESIDE else ()

    def files(self, split: str) -> Mapping[str, tuple[Piece, ...]]:
        """Language code -> its files; under nothing those that hold rows of several."""
        if split not in self._found:
            nameless = None if self.definition.language_column else self.definition.nameless
            self._found[split] = find_files(
                self.folder, self.definition.files, self._called.get(split, split), self.spelt, nameless
            )
        return self._found[split]

    def _of_language(self, split: str, code: str) -> Iterator[Raw]:
        column = self.definition.language_column
        reading = replace(self.definition.reading, words=self.words, language=code)
        for piece in self.files(split)["" if column else code]:
            rows = _respelt(read_piece(piece, reading), self.layout, reading.column("label"))
            yield from rows if column is None else in_language(rows, column, code, self.spelt)


def _respelt(rows: Iterator[Raw], layout: Layout, label: str) -> Iterator[Raw]:
    """Rows with columns, and labels in the column `label`, as the task has them."""
    if not layout.columns and not layout.labels:
        yield from rows
        return
    for place, row in rows:
        if isinstance(row, RowError):
            yield place, row
            continue
        renamed = {layout.columns.get(name, name): value for name, value in row.items()}
        if (told := layout.labels.get(str(renamed.get(label)))) is not None:
            renamed[label] = told
        yield place, renamed


def _splits(definition: TaskDefinition) -> list[str]:
    """What the data may call its splits."""
    return sorted({"train", "validation", "test", *(part.split for _, parts in definition.splits for part in parts)})


def in_language(rows: Iterator[Raw], column: str, code: str, spelt: Mapping[str, str]) -> Iterator[Raw]:
    """The rows of one language, of files that hold several; a language that nobody declared is an error.

    `spelt`: what the column calls a language -> its code; a name that ends in ``-`` is what the column begins with.
    """
    beginnings = {name: own for name, own in spelt.items() if name.endswith("-")}
    for place, row in rows:
        if isinstance(row, RowError):
            yield place, row
            continue
        name = row.get(column)
        found = spelt.get(name) if isinstance(name, str) else None
        if found is None and isinstance(name, str):
            found = next((own for beginning, own in beginnings.items() if name.startswith(beginning)), None)
        if found is None:
            known = ", ".join(spelt)
            yield place, RowError(f"{column} must be one of the task's languages, {known} (got {shown(name)})")
        elif found == code:
            yield place, row


def answered(rows: Iterator[Raw], definition: TaskDefinition, where: str) -> Iterator[Raw]:
    """Questions that have an answer; those that SQuAD 2.0 calls impossible are dropped, and counted, or refused."""
    column = definition.reading.column("answers")
    dropped = 0
    for place, row in rows:
        if definition.shape != "span" or isinstance(row, RowError) or not _is_impossible(row, column):
            yield place, row
        elif definition.unanswerable == "drop":
            dropped += 1
        elif row.get("is_impossible") is True:
            rule = "has no answer, as questions of SQuAD 2.0 may; `unanswerable: drop` leaves them out"
            yield place, DataError(f"{rule} (got is_impossible: true)")
        else:
            yield place, row  # published without its answers: the shape's own words
    if dropped:
        logging.getLogger(__name__).warning("%s: %d questions without an answer were left out", where, dropped)


def _is_impossible(row: Mapping[str, Any], column: str) -> bool:
    answers = row.get(column)
    texts = answers.get("text") if isinstance(answers, dict) else answers
    return row.get("is_impossible") is True or texts == []


class OnHub(Store):
    """A data set of the Hugging Face hub."""

    def __init__(self, definition: TaskDefinition, hub: Hub) -> None:
        self.definition, self.hub = definition, hub

    @property
    def spelt(self) -> Mapping[str, str]:
        return self.definition.spelt

    def languages(self, split: str) -> tuple[str, ...]:
        absent = self.definition.not_on_hub
        return tuple(code for code in self.definition.codes if not self.definition.named(code, absent))

    def rows(self, split: str, code: str) -> Iterator[Raw]:
        return answered(self._rows(split, code), self.definition, self.place(split, code))

    def _rows(self, split: str, code: str) -> Iterator[Raw]:
        return read_hub(self.hub, code, self.definition.external(code), split, self.definition.classes)

    def place(self, split: str, code: str) -> str:
        return f"{self.hub.id} of the hub, {split} in {code}"

    def key(self, split: str) -> str:
        return f"{self.hub.model_dump_json()} {split}"


def open_store(definition: TaskDefinition, config: TaskConfig, own_folder: Path | None, main: bool) -> Store:
    """The store of a task's data: `task.data_dir` stands in for the hub, a built-in task needs neither.

    `own_folder` is where one's own task file lies. `main` is false for data that another task borrows: these come from
    a folder of that name in `task.data_dir`, or beside it, or from files in it as they were published, if these train
    the source language, or else from the hub.
    """
    if definition.builtin is not None:
        from trainables.offline import intents

        return Files(definition, intents.ensure())
    if config.data_dir is not None:
        folder = _local_folder(definition, config.data_dir, main)
        if folder is not None:
            return Files(definition, folder, config.words)
        if definition.layouts and _trains(published := Files(definition, config.data_dir, config.words), config):
            return published
        if main or definition.hub is None or definition.hub.script:
            rule = f"needs a folder {definition.name!r}, in it or beside it, with files such as {_example(definition)}"
            raise UserError(f"task.data_dir: {rule} (got {config.data_dir})")
    if definition.hub is not None and not definition.hub.script:
        if config.words is not None and config.words != (definition.words or config.words):
            raise UserError(
                f"task.words: the hub's copy of {definition.name} has {definition.words} words; task.data_dir can name "
                f"a folder of CoNLL-U files (got {config.words})"
            )
        return OnHub(definition, definition.hub)
    if definition.hub is not None and own_folder is None:
        raise UserError(
            f"task.data_dir: the hub has {definition.name} as a loading script ({definition.hub.id}), which is never "
            f"run; name a folder that has its files, such as {definition.name}/{_example(definition)} (got none)"
        )
    if own_folder is None:
        raise UserError(f"task.data_dir: {definition.name} is not on the hub; name a folder that has it (got none)")
    return Files(definition, own_folder, config.words)


def _trains(published: Files, config: TaskConfig) -> bool:
    """Whether these are data that another task borrows, and not that task's own files under names alike."""
    return published.is_published and normalize(config.source_language) in published.languages("train")


def _local_folder(definition: TaskDefinition, data_dir: Path, main: bool) -> Path | None:
    if not data_dir.is_dir():
        raise UserError(f"task.data_dir: must be a folder (got {data_dir})")
    candidates = (data_dir / definition.name, data_dir if main else data_dir.parent / definition.name)
    return next((folder for folder in candidates if folder.is_dir()), None)


def _example(definition: TaskDefinition) -> str:
    return example(definition.files, "train", "en").replace(".*", ".jsonl")
