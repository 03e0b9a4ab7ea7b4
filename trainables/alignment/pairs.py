"""Sentence pairs: each source sentence with its translation, out of files or installed packages.

A folder or file is known by its names. `S` is the source language, `L` another, by whatever code names them:

=========================================== ============================================================================
``L.txt`` beside ``S.txt``                  lines side by side, a file for each language
``newstest2019-src.S.txt``, ``…-ref.L.txt`` the same as NTREX has it
``NAME.S-L.S`` with ``NAME.S-L.L``          Moses; the two codes in either order
``L.tsv``                                   a pair a line: source, tab, translation (further columns are not read)
``*.tmx``                                   translation units of any languages (TMX 1.4)
=========================================== ============================================================================

Any of them may end in ``.gz``. Two packages hold translated texts of programs: `home-assistant-frontend` (Apache-2.0)
has pairs of English with 62 languages (20250109.2), `django` (BSD-3-Clause) with 97 (5.2). Both are read as they lie,
if they are installed; none is imported.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, NamedTuple, cast

from trainables.alignment.words import Links, read_links
from trainables.errors import UserError, suggestion
from trainables.languages import normalize


class Pair(NamedTuple):
    """A sentence of the source language, and its translation."""

    source: str
    target: str
    links: Links | None = None
    """Words that translate one another, where a file says so."""


Pairs = Mapping[str, list[Pair]]
"""Language -> its pairs, each once, in the order of their files."""

FEWEST_WORDS = 3
"""Of a program's text, for a pair: shorter ones are labels of buttons, often without a meaning of their own."""

_KEY = "alignment.pairs"
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|%\([^)]*\)[a-z]|%[a-z]|<[^<>]*>")


def load(place: Path | str, source: str, wanted: Iterable[str] | None = None, links: Path | None = None) -> Pairs:
    """The pairs of a package, a folder or a file; of the `wanted` languages, or of all that are there.

    `links` is a folder with a file ``L.txt`` of word links for each language, a line for each of its pairs. Raises
    `UserError` where there is no such place, it has a form that is not known, or it has no pairs.
    """
    named = PACKAGES.get(str(place))
    found = named(source) if named is not None else _files(Path(place), source)
    codes = None if wanted is None else {normalize(code) for code in wanted}
    pairs = {code: each for code, each in found.items() if codes is None or code in codes}
    if links is not None:
        pairs = {code: _linked(each, links / f"{code}.txt") for code, each in pairs.items()}
    pairs = {code: list(dict.fromkeys(each)) for code, each in pairs.items()}
    pairs = {code: kept for code, each in sorted(pairs.items()) if (kept := [p for p in each if _is_pair(p)])}
    if not pairs:
        there = f"it has those of {', '.join(sorted(found))}" if found else "it has none"
        raise UserError(f"{_KEY}: must have pairs of {source} with the study's languages, {there} (got {str(place)!r})")
    return pairs


def check(place: Path | str) -> None:
    """Raise `UserError` where there is no such folder, file or installed package; reads nothing."""
    if str(place) in PACKAGES:
        _of_package(str(place))
    elif not Path(place).exists():
        near = suggestion(str(place), list(PACKAGES)) or f"; packages: {', '.join(PACKAGES)}"
        raise UserError(f"{_KEY}: must be a folder or file of sentence pairs, or a package{near} (got {str(place)!r})")


def normalised(text: str) -> str:
    """A text as it is compared: compatible forms as one, lower case, letters and digits alone."""
    lowered = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in lowered if unicodedata.category(c)[0] in "LNM")


def without(pairs: Pairs, tested: set[str]) -> tuple[Pairs, Counter[str]]:
    """The pairs neither side of which is among the `normalised` texts; and how many each language lost."""
    kept = {
        code: [p for p in each if not tested & {normalised(p.source), normalised(p.target)}]
        for code, each in pairs.items()
    }
    lost = Counter({code: len(pairs[code]) - len(each) for code, each in kept.items()})
    return {code: each for code, each in kept.items() if each}, +lost


def _linked(pairs: list[Pair], file: Path) -> list[Pair]:
    links = read_links(file)
    if len(links) != len(pairs):
        raise UserError(f"{file}: must have a line for each of the {len(pairs)} pairs (got {len(links)})")
    return [pair._replace(links=each) for pair, each in zip(pairs, links, strict=True)]


def _is_pair(pair: Pair) -> bool:
    return bool(pair.source.strip() and pair.target.strip()) and pair.source.strip() != pair.target.strip()


# Files


def _files(place: Path, source: str) -> dict[str, list[Pair]]:
    check(place)
    files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    found: dict[str, list[Pair]] = {}
    for read in (_tmx, _tabbed, _moses, _ntrex, _beside):
        for code, pairs in read(files, normalize(source)):
            found.setdefault(code, []).extend(pairs)
        if found:
            return found
    raise UserError(f"{_KEY}: no form of sentence pairs is known here (docs/alignment.md has them; got {str(place)!r})")


def _tmx(files: Iterable[Path], source: str) -> Iterator[tuple[str, list[Pair]]]:
    for file in files:
        if _bare(file).endswith(".tmx"):
            pairs: dict[str, list[Pair]] = {}
            for unit in _units(file):
                for code, text in unit.items():
                    if code != source and source in unit:
                        pairs.setdefault(code, []).append(Pair(unit[source], text))
            yield from pairs.items()


def _units(file: Path) -> Iterator[dict[str, str]]:
    """Language -> text, unit by unit; the file is never whole in memory."""
    named = "{http://www.w3.org/XML/1998/namespace}lang"
    try:
        with _opened(file) as stream:
            for _, element in ET.iterparse(stream):
                if element.tag == "tu":
                    yield {
                        normalize(tuv.get(named) or tuv.get("lang") or ""): "".join(seg.itertext()).strip()
                        for tuv in element.iter("tuv")
                        if (seg := tuv.find("seg")) is not None
                    }
                    element.clear()
    except ET.ParseError as error:
        raise UserError(f"{file}: is no TMX, {error}") from error


def _tabbed(files: Iterable[Path], source: str) -> Iterator[tuple[str, list[Pair]]]:
    for file in files:
        if (name := _bare(file)).endswith(".tsv"):
            code = next((c for c in re.split(r"[-_.]", name[:-4]) if normalize(c) != source), name[:-4])
            yield normalize(code), [_two(file, number, line) for number, line in enumerate(_lines(file), 1) if line]


def _two(file: Path, number: int, line: str) -> Pair:
    cells = line.split("\t")
    if len(cells) < 2:
        raise UserError(
            f"{file}, row {number}: must be a source sentence, a tab, and its translation (got {line[:60]!r})"
        )
    return Pair(cells[0], cells[1])


def _moses(files: Iterable[Path], source: str) -> Iterator[tuple[str, list[Pair]]]:
    named = {_bare(file): file for file in files}
    for name, file in named.items():
        if match := re.fullmatch(r"(.*[._]|)([\w]+)-([\w]+)\.([\w]+)", name):
            stem, one, two, own = match.groups()
            other = two if own == one else one
            if normalize(own) == source and own in (one, two) and (mate := named.get(f"{stem}{one}-{two}.{other}")):
                yield normalize(other), _zipped(file, mate)


def _ntrex(files: Iterable[Path], source: str) -> Iterator[tuple[str, list[Pair]]]:
    named = [
        (m[1], normalize(m[2]), file) for file in files if (m := re.fullmatch(r".*-(src|ref)\.(.+)\.txt", _bare(file)))
    ]
    own = next((file for kind, code, file in named if kind == "src" and code == source), None)
    for kind, code, file in named:
        if own is not None and kind == "ref":
            yield code, _zipped(own, file)


def _beside(files: Iterable[Path], source: str) -> Iterator[tuple[str, list[Pair]]]:
    named = {normalize(_bare(file)[:-4]): file for file in files if _bare(file).endswith(".txt")}
    for code, file in named.items():
        if code != source and source in named:
            yield code, _zipped(named[source], file)


def _zipped(first: Path, second: Path) -> list[Pair]:
    one, two = list(_lines(first)), list(_lines(second))
    if len(one) != len(two):
        raise UserError(f"{second}: must have as many lines as {first} has, {len(one)} (got {len(two)})")
    return [Pair(*each) for each in zip(one, two, strict=True)]


def _bare(file: Path) -> str:
    return file.name.removesuffix(".gz")


def _opened(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def _lines(file: Path) -> Iterator[str]:
    try:
        with _opened(file) as stream:
            text = stream.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as UTF-8, {error}") from error
    return (line.strip() for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"))


# Packages


def _home_assistant(source: str) -> dict[str, list[Pair]]:
    """Of Home Assistant's user interface, ``translations/[fragment/]<code>-<32 hex>.json``: flat, key to text."""
    texts: dict[str, dict[str, str]] = {}
    for path in _of_package("home-assistant-frontend"):
        if match := re.search(r"/translations/(?:.*/)?([A-Za-z0-9-]+)-[0-9a-f]{32}\.json$", path.as_posix()):
            flat = json.loads(path.read_text(encoding="utf-8"))
            texts.setdefault(normalize(match[1]), {}).update({k: v for k, v in flat.items() if isinstance(v, str)})
    own = texts.pop(normalize(source), {})
    return {code: _alike(Pair(own[k], v) for k, v in theirs.items() if k in own) for code, theirs in texts.items()}


def _django(source: str) -> dict[str, list[Pair]]:
    """Of Django's message catalogues; their msgid is English."""
    if normalize(source) != "en":
        return {}
    found: dict[str, list[Pair]] = {}
    for path in _of_package("django"):
        if match := re.search(r"/locale/([^/]+)/LC_MESSAGES/django(?:js)?\.po$", path.as_posix()):
            found.setdefault(normalize(match[1].replace("_", "-")), []).extend(_messages(path))
    return {code: _alike(pairs) for code, pairs in found.items() if code != "en"}


def _messages(path: Path) -> Iterator[Pair]:
    """Messages of a PO file: without plural forms, contexts apart, fuzzy ones left out."""
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        if "\nmsgid_plural " in block or re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE) or "\n#~" in f"\n{block}":
            continue
        texts = {}
        for name in ("msgid", "msgstr"):
            if match := re.search(rf'^{name} ((?:"(?:[^"\\]|\\.)*"\s*)+)', block, re.MULTILINE):
                texts[name] = "".join(map(ast.literal_eval, re.findall(r'"(?:[^"\\]|\\.)*"', match[1])))
        if texts.get("msgid") and texts.get("msgstr"):
            yield Pair(" ".join(texts["msgid"].split()), " ".join(texts["msgstr"].split()))


def _alike(pairs: Iterable[Pair]) -> list[Pair]:
    """Those that are sentences, with the same placeholders on both sides and no plural forms in them."""
    return [
        pair
        for pair in pairs
        if len(pair.source.split()) >= FEWEST_WORDS
        and not any(re.search(r"\{[^{}]*\{", text) for text in (pair.source, pair.target))
        and Counter(_PLACEHOLDER.findall(pair.source)) == Counter(_PLACEHOLDER.findall(pair.target))
    ]


def _of_package(name: str) -> list[Path]:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise UserError(f"{_KEY}: the package is not installed, try pip install {name} (got {name!r})") from None
    return sorted(Path(str(file.locate())) for file in files)


PACKAGES: Mapping[str, Callable[[str], dict[str, list[Pair]]]] = {
    "home-assistant-frontend": _home_assistant,
    "django": _django,
}
"""Packages that hold translated texts, by the names that pip knows them by."""

LICENCES: Mapping[str, str] = {"home-assistant-frontend": "Apache-2.0", "django": "BSD-3-Clause"}
"""Of their texts."""
