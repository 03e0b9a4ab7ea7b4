"""What a task is, as data: one entry of the catalogue, or a file of one's own in the same form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from trainables.config import Config, Facts, TaskConfig
from trainables.errors import UserError, suggestion
from trainables.languages import distinct, normalize
from trainables.loading import read_mapping, validate
from trainables.tasks.files import patterns_of
from trainables.tasks.formats.reading import FormatName, Reading
from trainables.tasks.formats.source import keeps_ascii

Shape = Literal["classification", "multiple_choice", "relevance", "tagging", "span", "retrieval"]
Split = Literal["train", "validation", "test"]
Names = dict[str, str]
CATALOG = Path(__file__).parent / "catalog.yaml"


class Hub(Config):
    """Where the Hugging Face hub has the data. Only plain data files are read, never a loading script."""

    id: str
    """Data set id."""
    revision: str | None = None
    """Pinned commit, tag or branch; none: the newest."""
    config: str | None = None
    """Name of the configuration; `{language}` stands for the language as the hub calls it."""
    script: bool = False
    """Whether the hub has a loading script instead: its files have to be in `task.data_dir`."""
    labels: tuple[str, ...] = ()
    """What the hub calls the classes, where it has other names for them, in the same order."""
    language_prefixes: Names | None = None
    """Where all languages share one configuration: what the ids of each language begin with, by language code."""


class Borrowed(Config):
    """A column taken from another data set's row of the same key, in place of a faulty one."""

    column: str
    """The column that is replaced."""
    task: str
    """Task of the catalogue whose rows have it right."""
    language: str
    """Its language to read."""
    key: str
    """Column whose equal values make two rows the same."""


class Part(Config):
    """Rows that a split consists of."""

    task: str | None = None
    """Task of the catalogue whose data they are; none: this one's."""
    split: str
    """Its split, as its files and the hub call it."""
    languages: Literal["all", "source", "targets"] = "all"
    """Whether it has rows for every language, or for the source or the targets alone."""
    carve: Literal["held", "rest"] | None = None
    """Only the tenth of its contexts that is held out of training, or only the others."""
    borrow: tuple[Borrowed, ...] = ()
    """Columns that another data set has right."""
    labels: Names = Field(default_factory=dict)
    """Label of that task -> label of this one, where they have other names for the same class."""
    when_source: tuple[str, ...] = ()
    """Only where the source is one of these languages; none: whatever it is."""


class Splits(Config):
    """What each split is made of. Under which rule a study may select follows from it."""

    train: tuple[Part, ...] = (Part(split="train", languages="source"),)
    """Trained on, in the source language."""
    validation: tuple[Part, ...] = (Part(split="validation"),)
    """Selects."""
    test: tuple[Part, ...] = (Part(split="test"),)
    """Tests; read in `confirm` only."""


class Layout(Config):
    """How files lie as their authors published them."""

    files: str | tuple[str, ...]
    """Pattern of local files."""
    splits: Names = Field(default_factory=dict)
    """Split as the task calls it -> as these files do, where they call it otherwise."""
    languages: Names = Field(default_factory=dict)
    """Code -> what these files call it, where they call languages otherwise."""
    language_column: str | None = None
    """Column that says each row's language."""
    format: FormatName | None = None
    """Format of these files; none: as the task says."""
    header: tuple[str, ...] = ()
    """Names of the columns of files that have no line of names, or one of just these; none: as the task says."""
    columns: Names = Field(default_factory=dict)
    """Column as these files call it -> as the task's do, where they call it otherwise."""
    labels: Names = Field(default_factory=dict)
    """Label as these files spell it -> as the task calls it, where they spell it otherwise."""


class TaskDefinition(Config):
    """One task."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    """Its name."""
    description: str = ""
    """One line about it."""
    shape: Shape
    """Which module reads, trains and scores it."""
    labels: tuple[str, ...] = ()
    """Class or tag names, in the order of the numbers that the data uses; numbers may be names."""
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Column of the shape -> column of the data, where the two differ, or columns whose texts are joined by a blank."""
    languages: tuple[str, ...] | Names = ()
    """Codes of the languages, or code -> what files and hub call it; none: those that have files."""
    facts: Facts = Field(default_factory=dict)
    """What is said of languages here, over what the table of languages has."""
    words: Literal["fused", "syntactic"] | None = None
    """What a word of a CoNLL-U file is: a token as it is written, or (none, too) one of its syntactic words."""
    without_validation: tuple[str, ...] = ()
    """Languages that have a test split only."""
    not_on_hub: tuple[str, ...] = ()
    """Languages that the hub's copy lacks."""
    splits: Splits = Splits()
    """What its splits are made of."""
    files: str | tuple[str, ...] | Names = "{split}.{language}.*"
    """Pattern of local files, under `task.data_dir` or beside this file, or an absolute one; `*` and `**/` stand for
    anything. Several: one after another. By column of the data: files whose lines belong together."""
    layouts: tuple[Layout, ...] = ()
    """Further ways in which the files may lie; the first that any file matches is read, `files` before them."""
    format: FormatName | None = None
    """Format of the files; none: recognised by what is in them."""
    encoding: str = "utf-8"
    """Encoding of text files."""
    header: tuple[str, ...] = ()
    """Names of the columns of .tsv, .csv and CoNLL files, which then have no line of names."""
    quoting: bool | None = None
    """Whether cells stand in quotes; none: of .tsv where every cell of the header does, of .csv where a cell does."""
    language: str | None = None
    """Language of files whose names have none; none: the only one of `languages`."""
    language_column: str | None = None
    """Column that says each row's language as `languages` spells it; a spelling that ends in `-` is a beginning."""
    unanswerable: Literal["drop"] | None = None
    """Leave out questions without an answer, as SQuAD 2.0 has them; none: they are refused."""
    hub: Hub | None = None
    """The data on the hub."""
    builtin: Literal["intents"] | None = None
    """The data out of installed packages."""
    crossed: bool = False
    """Whether the two texts of a pair come from different languages, in all combinations."""
    options: Names = Field(default_factory=dict)
    """Settings of the shape, such as how answers are normalised before they are compared."""
    candidates: dict[str, int] = Field(default_factory=dict)
    """How many candidates of a search each evaluated language adds, as published, where all languages share them."""
    checked: Literal["files", "hub", "never"] = "never"
    """Whether this was held against the data: its files (by the tests), what the hub has, or nothing but a card."""
    licence: str = ""
    """Licence of the data."""
    citation: str = ""
    """What to cite."""

    @field_validator("labels", mode="before")
    @classmethod
    def _numbers_are_names(cls, labels: Any) -> Any:
        """``[1, 2, 3]`` unquoted; what is neither text nor a whole number is refused by the field's own type."""
        if not isinstance(labels, list | tuple):
            return labels
        return tuple(str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in labels)

    @model_validator(mode="after")
    def _whole(self) -> TaskDefinition:
        if self.shape in ("classification", "multiple_choice", "relevance", "tagging") and len(self.labels) < 2:
            raise ValueError(f"labels: a task of shape {self.shape} needs at least two (got {len(self.labels)})")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: must be different from each other")
        return self

    @model_validator(mode="after")
    def _files_that_can_be_found(self) -> TaskDefinition:
        own = {part.split for _, parts in self.splits for part in parts if part.task is None}
        patterns = patterns_of(self.files)
        named = [set(re.findall(r"\{[^}]*\}", pattern)) for pattern in patterns]
        if isinstance(self.files, dict):
            named = [set().union(*named)]  # a file whose lines belong to all languages needs no name of one
        for pattern, placeholders in zip(patterns, named, strict=False):
            lacking = "{split}" not in placeholders and len(own) > 1
            nameless = "{language}" not in placeholders and not self.language_column and self.nameless is None
            if placeholders - {"{split}", "{language}"} or lacking or nameless:
                raise ValueError(
                    "files: must be a path with {split} and {language} in it, and no other placeholder; without "
                    "{split} where the splits are made of one alone, without {language} where `language`, one entry of "
                    f"`languages` or a `language_column` says it (got {pattern})"
                )
        if not patterns:
            raise ValueError("files: must name files (got none)")
        if self.language_column and not self.languages:
            raise ValueError("languages: must be named where a language_column says them (got none)")
        if self.language_column and any("{language}" in pattern for pattern in patterns):
            raise ValueError("language_column: is for files of several languages, whose names have no {language}")
        if not keeps_ascii(self.encoding):
            raise ValueError(f"encoding: must be one that keeps ASCII, such as utf-8 or latin-1 (got {self.encoding})")
        if len(set(self.header)) < len(self.header):
            raise ValueError("header: must be different from each other")
        return self

    @model_validator(mode="after")
    def _layouts_that_can_be_found(self) -> TaskDefinition:
        for i, layout in enumerate(self.layouts):
            try:
                self.laid_out(layout)
            except ValidationError as error:
                message = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"layouts[{i}].{message}") from None
        return self

    @model_validator(mode="after")
    def _data_that_there_are(self) -> TaskDefinition:
        for split, parts in self.splits:
            for i, part in enumerate(parts):
                for name in (part.task, *(borrowed.task for borrowed in part.borrow)):
                    if name is not None and name not in _entries():
                        near = suggestion(name, tuple(_entries())) or f", known: {', '.join(_entries())}"
                        raise ValueError(f"splits.{split}[{i}]: unknown task{near} (got {name!r})")
        return self

    @model_validator(mode="after")
    def _pairs_alone_are_crossed(self) -> TaskDefinition:
        if self.crossed and (self.shape != "classification" or "text_pair" not in self.columns):
            raise ValueError("crossed: only pairs of texts can be crossed (needs columns.text_pair)")
        return self

    @cached_property
    def spelt(self) -> Mapping[str, str]:
        """What files and hub call each declared language -> its code; empty where the files decide."""
        codes = distinct(self.languages)
        names = self.languages if isinstance(self.languages, dict) else {name: name for name in self.languages}
        return {external: codes[name] for name, external in names.items()}

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """Codes of the declared languages; empty where the files decide."""
        return tuple(self.spelt.values())

    @property
    def nameless(self) -> str | None:
        """Code of the language of files whose names have none."""
        if self.language is not None:
            return self.spelt.get(self.language, normalize(self.language))
        return self.codes[0] if len(self.codes) == 1 else None

    @cached_property
    def joined(self) -> Mapping[str, tuple[str, ...]]:
        """Column that is made -> the columns of the data whose texts make it."""
        return {_joined(parts): parts for parts in self.columns.values() if not isinstance(parts, str)}

    @cached_property
    def named_columns(self) -> Names:
        """Column of the shape -> column of the data, made ones by the name they are made under."""
        return {name: parts if isinstance(parts, str) else _joined(parts) for name, parts in self.columns.items()}

    @cached_property
    def reading(self) -> Reading:
        """How the files are read."""
        return Reading(
            self.format,
            self.encoding,
            self.header,
            self.quoting,
            self.shape,
            self.options.get("rows") == "paragraphs",
            self.named_columns,
            self.labels,
        )

    def laid_out(self, layout: Layout) -> TaskDefinition:
        """The same task with its files as in one of its `layouts`."""
        changes: dict[str, Any] = {"files": layout.files, "layouts": (), "language_column": layout.language_column}
        if layout.languages:
            changes["languages"] = layout.languages
        changes |= {name: given for name in ("format", "header") if (given := getattr(layout, name))}
        return TaskDefinition.model_validate(self.model_dump(exclude_unset=True) | changes)

    def external(self, code: str) -> str:
        """What files and hub call a language."""
        return next((name for name, own in self.spelt.items() if own == code), code)

    def named(self, code: str, names: Iterable[str]) -> bool:
        """Whether a language is among some that the definition names, as it spells them."""
        return any(code in (self.spelt.get(name), name, normalize(name)) for name in names)

    @property
    def classes(self) -> tuple[str, tuple[str, ...]] | None:
        """The column of the hub's classes, and what it calls them in the order of their numbers."""
        column = {"tagging": "tags", "span": None, "retrieval": None}.get(self.shape, "label")
        named = self.hub.labels if self.hub else ()
        return (self.named_columns.get(column, column), named or self.labels) if column else None

    def searched(self, codes: Iterable[str]) -> int:
        """Candidates that are encoded in an evaluation of these languages, as published; 0 where none are shared."""
        return sum(self.candidates.get(code, 0) for code in codes)

    @property
    def target_validation(self) -> bool:
        """Whether any target language has a validation split; if not, only `source_validation` may select."""
        return any(part.languages != "source" for part in self.splits.validation)


def _joined(parts: Sequence[str]) -> str:
    return " + ".join(parts)


def complete(config: TaskConfig) -> TaskConfig:
    """A task's configuration with what its definition says in its place, so that it says all there is to know.

    A configuration that was stored has it already, or is from before there was such a choice, and stays as it is.
    Raises `UserError` for an unknown task, and for facts that do not go with those of its file.
    """
    definition, _ = find(config.name)
    said: dict[str, Any] = {}
    if definition.words is not None and "words" not in config.model_fields_set:
        said["words"] = definition.words
    if definition.candidates and "candidates" not in config.model_fields_set:
        said["candidates"] = "evaluated"
    if definition.facts:
        theirs = {normalize(code): given for code, given in definition.facts.items()}
        said["facts"] = {**theirs, **{normalize(code): given for code, given in config.facts.items()}}
    completed = config.model_copy(update=said)
    return validate(TaskConfig, completed.model_dump(mode="json", exclude_unset=True)) if said else config


@cache
def _entries() -> Mapping[str, Any]:
    return read_mapping(CATALOG)


@cache
def catalogue() -> Mapping[str, TaskDefinition]:
    """The shipped tasks by name."""
    return {name: validate(TaskDefinition, {"name": name, **entry}) for name, entry in _entries().items()}


def find(name: str) -> tuple[TaskDefinition, Path | None]:
    """A task of the catalogue by its name, or one's own by the path of its file, with that file's folder."""
    if name in catalogue():
        return catalogue()[name], None
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.exists():
            raise UserError(f"task.name: {path}: no such file")
        try:
            return validate(TaskDefinition, {"name": path.stem, **read_mapping(path)}), path.resolve().parent
        except UserError as error:
            raise UserError(*(line if str(path) in line else f"{path}: {line}" for line in error.lines)) from None
    known = tuple(catalogue())
    near = suggestion(name, known) or f", known: {', '.join(known)}, or the path of a YAML file that describes one"
    raise UserError(f"task.name: unknown task{near} (got {name!r})")
