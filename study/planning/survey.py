"""What was understood of a task's data, before anything is trained on it: a document of plain values.

Every split is read, test too, since rows that stand in two splits are among what is looked for; nothing is scored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from trainables import languages, typology
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.languages import Measured
from trainables.materials import vocabulary
from trainables.model.catalogue import pretraining_of
from trainables.model.pretrained import load_tokenizer
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.definition import Split, complete
from trainables.tasks.files import example
from trainables.tasks.formats.registry import Piece, recognise
from trainables.tasks.heads import parsed
from trainables.tasks.plan import SPLITS, Plan
from trainables.tasks.store import Files
from trainables.tasks.task import Rows, Task, load_task

MEASURED = 1000
"""Rows of each language and split whose tokens are counted."""

_ENOUGH = 8192
"""Tokens of the longest input whose length is told."""


def survey(config: TrialConfig, shown: int = 3) -> dict[str, Any]:
    """Files, rows, labels, lengths, repetitions and `shown` rows of each language of the task of a configuration.

    Raises `UserError` for malformed rows, and for whatever else `load_task` refuses.
    """
    config = config.model_copy(update={"task": complete(config.task)})
    plan = Plan.of(config.task)
    splits = [split for split in SPLITS if any(plan.store(p.task).languages(p.split) for p in plan.parts(split))]
    absent = [split for split in SPLITS if plan.parts(split) and split not in splits]
    if not splits:
        raise UserError(f"task.data_dir: no rows of {plan.definition.name}; looked for {_looked(plan, absent[0])}")
    task, malformed = _with_heads(config, splits)
    tokenizer = load_tokenizer(config.encoder, plan.source)
    codes = sorted({code for found in task.rows.values() for code in found})
    told = {code: _language(code, config, plan.source) for code in codes}
    return {
        "task": plan.definition.name,
        "shape": plan.definition.shape,
        "labels": list(plan.shape.labels),
        "unscored": list(plan.shape.unscored),
        "source": plan.source,
        "files": {split: list(_files(plan, split)) for split in splits},
        "absent": {split: _looked(plan, split) for split in absent},
        "source_is_tested": plan.source in task.rows.get("test", {}),
        "languages": told,
        "in_no_group": [code for code, known in told.items() if not known["groups"]],
        "rows": {split: {code: len(rows) for code, rows in found.items()} for split, found in task.rows.items()},
        "malformed_heads": malformed,
        "parsed": {
            split: {code: [*parsed(rows, plan.shape), len(rows)] for code, rows in found.items()}
            for split, found in task.rows.items()
        },
        "label_counts": {
            split: {code: _labels(plan.shape, rows) for code, rows in found.items()}
            for split, found in task.rows.items()
        },
        "tokens": {
            split: {code: _tokens(plan.shape, rows, tokenizer, config.task.max_length) for code, rows in found.items()}
            for split, found in task.rows.items()
        },
        "vocabulary": _vocabulary(plan, task.rows, tokenizer, config),
        "max_length": config.task.max_length,
        "repeated": _repeated(plan.shape, task.rows),
        "examples": {code: _examples(plan.shape, task.rows, code, shown) for code in codes},
    }


def _with_heads(config: TrialConfig, splits: Sequence[Split]) -> tuple[Task, list[str]]:
    """The task with its trees; without them, and what is wrong with them, where they are malformed."""
    try:
        return load_task(config.task, splits, heads=True), []
    except UserError as error:
        return load_task(config.task, splits), error.lines


def _looked(plan: Plan, split: Split) -> str:
    """Where the rows of a split that has none were looked for."""
    first = plan.parts(split)[0]
    return plan.store(first.task).looked(first.split)


def _files(plan: Plan, split: Split) -> Iterator[dict[str, Any]]:
    """What each part of a split is read from."""
    for part in plan.parts(split):
        store = plan.store(part.task)
        codes = store.languages(part.split)
        if not isinstance(store, Files):
            yield {"task": part.task, "from": store.place(part.split, "{language}"), "languages": len(codes)}
            continue
        pieces = [piece for code in codes for piece in _pieces(store, part.split, code)]
        reading = store.definition.reading
        formats = Counter("text" if piece.beside else recognise(piece.path, reading) for piece in dict.fromkeys(pieces))
        first = next(
            (raw for code in codes[:1] for _, raw in store.rows(part.split, code) if isinstance(raw, dict)), {}
        )
        yield {
            "task": part.task,
            "from": str(pieces[0]) if pieces else store.place(part.split, "{language}"),
            "pattern": example(store.definition.files, "{split}", "{language}"),
            "files": sum(formats.values()),
            "formats": dict(formats),
            "columns": list(first),
            "languages": len(codes),
        }


def _pieces(store: Files, split: str, code: str) -> Sequence[Piece]:
    found = store.files(split)
    return found.get(code) or found.get("", ())


def _language(code: str, config: TrialConfig, source: str) -> dict[str, Any]:
    """What a study of this task and encoder takes a language for; the source has no script or distance from itself."""
    own, lists = config.task.own, (pretraining_of(config.encoder.name_or_path),)
    known, origin = languages.language(code, own), None if code == source else source
    named = (*languages.GROUPS, *languages.own_groups(own))
    distances = {kind: languages.distance(kind, origin, code, own) for kind in typology.KINDS} if origin else {}
    return {
        "name": known.name,
        "family": known.family,
        "script": known.script,
        "class": known.resource_class,
        "groups": [name for name in named if languages.group(name, [code], lists, own, origin)],
        "distances": {kind: value for kind, value in distances.items() if value is not None},
    }


def _labels(shape: TaskShape, rows: Sequence[Row]) -> dict[str, int]:
    """Label -> how often it is given, all labels of the task in their order; empty for shapes without."""
    counts: Counter[int] = Counter()
    for row in rows:
        found = row.get("tags", row.get("label"))
        counts.update(found if isinstance(found, list) else [found] if isinstance(found, int) else [])
    return {name: counts[i] for i, name in enumerate(shape.labels)} if counts else {}


def _tokens(shape: TaskShape, rows: Sequence[Row], tokenizer: Any, limit: int) -> dict[str, Any]:
    """Lengths of the first rows in tokens, each that of its longest sequence, and how many are over the limit."""
    encoded = shape.encode(rows[:MEASURED], tokenizer, _ENOUGH)
    lengths = np.zeros(min(len(rows), MEASURED), dtype=np.int64)
    np.maximum.at(lengths, np.repeat(encoded.rows, shape.sequences_per_item), np.diff(encoded.offsets))
    longest = int(lengths.argmax())
    return {
        "rows": len(lengths),
        "median": float(np.median(lengths)),
        "longest": int(lengths[longest]),
        "longest_row": longest,
        "over": int((lengths > limit).sum()),
    }


def _vocabulary(plan: Plan, rows: Rows, tokenizer: Any, config: TrialConfig) -> Measured:
    """What is measured of each language when a study begins; of one that has nothing but training rows, of those."""
    train = rows.get("train", {}).get(plan.source, ())[: vocabulary.ROWS]
    encoded = plan.shape.encode(train, tokenizer, config.task.max_length) if train else None
    trained = np.zeros(0, np.int64) if encoded is None else vocabulary.trained_on(encoded)
    found = {code: r for split in ("train", "test", "validation") for code, r in rows.get(split, {}).items()}
    counts = {code: vocabulary.Cut.of(r, plan.shape, tokenizer).counts(trained) for code, r in found.items()}
    return {code: vocabulary.numbers(code, each, config.task.own) for code, each in counts.items()}


def _repeated(shape: TaskShape, rows: Rows) -> list[dict[str, Any]]:
    """Where rows have the words of another: of their own split and language, of one before it, or of training."""
    words = {split: {c: [_words(shape, row) for row in r] for c, r in found.items()} for split, found in rows.items()}
    seen = {split: {code: set(found) for code, found in by_code.items()} for split, by_code in words.items()}
    told = []
    for split, by_code in words.items():
        for code, found in by_code.items():
            within = len(found) - len(seen[split][code])
            told += [{"split": split, "language": code, "also_in": split, "rows": within}] if within else []
            for earlier in list(words)[: list(words).index(split)]:
                theirs = set().union(*seen[earlier].values()) if earlier == "train" else seen[earlier].get(code, set())
                leaked = sum(words in theirs for words in found)
                told += [{"split": split, "language": code, "also_in": earlier, "rows": leaked}] if leaked else []
    return told


def _words(shape: TaskShape, row: Row) -> bytes:
    """A sum of a row's words, without its label."""
    named = {name: row[name] for name in (*shape.text_columns, "context") if name in row}
    text = json.dumps(named or dict(row), ensure_ascii=False, sort_keys=True)
    return blake2b(text.encode(), digest_size=8).digest()


def _examples(shape: TaskShape, rows: Rows, code: str, shown: int) -> list[dict[str, Any]]:
    """The first rows of a language, of the first split that has it, with their labels by name."""
    split, found = next((split, by_code[code]) for split, by_code in rows.items() if code in by_code)
    return [{"split": split, **_named(shape, row)} for row in found[:shown]]


def _named(shape: TaskShape, row: Row) -> Mapping[str, Any]:
    named = dict(row)
    for column in ("label", "tags") if shape.labels else ():
        given = row.get(column)
        if isinstance(given, list):
            named[column] = [shape.labels[number] for number in given]
        elif isinstance(given, int):
            named[column] = shape.labels[given]
    return named
