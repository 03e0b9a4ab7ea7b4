"""Replacing words in running text: punctuation and spaces stay where they are, the case stays as it was."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache


@cache
def marks() -> str:
    """All vowel signs and accents: no letters to `re`, but parts of words."""
    return "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M")


@cache
def pattern() -> re.Pattern[str]:
    """A word: letters of any script, with inner apostrophes; what touches a digit is no word, hyphens part words."""
    letters = rf"(?:[^\W\d_][{marks()}]*)+"
    return re.compile(rf"(?<!\w){letters}(?:['’]{letters})*(?!\w)")


def words_of(text: str) -> Iterator[str]:
    """Lower-cased words of a text, in order."""
    return (match.lower() for match in pattern().findall(text))


def replace_words(text: str, choose: Callable[[str], str]) -> str:
    """The text with every word replaced by what `choose` makes of it, lower-cased, in the case it was written in.

    >>> replace_words("Dogs, CATS and birds.", lambda word: {"dogs": "wolves", "cats": "lions"}.get(word, word))
    'Wolves, LIONS and birds.'
    """
    return pattern().sub(lambda match: in_case_of(match.group(), choose(match.group().lower())), text)


def in_case_of(written: str, word: str) -> str:
    """`word` in the case of `written`: ALL CAPITALS, Capitalised, or as it is."""
    if word == written.lower():
        return written
    if len(written) > 1 and written.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if written[:1].isupper() else word
