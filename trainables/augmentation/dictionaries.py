"""Readers of the dictionaries that Debian packages: WordNet, MyThes thesauri, FreeDict."""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from trainables.augmentation.words import pattern

Words = dict[str, tuple[str, ...]]
"""Word, lower-case -> single words that may stand for it, itself not among them."""

_FUNCTION_WORDS = """
a about above after again all am an and any are as at be because been before being below between both but by can could
did do does doing down during each either else every few for from further had has have having he her here hers him his
how i if in into is it its just least less like many may me might mine more most much must my neither no nor not now of
off on once one only or other our ours out over own per same shall she should so some such than that the their theirs
them then there these they this those though through to too under until up upon us very was we were what when where
whether which while who whom whose why will with within without would yes yet you your yours
"""
_SKIPPED = frozenset(_FUNCTION_WORDS.split())
"""English words that WordNet knows as something else: "a", "in", "it", "as", "no" are a vitamin, elements, units."""


def wordnet(folder: Path, words: Collection[str]) -> Words:
    """Words in the most frequent sense of each part of speech (formats: man pages wndb and senseidx of WordNet 3.0).

    The first synset offset of an index line is its most frequent sense; a synset line lists its words from field 4 on.
    """
    found: dict[str, set[str]] = {}
    for part in ("noun", "verb", "adj", "adv"):
        first = {}
        for line in _lines(folder / f"index.{part}"):
            lemma, _, rest = line.partition(" ")
            if lemma in words and lemma not in _SKIPPED:
                fields = rest.split()
                first[lemma] = int(fields[-int(fields[1])])
        with (folder / f"data.{part}").open("rb") as data:
            for lemma, offset in first.items():
                data.seek(offset)
                fields = data.readline().decode("utf-8").split()
                count = int(fields[3], base=16)
                members = (field.partition("(")[0] for field in fields[4 : 4 + 2 * count : 2])
                found.setdefault(lemma, set()).update(members)
    return tidy(found)


def mythes(path: Path, words: Collection[str]) -> Words:
    """A MyThes thesaurus: the encoding, then ``word|n`` and n lines ``(part of speech)|synonym|synonym (remark)…``.

    Of each word the first meaning is used; entries with a remark (generic terms, antonyms) are not synonyms.
    """
    encoding, _, text = path.read_bytes().partition(b"\n")
    lines = iter(text.decode(encoding.decode("ascii").strip()).splitlines())
    found: dict[str, set[str]] = {}
    for line in lines:
        word, _, count = line.rpartition("|")
        meanings = [next(lines).split("|")[1:] for _ in range(int(count))]
        if word in words and meanings:
            found.setdefault(word, set()).update(m for m in meanings[0] if "(" not in m)
    return tidy(found)


_BASE64 = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_ANNOTATION = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)|^\d+\.")


def text_of(index: Path) -> Path:
    """The text that a dictionary's index is of."""
    return index.with_suffix(".dict.dz")


def freedict(index: Path, words: Collection[str]) -> Words:
    """A dictionary in dictd's format: index lines ``headword<TAB>offset<TAB>length`` in base 64, a gzipped text.

    An entry's first line names its headword; the next that is not empty holds translations, parted by commas.
    """
    with gzip.open(text_of(index)) as packed:
        text = packed.read()
    found: dict[str, set[str]] = {}
    for line in _lines(index):
        headword, offset, length = line.split("\t")[:3]
        if headword.lower() in words:
            start = _number(offset)
            entry = text[start : start + _number(length)].decode("utf-8").splitlines()[1:]
            first = next((line for line in entry if line.strip()), "")
            candidates = (_ANNOTATION.sub("", part).strip() for part in first.split(","))
            found.setdefault(headword.lower(), set()).update(candidates)
    return tidy(found)


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * 64 + _BASE64[digit]
    return value


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from (line.rstrip("\n") for line in lines)


def tidy(found: Mapping[str, Collection[str]]) -> Words:
    """Single words other than the word itself, sorted, so that a draw does not depend on a set's order."""
    single = pattern()
    tidied = {
        word: tuple(sorted(o for o in others if single.fullmatch(o) and o.lower() != word))
        for word, others in sorted(found.items())
    }
    return {word: others for word, others in tidied.items() if others}
