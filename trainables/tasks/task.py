"""A task with its rows: `load_task`, and what can be known of a task without reading it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.config import TaskConfig
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.definition import TaskDefinition
from trainables.tasks.heads import without_heads
from trainables.tasks.plan import SPLITS, Plan

Rows = Mapping[str, Mapping[str, Sequence[Row]]]
"""Split -> language -> rows."""


@dataclass(frozen=True)
class Task:
    """The rows of the splits that were asked for, and what belongs to them.

    `rows` has ``train`` in the source language alone. `target_languages` are those with evaluation rows, the source
    excluded, sorted. `fingerprints` are sha256 sums of the rows of each split. `label_counts` is, per evaluated
    language, how many of the classes its rows have: scores of languages with fewer are not strictly comparable (empty
    for shapes without classes).
    """

    definition: TaskDefinition
    shape: TaskShape
    rows: Rows
    source_language: str
    target_languages: tuple[str, ...]
    fingerprints: Mapping[str, str]
    label_counts: Mapping[str, int]

    @property
    def fingerprint(self) -> str:
        """One sum over every row that was read."""
        return _digest(sorted(self.fingerprints.items()))

    @property
    def languages(self) -> tuple[str, ...]:
        """Evaluated languages, the source first."""
        return (self.source_language, *self.target_languages)


def load_task(config: TaskConfig, splits: Collection[str], heads: bool = False) -> Task:
    """Read the named splits of a task, and no other; with the dependency heads of its words where they are asked for.

    Train rows are read in the source language alone, validation and test rows in the source and target languages.
    Raises `UserError` for unknown tasks and languages, data that cannot be had, and malformed rows, by file and row.
    """
    assert set(splits) <= set(SPLITS), splits
    plan = Plan.of(config, heads)
    if set(splits) != {"train"}:
        plan.require_targets()
    rows: Rows = {split: plan.read(split) for split in SPLITS if split in splits}
    evaluated = sorted({code for split, found in rows.items() if split != "train" for code in found})
    return Task(
        definition=plan.definition,
        shape=plan.shape,
        rows=rows,
        source_language=plan.source,
        target_languages=tuple(code for code in evaluated if code != plan.source),
        fingerprints={split: fingerprint(found) for split, found in rows.items()},
        label_counts=_label_counts(rows, evaluated),
    )


def task_shape(config: TaskConfig) -> TaskShape:
    """The shape of a configured task; nothing is read but its definition. Raises `UserError` for an unknown task."""
    return Plan.of(config).shape


def task_key(config: TaskConfig) -> str:
    """Names the content of all splits of a configured task without reading any, for caches.

    Which languages are read is named beside it, but for those of a group, which follow from what is said of them.
    """
    plan = Plan.of(config)
    named: dict[str, str] = {}
    for split in SPLITS:
        for part in plan.parts(split):
            for task in (part.task, *(borrowed.task for borrowed in part.borrow)):
                named[f"{task}/{part.split}"] = plan.store(task).key(part.split)
    said = plan.definition.model_dump(mode="json", exclude={"layouts"})  # where files lie follows from their own names
    facts = config.model_dump(mode="json")["facts"] if plan.chooses_groups else {}
    return _digest([said, sorted(named.items()), *([facts] if facts else [])])


def fingerprint(rows: Mapping[str, Sequence[Row]]) -> str:
    """sha256 over the rows of one split in canonical form, languages in order; their heads, if any, are left out."""
    return _digest([code, without_heads(row)] for code, found in sorted(rows.items()) for row in found)


_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def _digest(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(_CANONICAL.encode(value).encode() + b"\n")
    return digest.hexdigest()


def _label_counts(rows: Rows, languages: Sequence[str]) -> dict[str, int]:
    labels: dict[str, set[int]] = {code: set() for code in languages}
    for split, by_language in rows.items():
        for code, found in by_language.items() if split != "train" else ():
            for given in (row.get("label") for row in found):
                labels[code].update(given if isinstance(given, list) else [given] if isinstance(given, int) else [])
    return {code: len(found) for code, found in labels.items() if found}
