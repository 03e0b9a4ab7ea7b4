"""The catalogue of encoders in tables and as a document.

``python -m study.question.published FILE`` draws the table of a page of documentation anew.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.question.pages import put
from trainables.config import TaskConfig
from trainables.errors import UserError, suggestion
from trainables.languages import group
from trainables.model import catalogue
from trainables.model.catalogue import Entry
from trainables.pretraining import lists
from trainables.tasks.plan import Plan

TITLES = ("encoder", "family", "size", "languages", "licence", "revision", "pretraining", "aligned")
"""Columns of the table. `pretraining` is the name of the published list of its languages."""

BEGIN, END = "<!-- drawn by make docs -->", "<!-- end of the table -->"
"""What stands around the table in the documentation."""

UNKNOWN = "?"


def rows(task: str | None = None) -> list[list[str]]:
    """One row per encoder below the titles; with a task, how many of its target languages each was pretrained on.

    Raises `UserError` for a task that does not exist.
    """
    targets = _targets(task)
    more = [] if targets is None else [f"{task} seen", f"{task} unseen"]
    below = [
        [*_cells(entry), *([] if targets is None else _counts(entry, targets))]
        for entry in catalogue.entries().values()
    ]
    return [[*TITLES, *more], *below]


def details(name: str, task: str | None = None) -> list[tuple[str, str]]:
    """Everything that is known of one encoder, with its source; raises `UserError` for one that is not there."""
    entry, targets = _entry(name), _targets(task)
    shown = {"size": f"{entry.size} million parameters above the embeddings"} if entry.size else {}
    facts = {title: shown.get(title, cell) for title, cell in zip(TITLES, _cells(entry), strict=True)}
    found = [
        (title, f"{value} ({entry.sources[title]})" if title in entry.sources else value)
        for title, value in facts.items()
    ]
    if entry.also:
        found.insert(1, ("also", ", ".join(entry.also)))
    if entry.pretraining is not None:
        known = lists()[entry.pretraining]
        found.append((f"list {known.name}", f"{', '.join(known.amounts)} ({known.source})"))
    if targets is not None:
        found += [(kind, ", ".join(group(kind, targets, (entry.pretraining,))) or "–") for kind in ("seen", "unseen")]
    if warning := catalogue.licence_warning(entry.id):
        found.append(("warning", warning))
    if "/" in entry.id:
        found.append(("to fetch", catalogue.fetching(entry.id)))
    return found


def document(name: str | None = None, task: str | None = None) -> str:
    """One encoder, or all, as JSON: the fields of `Entry`, and with a task `seen` and `unseen` of its languages."""
    targets = _targets(task)
    chosen = catalogue.entries().values() if name is None else [_entry(name)]
    found = [_json(entry, targets) for entry in chosen]
    return json.dumps(found if name is None else found[0], ensure_ascii=False, indent=1)


def markdown() -> str:
    """The table as the documentation has it."""
    lines = ["| " + " | ".join(row) + " |" for row in rows()]
    return "\n".join([lines[0], "|" + "---|" * len(TITLES), *lines[1:]])


def _json(entry: Entry, targets: tuple[str, ...] | None) -> dict[str, Any]:
    found: dict[str, Any] = asdict(entry)
    if targets is not None:
        found |= {kind: list(group(kind, targets, (entry.pretraining,))) for kind in ("seen", "unseen")}
    return found


def _cells(entry: Entry) -> list[str]:
    languages = f"{entry.languages:,}" if entry.languages else UNKNOWN
    aligned = {True: "yes", False: "no", None: UNKNOWN}[entry.aligned]
    size = f"{entry.size}M" if entry.size else UNKNOWN
    licence, pretraining = entry.licence or UNKNOWN, entry.pretraining or UNKNOWN
    return [entry.id, entry.family, size, languages, licence, entry.revision or "–", pretraining, aligned]


def _counts(entry: Entry, targets: tuple[str, ...]) -> list[str]:
    if entry.pretraining is None:
        return [UNKNOWN, UNKNOWN]
    return [str(len(group(kind, targets, (entry.pretraining,)))) for kind in ("seen", "unseen")]


def _entry(name: str) -> Entry:
    if (entry := catalogue.find(name)) is not None:
        return entry
    known = [each for e in catalogue.entries().values() for each in (e.id, *e.also)]
    raise UserError(f"NAME: is not in the catalogue of encoders{suggestion(name, known)} (got {name!r})")


def _targets(task: str | None) -> tuple[str, ...] | None:
    """Languages that a task only evaluates, on test."""
    if task is None:
        return None
    plan = Plan.of(TaskConfig(name=task))
    codes = plan.definition.codes or tuple(plan.sources("test"))
    return tuple(code for code in codes if code != plan.source)


if __name__ == "__main__":
    put(Path(sys.argv[1]), markdown(), BEGIN, END)
