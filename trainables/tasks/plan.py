"""Which rows of which data set make up which split of a configured task, and reading them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from trainables.config import TaskConfig
from trainables.errors import UserError, shown
from trainables.languages import group, meant, normalize, suggested
from trainables.progress import told
from trainables.tasks.base import DataError, Row, RowError, TaskShape
from trainables.tasks.definition import Part, Split, TaskDefinition, catalogue, find
from trainables.tasks.fields import with_joined
from trainables.tasks.formats.reading import MOST_PROBLEMS, Raw, sound
from trainables.tasks.heads import HOW, with_heads, without_heads
from trainables.tasks.rows import collect
from trainables.tasks.shapes import shape_of
from trainables.tasks.store import Files, Store, open_store

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

HELD_OUT = 0.1
"""Share of the contexts that is carved out of the training rows where a task has no validation split of its own."""


MOST_LINES = 25
"""Malformed rows of all of a split's files that are named before reading stops."""


class _MalformedError(UserError):
    """The rows of a file, while those of other languages may have mistakes of their own."""


@dataclass(frozen=True)
class Plan:
    """A configured task before anything is read."""

    config: TaskConfig
    definition: TaskDefinition
    own_folder: Path | None
    reads_heads: bool = False
    """Whether rows come with dependency heads, where there are some."""

    @classmethod
    def of(cls, config: TaskConfig, reads_heads: bool = False) -> Plan:
        """Raises `UserError` for an unknown task, and for one whose definition does not add up."""
        plan = cls(config, *find(config.name), reads_heads)
        for split in SPLITS:
            for part in plan.parts(split):
                plan.adoption(split, part)
        _ = plan.shape  # which is refused where the training rows cannot teach it
        return plan

    @cached_property
    def shape(self) -> TaskShape:
        """The task's shape, without what its training rows cannot teach. Raises `UserError` where it needs that."""
        whole, lacking = shape_of(self.definition), self._lacking()
        try:
            return whole.without(lacking) if lacking else whole
        except ValueError as error:
            raise UserError(f"task.name: {self.definition.name}: splits.train.{error}") from None

    def _lacking(self) -> tuple[str, ...]:
        """Labels that the training rows cannot have, since they are another task's, which has none such."""
        known = self.definition.codes
        parts = [p for p in self.parts("train") if p.task or not known or self._given_source in known]
        if any(part.task is None for part in parts):
            return ()
        taught = {part.labels.get(each, each) for part in parts if part.task for each in catalogue()[part.task].labels}
        return tuple(label for label in self.definition.labels if parts and label not in taught)

    @property
    def _given_source(self) -> str:
        """Code of the source language, without a look at the data."""
        return normalize(self.config.source_language)

    @cached_property
    def source(self) -> str:
        """Code of the source language."""
        return self.code_of(self.config.source_language)

    @cached_property
    def _spelt(self) -> Mapping[str, str]:
        """What the task's data calls its languages -> their codes; its own before that which it borrows."""
        found: list[dict[str, str]] = []
        for task in dict.fromkeys((None, *(p.task for split in SPLITS for p in self.parts(split)))):
            with suppress(UserError):  # data that is not there is named where it is needed
                found.append(dict(self.store(task).spelt))
        return ChainMap(*found)

    def code_of(self, name: str) -> str:
        """The code of a language as the user calls it: as the data does, by its code, or in any other spelling."""
        if name in self._spelt:
            return self._spelt[name]
        return name if name in self._spelt.values() else normalize(name)

    def _as_given(self, code: str) -> str:
        """A language as the configuration spells it."""
        targets = () if self.config.target_languages == "all" else self.config.target_languages
        given = (name for name in (self.config.source_language, *targets) if not name.startswith(_GROUP))
        return next((name for name in given if self.code_of(name) == code), code)

    def parts(self, split: Split) -> tuple[Part, ...]:
        """What a split is made of."""
        splits = self.definition.splits
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}[split]
        return tuple(part for part in parts if not part.when_source or self._given_source in part.when_source)

    def adoption(self, split: Split, part: Part) -> Callable[[Row], Row]:
        """What makes a part's rows rows of this task. Raises `UserError` where they cannot be."""
        ours = shape_of(self.definition)
        other = shape_of(catalogue()[part.task]) if part.task else ours
        try:
            return ours.adoption(other, part.labels)
        except ValueError as error:
            where = f"{self.definition.name}: splits.{split}[{self.parts(split).index(part)}]"
            raise UserError(f"task.name: {where}.{error}") from None

    def store(self, task: str | None) -> Store:
        """The data of another task of the catalogue, or of this one; looked for once in a plan's life."""
        if task not in self._stores:
            definition = catalogue()[task] if task else self.definition
            main = definition.name == self.definition.name
            self._stores[task] = open_store(definition, self.config, self.own_folder, main)
        return self._stores[task]

    @cached_property
    def _stores(self) -> dict[str | None, Store]:
        return {}

    def read(self, split: Split) -> dict[str, Sequence[Row]]:
        """Language -> rows of one split, languages in order. Raises `UserError`."""
        return self.read_of(split, self.sources(split))

    def read_of(self, split: Split, sources: Mapping[str, Sequence[Part]]) -> dict[str, Sequence[Row]]:
        """The same of some languages' parts."""
        rows: dict[str, Sequence[Row]] = {}
        problems: list[str] = []
        for code, parts in sorted(sources.items()):
            try:
                found = (row for part in parts for row in self._rows(part, split, code))
                rows[code] = collect(told(found, f"reading {split} of {code}", "rows"))
            except _MalformedError as error:
                problems += error.lines
                if len(problems) >= MOST_LINES:
                    break
            else:
                if not rows[code]:
                    raise UserError(f"{self.store(parts[0].task).place(parts[0].split, code)}: has no rows for {split}")
        if problems:
            raise UserError(*dict.fromkeys(problems))
        return rows if split == "train" else dict(self.shape.assemble(rows))

    def first(self, split: Split, most: int) -> list[Row]:
        """At most so many rows of the source language, of the files that are here: nothing is fetched for them."""
        parts = [part for part in self.sources(split)[self.source] if isinstance(self.store(part.task), Files)]
        return list(islice((row for part in parts for row in self._rows(part, split, self.source)), most))

    def sources(self, split: Split) -> dict[str, list[Part]]:
        """Language -> the parts that have its rows. Raises `UserError` where a language that is needed has none.

        The source need not have test rows where others do: then it is not scored on test.
        """
        if not self.parts(split):
            raise UserError(f"task.name: {self.definition.name} has no {split} split (got {self.config.name!r})")
        there = [(part, self.store(part.task).languages(part.split)) for part in self.parts(split)]
        available = sorted({code for _, codes in there for code in codes})
        wanted, named = self._languages(split, available)
        sources = self._of_languages(there, wanted)
        is_of_source = any(part.languages != "targets" for part in self.parts(split))
        needs_source = is_of_source and not (split == "test" and sources)
        missing = [code for code in ([self.source] * needs_source + named) if code not in sources]
        if missing:
            raise UserError(*self._missing(split, list(dict.fromkeys(missing)), available))
        if split != "train":
            self.shape.check_languages(tuple(sources))
        return sources

    def own_sources(self, split: Split, wanted: Collection[str]) -> dict[str, list[Part]]:
        """Those of some languages that have rows in this task's own data, and the parts that have them."""
        parts = [part for part in self.parts(split) if part.task is None]
        return self._of_languages([(part, self.store(None).languages(part.split)) for part in parts], wanted)

    def _of_languages(
        self, there: Sequence[tuple[Part, Sequence[str]]], wanted: Collection[str]
    ) -> dict[str, list[Part]]:
        sources: dict[str, list[Part]] = {}
        for part, codes in there:
            for code in codes:
                role = "source" if code == self.source else "targets"
                if code in wanted and part.languages in ("all", role):
                    sources.setdefault(code, []).append(part)
        return sources

    def require_targets(self) -> None:
        """Raise `UserError` where no target language has rows, on validation or on test; reads nothing."""
        if self.config.target_languages == () or set(self.definition.codes) == {self.source}:
            return
        parts = [p for split in SPLITS[1:] for p in self.parts(split) if p.languages != "source"]
        found = {code for part in parts for code in self.store(part.task).languages(part.split)}
        if not found - {self.source}:
            looked = [self.store(part.task).looked(part.split) for part in parts[:1]]
            raise UserError(
                f"task.target_languages: {self.definition.name} has rows in no language but the source; looked for "
                f"{''.join(looked) or 'none: its splits have none'}; the source alone is target_languages: [] "
                f"(got {shown(self.config.target_languages)})"
            )

    @property
    def chooses_groups(self) -> bool:
        """Whether some target languages are named as a group."""
        return any(name.startswith(_GROUP) for name in self.config.target_languages)

    def _languages(self, split: Split, available: Sequence[str]) -> tuple[set[str], list[str]]:
        """(languages to read, those of them that are asked for by their names)."""
        if split == "train":
            return {self.source}, []
        targets = self.config.target_languages
        if targets == "all":
            return {self.source, *(self.definition.codes or available)}, []
        named = [self.code_of(name) for name in targets if not name.startswith(_GROUP)]
        members = self._members(available)
        untested = self.definition.without_validation if split == "validation" else ()
        has_targets = any(part.languages != "source" for part in self.parts(split))
        needed = [code for code in named if not self.definition.named(code, untested)] if has_targets else []
        return {self.source, *named, *members}, needed

    def _members(self, available: Sequence[str]) -> list[str]:
        """Those of some languages that are in a group of the target languages. Raises `UserError` for unknown ones."""
        found: list[str] = []
        problems: list[str] = []
        for name in self.config.target_languages:
            if name.startswith(_GROUP):
                try:
                    found += group(name[len(_GROUP) :], available, own=self.config.own, source=self.source)
                except UserError as error:
                    problems += [f"task.target_languages: {line.removeprefix(_GROUP).lstrip()}" for line in error.lines]
        if problems:
            raise UserError(*problems)
        return found

    def _missing(self, split: Split, codes: Sequence[str], available: Sequence[str]) -> Iterator[str]:
        """What is wrong with languages that have no rows of a split: those apart whose names mean one that has some."""
        own = self.config.own
        for field, those in (
            ("source_language", [code for code in codes if code == self.source]),
            ("target_languages", [code for code in codes if code != self.source]),
        ):
            spelt = {code: self._as_given(code) for code in those}
            slips = [name for name in spelt.values() if suggested([name], available, own)]
            if slips:
                near, given = suggested(slips, available, own), ", ".join(map(repr, slips))
                yield f"task.{field}: {self.definition.name} has no such language{near} (got {given})"
            if rest := {code: name for code, name in spelt.items() if name not in slips}:
                there = f"only in {', '.join(available)}" if available else "in no language"
                given = ", ".join(f"{name!r}{_in_brackets(meant(name, (), own))}" for name in rest.values())
                looked = self._looked(split, next(iter(rest)), bool(available))
                yield f"task.{field}: {self.definition.name} has {split} rows {there}{looked} (got {given})"

    def _looked(self, split: Split, code: str, has_any: bool) -> str:
        """Where rows of a language were looked for, unless they come out of an installed package."""
        first = self.parts(split)[0]
        if (catalogue()[first.task] if first.task else self.definition).builtin is not None:
            return ""
        store = self.store(first.task)
        return f"; looked for {store.place(first.split, code) if has_any else store.looked(first.split)}"

    def _rows(self, part: Part, split: Split, code: str) -> Iterator[Row]:
        data = catalogue()[part.task] if part.task else self.definition
        shape, adopted = shape_of(data), self.adoption(split, part)
        problems: list[str] = []
        for place, raw in self._mended(part, code):
            try:
                if isinstance(raw, RowError):
                    raise raw
                whole = with_joined(raw, data.joined)
                row = shape.read(whole, data.named_columns)
                if self.reads_heads:
                    row = with_heads(row, whole, shape, data.named_columns, data.options.get(HOW))
            except RowError as error:
                problems.append(f"{place}: {error}")
                if len(problems) == MOST_PROBLEMS or isinstance(error, DataError):
                    break
                continue
            if part.carve is None or (part.carve == "held") == is_held_out(shape.context(without_heads(row))):
                yield adopted(row) if part.task or split == "train" else row
        if problems:
            raise _MalformedError(*problems)

    def _mended(self, part: Part, code: str) -> Iterator[Raw]:
        """The raw rows with the columns that another data set has right."""
        replaced = [(b, self._lookup(b.task, part.split, b.language, b.key, b.column)) for b in part.borrow]
        for place, raw in self.store(part.task).rows(part.split, code):
            if isinstance(raw, RowError):
                yield place, raw
                continue
            changes: dict[str, Any] = {}
            for borrowed, values in replaced:
                key = raw.get(borrowed.key)
                if key not in values:
                    raise UserError(
                        f"{place}: must have a row of equal {borrowed.key} in {borrowed.task} (got {key!r})"
                    )
                changes[borrowed.column] = values[key]
            yield place, {**raw, **changes}

    def _lookup(self, task: str, split: str, language: str, key: str, column: str) -> Mapping[Any, Any]:
        store = self.store(task)
        if language not in store.languages(split):
            raise UserError(
                f"{store.place(split, language)}: is needed for column {column!r} of {self.definition.name}"
            )
        return {raw.get(key): raw.get(column) for _, raw in sound(store.rows(split, language))}


def _in_brackets(code: str | None) -> str:
    return "" if code is None else f" ({code}?)"


_GROUP = "group:"


def is_held_out(context: str) -> bool:
    """Whether a context is among the `HELD_OUT` share that is carved out; depends on its text alone."""
    return int.from_bytes(blake2b(context.encode(), digest_size=4).digest(), "big") < HELD_OUT * 2**32
