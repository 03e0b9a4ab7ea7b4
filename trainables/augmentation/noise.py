"""Noise in running text, word by word, of one seed nested in its rate: for training, and for evaluation.

Word k of a column's texts has streams of its own: one draw decides whether it is noised, others how. So what becomes of
it is a function of (seed, k), and what is noised at one rate is noised in the same way at every higher one.

`edited` is the character noise of Aepli and Sennrich (2022, arXiv 2109.06772).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from random import Random

from trainables.augmentation.words import marks, pattern
from trainables.seeds import derive

Change = Callable[[str, Random], str]
"""What becomes of a word, as it is written, when it is noised."""

RAREST = 1e-4
"""Share of a text's letters from which on a letter belongs to its alphabet: foreign names bring others."""

UNSPACED = {
    2: "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",  # kana, Han
    4: "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff",  # Thai, Lao, Myanmar, Khmer
}
"""Scripts without spaces between words, by the letters that are taken for one: about a word's mean length. Without it
a sentence would be one word, and a rate mean something else than elsewhere."""


@cache
def units() -> re.Pattern[str]:
    """What a rate counts: a word, or as many letters of a script that parts no words."""
    runs = [rf"(?:(?![\d_])[{letters}](?<=\w)[{marks()}]*){{1,{n}}}" for n, letters in UNSPACED.items()]
    return re.compile("|".join((*runs, pattern().pattern)))


def alphabet(texts: Iterable[str]) -> tuple[str, ...]:
    """Letters of some texts, lower-case, in order; those rarer than `RAREST` are not of it."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text.lower())
    letters = {letter: n for letter, n in counts.items() if letter.isalpha()}
    least = RAREST * sum(letters.values())
    return tuple(sorted(letter for letter, n in letters.items() if n >= least))


def noised(texts: Sequence[str], rate: float, seed: int, change: Change) -> list[str]:
    """The texts of a column, each word changed with chance `rate`."""
    words = _Numbered(seed)

    def become(match: re.Match[str]) -> str:
        number = next(words)
        return change(match.group(), words.stream(number)) if words.draw(number) < rate * _WHOLE else match.group()

    return [units().sub(become, text) for text in texts]


def thinned(texts: Sequence[str], rate: float, seed: int) -> list[str]:
    """The texts of a column, each word left out with chance `rate`; the last word of a text never is."""
    words = _Numbered(seed)
    return [_thinned(text, rate, words) for text in texts]


def edited(letters: Sequence[str], beside: Mapping[str, str] | None = None) -> Change:
    """One letter inserted, deleted or replaced, each as likely; new ones are drawn uniformly from `letters`.

    Where `beside` says which letters lie around the one that is replaced, or that a new one is inserted beside, with or
    without its accents, they are drawn from these. Else from those of the word's script, if there are any: texts of
    other scripts have Latin names in them. A letter goes with the marks after it, and one that is put in its place
    keeps them, so that none is left without a letter. A word's only letter is not deleted. Capitals stay capitals.
    """
    assert letters, "an alphabet has letters"
    of_script: dict[str, list[str]] = {}
    for letter in letters:
        of_script.setdefault(_script(letter), []).append(letter)

    def around(letter: str) -> str:
        plain = unicodedata.normalize("NFD", letter.lower())[0]
        return (beside or {}).get(letter.lower()) or (beside or {}).get(plain, "")

    def change(word: str, random: Random) -> str:
        parts, known = _with_marks(word), of_script.get(_script(word[0]), letters)
        kind = random.choice(("insert", "replace", "delete")[: 2 + (len(parts) > 1)])
        if kind == "insert":
            capital = len(word) > 1 and word.isupper()
            place = random.randrange(len(parts) + 1)
            near = around(parts[min(place, len(parts) - 1)][0])
            parts.insert(place, _cased(random.choice(near or known), capital))
            return "".join(parts)
        place = random.randrange(len(parts))
        own = parts[place]
        if kind == "delete":
            del parts[place]
        else:
            others = around(own[0]) or [letter for letter in known if letter != own[0].lower()]
            parts[place] = _cased(random.choice(others or known), own[0].isupper()) + own[1:]
        return "".join(parts)

    return change


def plain(word: str, random: Random) -> str:
    """Lower-case, without accents: as it is typed in haste.

    Accents are what parts from a letter that has case (Latin, Greek, Cyrillic …). Marks elsewhere are vowels, and stay.
    """
    kept: list[str] = []
    bare = False
    for sign in word.lower():
        letter = unicodedata.normalize("NFD", sign)[0]
        if unicodedata.category(letter) == "Mn":
            kept += [] if bare else [sign]
            continue
        bare = letter.lower() != letter.upper()
        kept.append(letter if bare else sign)
    return "".join(kept)


_WHOLE = 2**63
"""What draws are below."""


class _Numbered(Iterator[int]):
    """Numbers of the words of a column, over all of its texts, and their draws."""

    def __init__(self, seed: int) -> None:
        self._seed, self._next = seed, 0

    def __next__(self) -> int:
        self._next += 1
        return self._next - 1

    def draw(self, number: int) -> int:
        """Whether a word is noised: where this is less than the rate's share of `_WHOLE`."""
        return derive(self._seed, "noised", number)

    def stream(self, number: int) -> Random:
        """How."""
        return Random(derive(self._seed, "how", number))


def _thinned(text: str, rate: float, words: _Numbered) -> str:
    found = [(words.draw(next(words)), match.span()) for match in units().finditer(text)]
    survivor = max(found, default=None)
    left, end = [], 0
    for draw, (start, stop) in found:
        if draw < rate * _WHOLE and (draw, (start, stop)) != survivor:
            left.append(text[end:start])
            end = stop
    return text if not left else " ".join("".join((*left, text[end:])).split())


def _with_marks(word: str) -> list[str]:
    """Its characters, each with the marks that follow it."""
    parts: list[str] = []
    for sign in word:
        if parts and unicodedata.category(sign)[0] == "M":
            parts[-1] += sign
        else:
            parts.append(sign)
    return parts


def _script(letter: str) -> str:
    """What the Unicode name of a letter begins with; kana and Han are written together."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if first in ("HIRAGANA", "KATAKANA") else first


def _cased(letter: str, capital: bool) -> str:
    return letter.upper() if capital and len(letter.upper()) == 1 else letter
