"""Word resources without a network: Debian's WordNet, thesauri and FreeDict dictionaries, or one's own file.

Own files, UTF-8, words lower-case:

- synonyms, JSON: ``{"word": ["synonym", …], …}``; TSV: ``word<TAB>synonym<TAB>synonym…``, one word a line
- translations, JSON: ``{"language": {"word": ["translation", …], …}, …}``; TSV: ``language<TAB>word<TAB>translation…``

Every reader takes the words that are wanted (lower-case), since the resources are far larger than a task's vocabulary.
Only single words come out: the number of words of a text never changes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trainables.augmentation.dictionaries import Words, freedict, mythes, tidy, wordnet
from trainables.errors import UserError
from trainables.languages import normalize
from trainables.lazy import langcodes

WORDNET = Path("/usr/share/wordnet")
THESAURI = Path("/usr/share/mythes")
DICTIONARIES = Path("/usr/share/dictd")

_KEY, _ATTACK = "augmentation.resource", "evaluation.attack.resource"


def load_synonyms(path: Path | None, language: str, words: Collection[str]) -> Words:
    """Synonyms of the wanted words from a file or folder, or from what is installed for the language.

    A folder is a WordNet database, a ``.dat`` file a MyThes thesaurus. Raises `UserError` where there is nothing.
    """
    if path is None and (path := installed_synonyms(language)) is None:
        package = "wordnet-base" if language == "en" else f"mythes-{language}"
        raise UserError(
            f"{_KEY}: no synonyms for {language} are installed, try apt-get install {package} or name a file (got null)"
        )
    if path.is_dir():
        return wordnet(path, words)
    if path.suffix == ".dat":
        return mythes(path, words)
    return _select(_own_file(path, depth=1), words, str(path))


def load_translations(path: Path | None, language: str, words: Collection[str]) -> dict[str, Words]:
    """Translations of the wanted words into every language of a file, or of a folder of FreeDict dictionaries."""
    if path is None or path.is_dir():
        start = _freedict(language)
        found = {normalize(p.stem.removeprefix(start)): p for p in installed_dictionaries(language, path)}
        if not found:
            raise UserError(
                f"{_KEY}: no dictionary from {language} is installed, try apt-get install dict-{start}deu, or name a "
                f"file (got {_shown(path)})"
            )
        return {code: freedict(index, words) for code, index in found.items()}
    own = _own_file(path, depth=2)
    return {code: _select(entries, words, f"{path}: {code}") for code, entries in own.items()}


def load_substitutes(path: Path | None, language: str, words: Collection[str]) -> Words:
    """Words that may stand for the wanted ones in a text of a language: of a file by language, or installed synonyms.

    Empty where nothing is known of the language. Raises `UserError` for a file that cannot be used.
    """
    if path is None:
        try:
            return load_synonyms(None, language, words)
        except UserError:
            return {}
    table = {normalize(code): entries for code, entries in _own_file(path, 2, _ATTACK).items()}
    return _select(table.get(language, {}), words, f"{path}: {language}", _ATTACK)


def installed_synonyms(language: str) -> Path | None:
    """The WordNet or the thesaurus of a language that is installed, if there is one."""
    if language == "en" and WORDNET.is_dir():
        return WORDNET
    return next(iter(sorted(THESAURI.glob(f"th_{language}[_.]*dat"))), None)


def installed_dictionaries(language: str, folder: Path | None = None) -> list[Path]:
    """The indices of the FreeDict dictionaries from a language in a folder, or where they are installed."""
    return sorted((folder or DICTIONARIES).glob(f"{_freedict(language)}*.index"))


def all_synonyms() -> list[Path]:
    """The files of whatever is installed, of any language."""
    return [*files_of(WORDNET), *sorted(THESAURI.glob("th_*dat"))]


def files_of(place: Path | None) -> list[Path]:
    """A file, or those of a folder, if there is one."""
    if place is None or not place.exists():
        return []
    return sorted(place.iterdir()) if place.is_dir() else [place]


def _freedict(language: str) -> str:
    """How the names of its dictionaries begin."""
    return f"freedict-{langcodes.get(language).to_alpha3()}-"


def _own_file(path: Path, depth: int, key: str = _KEY) -> Any:
    """A JSON or TSV file as nested mappings, `depth` keys above each list of words."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot be read, {error} (got {_shown(path)})") from error
    if path.suffix != ".tsv":
        raise UserError(f"{key}: must be a .json or .tsv file, or a folder (got {_shown(path)})")
    table: dict[str, Any] = {}
    for line in text.splitlines():
        *parents, last = line.split("\t")[:depth]
        here = table
        for parent in parents:
            here = here.setdefault(parent, {})
        here.setdefault(last, []).extend(line.split("\t")[depth:])
    return table


def _select(table: Any, words: Collection[str], where: str, key: str = _KEY) -> Words:
    if not isinstance(table, dict) or not all(isinstance(others, list) for others in table.values()):
        raise UserError(f"{key}: must map words to lists of words (got {where})")
    return tidy({word: [str(o) for o in others] for word, others in table.items() if word in words})


def _shown(path: Path | None) -> str:
    return "null" if path is None else repr(str(path))
