"""A task's file for a folder of data: what its files' names and rows seem to say, to be read over by a person.

Files vote: the pattern that names most of them by split and language wins. Columns are told by their names, else by
what is in them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import UserError
from trainables.languages import normalize, table
from trainables.tasks.formats.reading import Reading, sound
from trainables.tasks.formats.registry import ENDINGS, Piece, ending_of, read_piece, recognise
from trainables.tasks.formats.source import Source

SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "testa"), "validation"),
    **dict.fromkeys(("test", "testb"), "test"),
}
"""What files call a split -> which it is."""

LABELS = ("label", "gold_label", "category", "class", "sentiment", "intent", "relevance_label", "topic")
TOKENS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "pos_tags", "upos")
_NO_TEXT = re.compile(r"(.*_)?(id|idx|guid|url|lang|language|index|key)|unnamed.*|", re.IGNORECASE)

_ROWS = 2000
"""Rows of each file that are looked at."""

_LINES = 400
"""Lines of a file that show its form."""

_FILES = 60
"""Files whose rows are looked at."""


def propose(folder: Path) -> dict[str, Any]:
    """The keys of a task's file. Raises `UserError` where files tell neither split nor language, or rows no task."""
    pattern, named = _pattern(folder)
    first = named.get(("train", "en")) or next(iter(named.values()))
    shape, reading = _read_as(first)
    files = sorted(named.values(), key=lambda path: path != first)[:_FILES]
    rows = [row for path in files for _, row in islice(sound(read_piece(Piece(path), reading)), _ROWS)]
    if not rows:
        raise UserError(f"{first}: has no rows to tell a task by")
    about = _columns(shape, rows, str(first))
    said: dict[str, Any] = {"header": list(reading.header)} if reading.header else {}
    said |= {"encoding": reading.encoding} if reading.encoding != "utf-8" else {}
    return {"shape": about.pop("shape"), "files": pattern, **said, **about, **_splits(named)}


def write(folder: Path, target: Path) -> None:
    """Write a task's file for a folder. Raises `UserError` where there is one already."""
    if not folder.is_dir():
        raise UserError(f"TASK: must be a folder where a task's file is to be proposed (got {folder})")
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--write-yaml: must end with .yaml (got {target})")
    if target.exists():
        raise UserError(f"--write-yaml: is there already, name another file (got {target})")
    proposal, here = propose(folder), target.resolve().parent
    within = folder.resolve().is_relative_to(here)
    base = (folder.resolve().relative_to(here) if within else folder.resolve()).as_posix()
    proposal["files"] = proposal["files"] if base == "." else f"{base}/{proposal['files']}"
    target.write_text(as_yaml(proposal, folder.resolve()), encoding="utf-8")


def as_yaml(proposal: Mapping[str, Any], folder: Path) -> str:
    """The task's file."""
    text = yaml.safe_dump(dict(proposal), sort_keys=False, allow_unicode=True, width=118)
    return f"# Proposed from the files in {folder.name}: read it over, above all labels and their order.\n{text}"


# Names of files


def _pattern(folder: Path) -> tuple[str, dict[tuple[str, str], Path]]:
    """The pattern that names most files, and those: (split as they call it, language) -> file."""
    votes: dict[str, dict[tuple[str, str], Path]] = defaultdict(dict)
    whole: dict[str, dict[tuple[str, str], Path]] = defaultdict(dict)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and not relative.startswith(".")
            and path.suffix not in (".md", ".yaml", ".yml", ".zip", ".py")
        ):
            for pattern, split, code in _candidates(relative, ending_of(path)):
                (votes if "{split}" in pattern else whole)[pattern].setdefault((split, code), path)
    votes = votes or whole
    if not votes:
        raise UserError(f"{folder}: no file has a language's code in its name")
    pattern = max(votes, key=lambda each: (len(votes[each]), len({code for _, code in votes[each]}), -len(each)))
    return pattern, votes[pattern]


def _candidates(relative: str, ending: str) -> Iterator[tuple[str, str, str]]:
    """(pattern, split, language) in each way in which a path may have both; one without a split is a test file."""
    words = re.split(r"([./]|_(?![A-Z])|-(?![A-Z]))", relative)
    splits = {word for word in words if word.lower() in SPLITS}
    spelt = {word for word in words if word not in splits and _is_language(word)}
    for split in splits or {"test"}:
        for language in spelt:
            pieces = ["{split}" if w == split else "{language}" if w == language else w for w in words]
            pattern = "".join(pieces)
            if ending in ENDINGS:
                pattern = f"{pattern[: pattern.rindex(ending)]}.*"
            yield pattern, split, normalize(language)


def _is_language(word: str) -> bool:
    return (
        re.fullmatch(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?", word) is not None and normalize(word) in table()
    )


def _splits(named: Mapping[tuple[str, str], Path]) -> dict[str, Any]:
    """The `splits` of the task's file, where they are other than usual."""
    called = {SPLITS[split.lower()]: split for split, _ in named}
    parts: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        if split not in called:
            parts[split] = []
        elif called[split] != split:
            parts[split] = [{"split": called[split], **({"languages": "source"} if split == "train" else {})}]
    return {"splits": parts} if parts else {}


# Rows


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
