"""Where the files of a folder lie: patterns of their names, by split and language, as files vote."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.languages import normalize, table
from trainables.tasks.files import languages_of
from trainables.tasks.formats.registry import ENDINGS, ending_of
from trainables.tasks.plan import SPLITS as SPLIT_NAMES

SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "testa"), "validation"),
    **dict.fromkeys(("test", "testb"), "test"),
}
"""What files call a split -> which it is."""

SOURCE = "en"
"""The language that is trained on, and that files without one in their names are in, unless others say otherwise."""


@dataclass(frozen=True)
class File:
    """One that a pattern names."""

    path: Path
    spelt: str
    """What its name calls its language; empty where it has none."""


Named = Mapping[tuple[str, str], File]
"""(Split as they call it, language code) -> file."""


@dataclass(frozen=True)
class Placed:
    """The files of a folder that patterns name."""

    patterns: tuple[str, ...]
    named: Named
    left: tuple[str, ...]
    """Other files of formats that are read."""

    @property
    def source(self) -> str:
        """The language of training rows."""
        trained = sorted(code for split, code in self.named if SPLITS[split.lower()] == "train")
        return SOURCE if SOURCE in trained or not trained else trained[0]


def place(folder: Path, kind_of: Callable[[Path], Any]) -> Placed:
    """The pattern that names most files by split and language, and those beside it that name others of their kind.

    Raises `UserError` where no name has a language.
    """
    votes: dict[str, dict[tuple[str, str], File]] = defaultdict(dict)
    data = [path for path in sorted(folder.rglob("*")) if _is_data(path, path.relative_to(folder).as_posix())]
    for path in data:
        for pattern, split, spelt in _candidates(path.relative_to(folder).as_posix(), ending_of(path)):
            votes[pattern].setdefault((split, normalize(spelt) if spelt else SOURCE), File(path, spelt))
    of_splits = {pattern: found for pattern, found in votes.items() if "{split}" in pattern}
    first = {p: f for p, f in (of_splits or votes).items() if "{language}" in p}
    first = first or {pattern: found for pattern, found in votes.items() if "{language}" in pattern}
    if not first:
        raise UserError(f"{folder}: no file has a language's code in its name")
    patterns, named = [_best(first)], dict(first[_best(first)])
    alike = kind_of(next(iter(named.values())).path)
    while "{split}" in patterns[0]:
        there = {file.path for file in named.values()}
        more = {p: {k: file for k, file in found.items() if file.path not in there} for p, found in of_splits.items()}
        fitting = {
            p: found
            for p, found in more.items()
            if found and not found.keys() & named.keys() and kind_of(next(iter(found.values())).path) == alike
        }
        if not fitting:
            break
        patterns.append(_best(fitting))
        named.update(fitting[patterns[-1]])
    there = {file.path for file in named.values()}
    left = (path.relative_to(folder).as_posix() for path in data if path not in there and ending_of(path) in ENDINGS)
    return Placed(tuple(patterns), named, tuple(left))


def _is_data(path: Path, relative: str) -> bool:
    ignored = path.suffix in (".md", ".yaml", ".yml", ".zip", ".py")
    return path.is_file() and not relative.startswith(".") and not ignored


def _best(votes: Mapping[str, Named]) -> str:
    return max(votes, key=lambda each: (len(votes[each]), len({code for _, code in votes[each]}), -len(each)))


def _candidates(relative: str, ending: str) -> Iterator[tuple[str, str, str]]:
    """(pattern, split, language as it is spelt) in each way in which a path may have both, by the order of its words;
    one without a split is a test file, and one without a language, of which the ending is named too, has nothing there.
    """
    words = re.split(r"([./]|_(?![A-Z])|-(?![A-Z]))", relative)
    splits = list(dict.fromkeys(word for word in words if word.lower() in SPLITS))
    spelt = list(dict.fromkeys(word for word in words if word not in splits and _is_language(word)))
    for split in splits or ["test"]:
        for language in spelt:
            pieces = ["{split}" if w == split else "{language}" if w == language else w for w in words]
            pattern = "".join(pieces)
            if ending in ENDINGS:
                pattern = f"{pattern[: pattern.rindex(ending)]}.*"
            yield pattern, split, language
        if splits and not spelt:
            yield "".join("{split}" if w == split else w for w in words), split, ""


def _is_language(word: str) -> bool:
    return (
        re.fullmatch(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_][A-Z]{2})?", word) is not None and normalize(word) in table()
    )


def said_of_files(folder: Path, placed: Placed) -> dict[str, Any]:
    """The keys that say where files are: of one pattern its text; languages where it names other things too."""
    named, patterns = placed.named, placed.patterns
    said: dict[str, Any] = {"files": patterns[0] if len(patterns) == 1 else list(patterns)}
    if any(not file.spelt for file in named.values()):
        said["language"] = SOURCE
    spelt = {file.spelt or SOURCE for file in named.values()}
    found = {name for split, _ in named for name in languages_of(folder, patterns, split)}
    if found - spelt or {code for _, code in named} == {placed.source}:
        said["languages"] = sorted(spelt)
    return said


def splits_of(placed: Placed) -> dict[str, Any]:
    """The `splits` of the task's file, where they are other than usual."""
    parts: dict[str, Any] = {}
    for split in SPLIT_NAMES:
        found = {called: code for called, code in placed.named if SPLITS[called.lower()] == split}
        has_source = any((called, placed.source) in placed.named for called in found)
        whose = {"train": "source", "validation": "all" if has_source else "targets"}.get(split, "all")
        usual = {"train": "source"}.get(split, "all")
        if not found:
            parts[split] = []
        elif set(found) != {split} or whose != usual:
            of_them = {} if whose == "all" else {"languages": whose}
            parts[split] = [{"split": called, **of_them} for called in sorted(found)]
    return {"splits": parts} if parts else {}
