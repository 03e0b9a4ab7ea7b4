"""A task's file for a folder of data: what its files' names and rows seem to say, to be read over by a person.

Files vote: the pattern that names most of them by split and language wins, and those beside it that name others with
the same columns, of which one may lack the language. Columns are told by their names, else by what is in them. What is
written loads, and says which files it leaves out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from study.planning.placing import SOURCE, SPLITS, Placed, place, said_of_files, splits_of
from trainables.config import TaskConfig
from trainables.errors import UserError
from trainables.tasks.formats.reading import Reading, sound
from trainables.tasks.formats.registry import Piece, read_piece, recognise
from trainables.tasks.formats.source import Source
from trainables.tasks.plan import SPLITS as SPLIT_NAMES
from trainables.tasks.plan import Plan

LABELS = ("label", "gold_label", "category", "class", "sentiment", "intent", "relevance_label", "topic")
TOKENS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "pos_tags", "upos")
_NO_TEXT = re.compile(r"(.*_)?(id|idx|guid|url|lang|language|index|key)|unnamed.*|", re.IGNORECASE)

_ROWS = 2000
"""Rows of each file that are looked at."""

_LINES = 400
"""Lines of a file that show its form."""

_FILES = 60
"""Files whose rows are looked at."""

MOST_NAMED = 8
"""Files that a proposal leaves out and names."""


def propose(folder: Path) -> dict[str, Any]:
    """The keys of a task's file. Raises `UserError` where files tell neither split nor language, or rows no task."""
    return _proposed(folder, place(folder, _kind))


def write(folder: Path, target: Path) -> tuple[str, tuple[str, ...]]:
    """Write a task's file for a folder: (the language that it trains on, files that it does not name).

    Raises `UserError` where there is one already, and, nothing being left behind, where what the folder says would not
    load.
    """
    if not folder.is_dir():
        raise UserError(f"TASK: must be a folder where a task's file is to be proposed (got {folder})")
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--write-yaml: must end with .yaml (got {target})")
    if target.exists():
        raise UserError(f"--write-yaml: is there already, name another file (got {target})")
    placed = place(folder, _kind)
    proposal, here = _proposed(folder, placed), target.resolve().parent
    within = folder.resolve().is_relative_to(here)
    base = (folder.resolve().relative_to(here) if within else folder.resolve()).as_posix()
    if base != ".":
        files = proposal["files"]
        proposal["files"] = f"{base}/{files}" if isinstance(files, str) else [f"{base}/{each}" for each in files]
    target.write_text(as_yaml(proposal, folder.resolve(), placed), encoding="utf-8")
    try:
        plan = Plan.of(TaskConfig(name=str(target), source_language=placed.source))
        there = [split for split in SPLIT_NAMES if plan.parts(split)]
        for split in there:
            plan.sources(split)
        if there != ["train"]:
            plan.require_targets()
    except UserError as error:
        target.unlink()
        raise UserError(*(f"--write-yaml: what {folder} says does not load: {line}" for line in error.lines)) from None
    return placed.source, placed.left


def as_yaml(proposal: Mapping[str, Any], folder: Path, placed: Placed) -> str:
    """The task's file."""
    said = [f"Proposed from the files in {folder.name}: read it over, above all labels and their order."]
    if placed.source != SOURCE:
        said.append(f"Its training rows are in {placed.source}: task.source_language={placed.source}")
    if "language" in proposal:
        said.append(f"Files without a language in their names are taken for {SOURCE}.")
    if placed.left:
        said.append(left_words(placed.left))
    text = yaml.safe_dump(dict(proposal), sort_keys=False, allow_unicode=True, width=118)
    return "".join(f"# {line}\n" for line in said) + text


def left_words(left: Sequence[str]) -> str:
    """Which files a proposal does not name, in words."""
    more = f" and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
    return f"Not among its files: {', '.join(left[:MOST_NAMED])}{more}"


def _proposed(folder: Path, placed: Placed) -> dict[str, Any]:
    paths = [file.path for file in placed.named.values()]
    trained = [file.path for (split, code), file in placed.named.items() if _is_trained(split, code, placed)]
    first = next(iter(trained), paths[0])
    shape, reading = _read_as(first)
    files = sorted(paths, key=lambda path: path != first)
    rows = [row for path in files[:_FILES] for _, row in islice(sound(read_piece(Piece(path), reading)), _ROWS)]
    if not rows:
        raise UserError(f"{first}: has no rows to tell a task by")
    about = _columns(shape, rows, str(first))
    if "labels" in about and about["shape"] != "multiple_choice":
        about["labels"] = _labels(about, files, reading)
    said: dict[str, Any] = {"header": list(reading.header)} if reading.header else {}
    said |= {"encoding": reading.encoding} if reading.encoding != "utf-8" else {}
    return {"shape": about.pop("shape"), **said_of_files(folder, placed), **said, **about, **splits_of(placed)}


def _is_trained(split: str, code: str, placed: Placed) -> bool:
    return SPLITS[split.lower()] == "train" and code == placed.source


def _labels(about: Mapping[str, Any], files: Sequence[Path], reading: Reading) -> list[str]:
    """All that occur: a rare one that the first rows lack would be refused when the task is read."""
    of_words = about["shape"] == "tagging"
    column = about.get("columns", {}).get("tags" if of_words else "label", "tags" if of_words else "label")
    given = (row.get(column) for path in files for _, row in sound(read_piece(Piece(path), reading)))
    if of_words:
        return _values(tag for tags in given if isinstance(tags, list) for tag in tags)
    return _values(value for value in given if isinstance(value, str | int))


def _kind(path: Path) -> tuple[str | None, tuple[str, ...]]:
    """What a file is read as, and its columns; nothing where it has no sound row."""
    shape, reading = _read_as(path)
    try:
        return shape, tuple(next(sound(read_piece(Piece(path), reading)))[1])
    except (UserError, StopIteration):
        return shape, ()


def _read_as(path: Path) -> tuple[str | None, Reading]:
    """The shape that a file's form alone says, and how to read it."""
    head, encoding = Source(path).head(), "utf-8"
    try:
        lines = head[: head.rfind(b"\n") + 1].decode().splitlines()[:_LINES]
    except UnicodeDecodeError:
        encoding = "latin-1"
        lines = head.decode(encoding).splitlines()[:_LINES]
    try:
        found = recognise(path, Reading())
    except UserError:
        found = None
    if found == "conllu" or (found in (None, "tsv", "conll") and _are_sentences(lines)):
        return "tagging", Reading(encoding=encoding, shape="tagging")
    if found in ("tsv", "csv"):
        cells = lines[0].split("\t" if found == "tsv" else ",")
        if not all(re.fullmatch(r'"?[A-Za-z_]\w{0,30}"?', cell) for cell in cells) or _recurs(cells, lines, found):
            return None, Reading(
                format=found, encoding=encoding, header=tuple(f"column{i}" for i in range(1, len(cells) + 1))
            )
    return None, Reading(encoding=encoding)


def _are_sentences(lines: Sequence[str]) -> bool:
    """Whether lines of equally many cells, two or more, have blank ones between them."""
    kept = [line for line in lines if not line.startswith("#")]
    widths = {len(line.split("\t") if "\t" in line else line.split(" ")) for line in kept if line.strip()}
    return len(widths) == 1 and widths != {1} and any(not line.strip() for line in kept[:-1])


def _recurs(cells: Sequence[str], lines: Sequence[str], found: str) -> bool:
    """Whether the first line's last cell is a value of its column."""
    return any(line.split("\t" if found == "tsv" else ",")[-1] == cells[-1] for line in lines[1:])


def _columns(shape: str | None, rows: Sequence[Mapping[str, Any]], where: str) -> dict[str, Any]:
    names = list(rows[0])
    if {"question", "context", "answers"} <= set(names):
        return {"shape": "span"}
    if {"premise", "choice1", "choice2"} <= set(names):
        return {
            "shape": "multiple_choice",
            "labels": [str(i) for i in range(sum(n.startswith("choice") for n in names))],
        }
    tokens = next((n for n in (*TOKENS, *names) if n in names and isinstance(rows[0][n], list)), None)
    if tokens is not None and "column2" in names and all(_counts(row[tokens]) for row in rows):
        tokens = "column2"  # the first column numbers the words
    if shape == "tagging" or tokens is not None:
        lists = [n for n in names if isinstance(rows[0][n], list) and n != tokens]
        tags = next((n for n in (*TAGS, *lists) if n in lists), None)
        if tokens is not None and tags is not None:
            return {
                "shape": "tagging",
                **_renamed({"tokens": tokens, "tags": tags}),
                "labels": _values(tag for row in rows for tag in row[tags]),
            }
    texts = {n: Counter(row.get(n) for row in rows if isinstance(row.get(n), str | int)) for n in names}
    texts = {n: found for n, found in texts.items() if found}
    label = next((n for n in LABELS if n in texts), None)
    if label is None and texts:
        few = min(reversed(texts), key=lambda name: len(texts[name]))  # of equals the last, where labels stand
        label = few if 1 < len(texts[few]) <= max(30, len(rows) / 100) else None
    several = [
        n for n in texts if n != label and not _NO_TEXT.fullmatch(n) and all(isinstance(v, str) for v in texts[n])
    ]
    if label is None and len(several) == 2:
        return {"shape": "retrieval", **_renamed({"query": several[0], "candidate": several[1]})}
    if label is None or not several:
        raise UserError(f"{where}: its columns tell no task, there are {', '.join(names)}")
    columns: dict[str, Any] = {"text": several[0], "label": label}
    if len(several) > 1:
        columns["text_pair"] = several[1] if len(several) == 2 else several[1:]
    named = {"columns": {**{"text": several[0]}, **_renamed(columns).get("columns", {})}} if len(several) > 1 else {}
    return {"shape": "classification", **(named or _renamed(columns)), "labels": _values(texts[label])}


def _counts(words: Sequence[Any]) -> bool:
    return list(words) == [str(i) for i in range(1, len(words) + 1)]


def _renamed(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns whose data have another name, and `text_pair`, which says that there are pairs."""
    other = {name: column for name, column in columns.items() if name != column or name == "text_pair"}
    return {"columns": other} if other else {}


def _values(found: Any) -> list[str]:
    """Labels in order: of numbers by size, of names by first letter, with O before all others."""
    values = {str(value) for value in found}
    if all(re.fullmatch(r"-?[0-9]+", value) for value in values):
        return sorted(values, key=int)
    return sorted(values, key=lambda value: (value != "O", value.partition("-")[2], value))
