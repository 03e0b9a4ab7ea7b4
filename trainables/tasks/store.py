"""Where a task's rows are: built-in, in local files, or on the hub; behind one interface."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.languages import distinct
from trainables.tasks.definition import Hub, TaskDefinition
from trainables.tasks.files import ENDINGS, Located, find_files, languages_of, near_files, read_file
from trainables.tasks.hub import read_hub
from trainables.tasks.words import words_of


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
    def rows(self, split: str, code: str) -> Iterator[Located]:
        """The rows of one language. Raises `UserError`."""

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
    """A folder of local files."""

    def __init__(self, definition: TaskDefinition, folder: Path, words: str | None = None) -> None:
        self.definition, self.folder, self.words = definition, folder, words

    @cached_property
    def spelt(self) -> Mapping[str, str]:
        own, files = self.definition.spelt, self.definition.files
        named = {part.split for _, parts in self.definition.splits for part in parts}
        splits = sorted({"train", "validation", "test"} | named)
        return {**distinct(*(languages_of(self.folder, files, split) - own.keys() for split in splits)), **own}

    def languages(self, split: str) -> tuple[str, ...]:
        return tuple(self._files(split))

    def rows(self, split: str, code: str) -> Iterator[Located]:
        return read_file(self._files(split)[code], self.definition.quoting, words_of(self.words, code))

    def place(self, split: str, code: str) -> str:
        found = self._files(split).get(code)
        external = next((name for name, own in self.spelt.items() if own == code), code)
        return str(found or self.folder / self.definition.files.format(split=split, language=external))

    def looked(self, split: str) -> str:
        pattern = self.definition.files.replace("{split}", split)
        return f"{self.folder / pattern}; {near_files(self.folder, self.definition.files, split)}"

    def key(self, split: str) -> str:
        stats = {code: (path, path.stat()) for code, path in self._files(split).items()}
        there = {code: [str(p), s.st_size, s.st_mtime_ns] for code, (p, s) in sorted(stats.items())}
        return json.dumps(there if self.words is None else [self.words, there])

    def _files(self, split: str) -> dict[str, Path]:
        return find_files(self.folder, self.definition.files, split, self.spelt)


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

    def rows(self, split: str, code: str) -> Iterator[Located]:
        return read_hub(self.hub, code, self.definition.external(code), split, self.definition.classes)

    def place(self, split: str, code: str) -> str:
        return f"{self.hub.id} of the hub, {split} in {code}"

    def key(self, split: str) -> str:
        return f"{self.hub.model_dump_json()} {split}"


def open_store(definition: TaskDefinition, config: TaskConfig, own_folder: Path | None, main: bool) -> Store:
    """The store of a task's data: `task.data_dir` stands in for the hub, a built-in task needs neither.

    `own_folder` is where one's own task file lies. `main` is false for data that another task borrows: then
    `task.data_dir`, or the folder it is in, must hold a folder of that name.
    """
    if definition.builtin is not None:
        from trainables.offline import intents

        return Files(definition, intents.ensure())
    if config.data_dir is not None:
        return Files(definition, _local_folder(definition, config.data_dir, main), config.words)
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


def _local_folder(definition: TaskDefinition, data_dir: Path, main: bool) -> Path:
    if not data_dir.is_dir():
        raise UserError(f"task.data_dir: must be a folder (got {data_dir})")
    candidates = [data_dir / definition.name, data_dir if main else data_dir.parent / definition.name]
    for folder in candidates:
        if folder.is_dir():
            return folder
    rule = f"needs a folder {definition.name!r}, in it or beside it, with files such as {_example(definition)}"
    raise UserError(f"task.data_dir: {rule} (got {data_dir})")


def _example(definition: TaskDefinition) -> str:
    return definition.files.format(split="train", language="en").replace(".*", ENDINGS[0])
