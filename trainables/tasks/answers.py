"""How answers of question answering are compared: exact match and F1 over words, best of the gold answers.

SQuAD 1.1 (Rajpurkar et al. 2016), whose English rules XTREME applies to every language of XQuAD and TyDiQA, and MLQA
(Lewis et al. 2020), whose rules depend on the language.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from trainables.errors import UserError
from trainables.languages import base

Normalise = Callable[[str], str]

NORMALISATIONS = ("squad", "mlqa")

_ARTICLES: Mapping[str, str] = {
    "ar": "ال",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "hi": "",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "zh": "",
}
"""What MLQA takes out of each of its languages. The published Arabic pattern has a part that never matches."""

_HAN = re.compile(r"([\u4e00-\u9fa5])")


def normaliser(kind: str, language: str) -> Normalise:
    """Text -> words joined by one space, lower-case, without punctuation and articles.

    Raises `UserError` for a language of which MLQA has no rules.
    """
    assert kind in NORMALISATIONS, kind
    if kind == "squad":
        return lambda text: _words(text, string.punctuation.__contains__, _ARTICLES["en"])
    code = base(language)
    if code not in _ARTICLES:
        raise UserError(f"options.normalisation: mlqa has rules for {', '.join(_ARTICLES)} (got {language!r})")
    articles = _ARTICLES[code]
    if code == "zh":
        return lambda text: _words(_HAN.sub(r" \1 ", _without(text.lower(), _is_punctuation)), None, "")
    return lambda text: _words(text, _is_punctuation, articles)


def score_answer(prediction: str, golds: Sequence[str], normalise: Normalise) -> tuple[float, float]:
    """(F1, exact match) of one answer, each the best over the gold answers.

    >>> score_answer("the red house", ["A red house!", "in 1900"], normaliser("squad", "en"))
    (1.0, 1.0)
    """
    answer = normalise(prediction)
    expected = [normalise(gold) for gold in golds]
    return max(_f1(answer.split(), gold.split()) for gold in expected), float(answer in expected)


def _words(text: str, drop: Callable[[str], bool] | None, articles: str) -> str:
    kept = _without(text.lower(), drop) if drop else text
    return " ".join((re.sub(articles, " ", kept) if articles else kept).split())


def _without(text: str, drop: Callable[[str], bool]) -> str:
    return "".join(c for c in text if not drop(c))


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P") or character in string.punctuation


def _f1(answer: Sequence[str], gold: Sequence[str]) -> float:
    common = (Counter(answer) & Counter(gold)).total()
    return 2 * common / (len(answer) + len(gold)) if common else 0.0
