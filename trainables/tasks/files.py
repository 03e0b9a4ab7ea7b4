"""Which files a task's rows are in: patterns with ``{split}`` and ``{language}`` -> files, by language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path

from trainables.errors import UserError
from trainables.languages import normalize
from trainables.tasks.formats.registry import ENDINGS, SURE, Piece, ending_of

Patterns = str | Sequence[str] | Mapping[str, str]
"""A pattern of files, several, or those of files whose lines belong together, by column."""


def patterns_of(files: Patterns) -> tuple[str, ...]:
    """All patterns."""
    if isinstance(files, str):
        return (files,)
    return tuple(files.values() if isinstance(files, Mapping) else files)


def example(files: Patterns, split: str, language: str) -> str:
    """A file that the first pattern names."""
    return patterns_of(files)[0].replace("{split}", split).replace("{language}", language)


def find_files(
    folder: Path, files: Patterns, split: str, codes: Mapping[str, str], nameless: str | None = None
) -> dict[str, tuple[Piece, ...]]:
    """Language code -> its files of one split in a folder, in the order of patterns and paths.

    `codes` maps what files call a language to its code; other names are normalised. `nameless` is the language of files
    that have none in their name. Several files of one language are one after another, but for two forms of one file
    (``train.en.csv`` beside ``train.en.jsonl``) and two names of one language (``de``, ``deu``): for these, and for
    files whose lines belong to a file that is not there, raises `UserError`.
    """
    found: dict[str, dict[Path, Piece]] = {}
    forms: dict[tuple[str, str], Piece] = {}
    spelt: dict[str, str] = {}
    for name, stem, piece in _pieces(folder, files, split):
        code = codes.get(name) or normalize(name) if name else nameless or ""
        if piece.path in found.get(code, {}):
            continue
        earlier = forms.setdefault((code, stem), piece)
        if earlier is not piece or spelt.setdefault(code, name) != name:
            beside = earlier if earlier is not piece else next(iter(found[code].values()))
            raise UserError(f"{piece}: a second file of {split} in {code!r}, beside {beside.path.name}")
        found.setdefault(code, {})[piece.path] = piece
    return {code: tuple(pieces.values()) for code, pieces in found.items()}


def languages_of(folder: Path, files: Patterns, split: str) -> set[str]:
    """What the files of one split call their languages."""
    return {name for name, _, _ in _pieces(folder, files, split) if name}


def has_files(folder: Path, files: Patterns, split: str) -> bool:
    """Whether there is any file of a split."""
    return any(_named(folder, pattern.replace("{split}", split)) for pattern in patterns_of(files))


def _pieces(folder: Path, files: Patterns, split: str) -> Iterator[tuple[str, str, Piece]]:
    """(language as it is spelt, the file's name without an open ending, file) of all that patterns name."""
    if not isinstance(files, Mapping):
        for pattern in patterns_of(files):
            for name, stem, path in _named(folder, pattern.replace("{split}", split)):
                yield name, stem, Piece(path)
        return
    split_patterns = {column: pattern.replace("{split}", split) for column, pattern in files.items()}
    leading = next((p for p in split_patterns.values() if "{language}" in p), next(iter(split_patterns.values())))
    for name, stem, path in _named(folder, leading):
        beside = {
            column: path if pattern == leading else _fellow(folder, pattern.replace("{language}", name), path)
            for column, pattern in split_patterns.items()
        }
        yield name, stem, Piece(path, tuple(beside.items()))


def _fellow(folder: Path, pattern: str, path: Path) -> Path:
    """The one file whose lines belong to those of another."""
    there = [fellow for _, _, fellow in _named(folder, pattern)]
    if len(there) != 1:
        raise UserError(f"{folder / pattern}: must be one file, whose lines belong to {path.name} (got {len(there)})")
    return there[0]


def _named(folder: Path, pattern: str) -> list[tuple[str, str, Path]]:
    """(language as it is spelt, or nothing; name without an open ending; file) of one pattern, by path.

    An open ending (``.*``, ``/*``) names files of the formats that are read; of forms of one file that differ in their
    ending alone, those whose ending says the format.
    """
    base = folder
    if pattern.startswith("~"):
        with suppress(RuntimeError):  # nobody's home: a folder of that name
            pattern = str(Path(pattern).expanduser())
    if Path(pattern).is_absolute():
        base, pattern = Path(Path(pattern).anchor), pattern.lstrip("/")
    expression = _expression(pattern)
    found: dict[str, list[tuple[str, str, Path]]] = {}
    for path in sorted(set(base.glob(_glob(pattern)))):
        match = expression.fullmatch(path.relative_to(base).as_posix())
        if match is None or not path.is_file() or (pattern.endswith("*") and ending_of(path) not in ENDINGS):
            continue
        groups = match.groupdict()
        stem = str(path)[: -len(groups["ending"])] if groups.get("ending") else str(path)
        found.setdefault(stem, []).append((groups.get("language") or "", stem, path))
    return [each for forms in found.values() for each in _surest(forms)]


def _surest(forms: list[tuple[str, str, Path]]) -> list[tuple[str, str, Path]]:
    return [form for form in forms if form[2].suffix in SURE] or forms


_PARTS = re.compile(r"(\{language\}|\*\*/|\*)")


def _expression(pattern: str) -> re.Pattern[str]:
    """What matches the paths of a pattern; groups ``language``, and ``ending`` where that is open."""
    open_ending = pattern.endswith(".*")
    pieces = _PARTS.split(pattern.removesuffix(".*") if open_ending else pattern)
    first = pieces.index("{language}") if "{language}" in pieces else -1
    spelt = {"{language}": "(?P=language)", "*": "[^/]*", "**/": "(?:[^/]+/)*"}  # again it is the same language
    body = (
        "(?P<language>[^/]+?)" if i == first else spelt.get(piece, re.escape(piece)) for i, piece in enumerate(pieces)
    )
    return re.compile("".join(body) + (r"\.(?P<ending>[^/]*)" if open_ending else ""))


def _glob(pattern: str) -> str:
    spelt = {"{language}": "*", "*": "*", "**/": "**/"}
    return "".join(spelt.get(piece, escape(piece)) for piece in _PARTS.split(pattern))


def near_files(folder: Path, files: Patterns, split: str) -> str:
    """What is in a folder where no file was found that is read, in words: what is not read, or else what there is."""
    stem = example(files, split, "*")
    stem = stem if stem.endswith("*") else f"{stem.rpartition('.')[0] or stem}.*"
    near = [] if Path(stem).is_absolute() else list(folder.glob(stem))
    unread = sorted({path.suffix for path in near if path.is_file() and ending_of(path) not in ENDINGS})
    if unread:
        return f"found, but {', '.join(unread)} is not read: {', '.join(ENDINGS)} are"
    there = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*") if not path.name.startswith("."))
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return (
        f"there are {', '.join(there[:MOST_NAMED])}{' …' if len(there) > MOST_NAMED else ''}"
        if there
        else "it is empty"
    )


MOST_NAMED = 8
"""Files of a folder that a message names."""
