"""The words that XLM was trained on: Moses' normalisation of punctuation and its tokeniser, as rules for `tokenizers`.

Each rule of Moses' scripts puts spaces around something, or replaces it, depending on what stands beside it: here a
replacement of a regular expression, mostly of an empty place by a space. So what comes out knows the characters that
it came from, which offsets and word numbers need. The rules are those of the Perl scripts normalize-punctuation,
replace-unicode-punctuation, remove-non-printing-char and tokenizer (Koehn et al. 2007, github.com/moses-smt/
mosesdecoder), with the order of XLM's preprocessing (github.com/facebookresearch/XLM, tools/tokenize.sh). One thing is
left out: where Moses has a language's own abbreviations, whose full stop stays with them, single letters alone keep
theirs.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

from tokenizers import Regex, normalizers

_SIGNS = "".join(
    f"\\x{{{code:x}}}" for code in range(0x900, sys.maxunicode) if unicodedata.combining(chr(code)) in (7, 9)
)
"""Nuktas and viramas: parts of words in the scripts of India."""

ALPHA = rf"\p{{Alphabetic}}{_SIGNS}"
"""What is a letter, inside of a class."""

_SPECIAL = rf"[^{ALPHA}\p{{Nd}}\s.'`,\-]"

_ABBREVIATIONS = (
    "[A-Z]|Adj|Adm|Adv|Asst|Bart|Bldg|Brig|Bros|Capt|Cmdr|Col|Comdr|Con|Corp|Cpl|DR|Dr|Drs|Ens|Gen|Gov|Hon|Hr|Hosp|Insp"
    "|Lt|MM|MR|MRS|MS|Maj|Messrs|Mlle|Mme|Mr|Mrs|Ms|Msgr|Op|Ord|Pfc|Ph|Prof|Pvt|Rep|Reps|Res|Rev|Rt|Sen|Sens|Sfc|Sgt|Sr"
    "|St|Supt|Surg|v|vs|rev|Rs|Nos|Nr|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
)
_BEFORE_NUMBERS = "No|Art|pp"

_OTHER_ABBREVIATIONS = (
    *("as", "bn", "ca", "cs", "de", "el", "es", "et", "fi", "fr", "ga", "gu", "hi", "hu", "is", "it", "kn", "lt", "lv"),
    *("ml", "mni", "mr", "nl", "or", "pa", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "ta", "te", "tdt", "yue"),
)
"""Languages for which Moses has abbreviations of their own; for all others it takes the English ones."""

_WIDE = dict(
    zip(
        "，、”“∶：？《》）！（；」「～’━〈〉【】％１０３２５６９７８４",
        ',,""::?"")!(;""~\'-<>[]%1032569784',
        strict=True,
    )
)
"""Full-width punctuation and digits, and what stands for them."""

_PUNCTUATION: tuple[tuple[str, str], ...] = (
    *_WIDE.items(),
    (r"[。．]\s*", ". "),
    ("…", "..."),
    (r"\r", ""),
    (r"\(", " ("),
    (r"\)", ") "),
    (" +", " "),
    (r"(?<=\)) (?=[.!:?;,])", ""),
    (r"(?<=\() ", ""),
    (r" (?=\))", ""),
    (r"(?<=\d) (?=%)", ""),
    (" (?=[:;])", ""),
    ("`", "'"),
    ("''", ' " '),
    ("[„“”]", '"'),
    ("–", "-"),
    ("—", " - "),
    (" +", " "),
    ("[´‘‚’]", "'"),
    ("''", '"'),
    ("\u00a0«\u00a0|«\u00a0|«|\u00a0»\u00a0|\u00a0»|»", '"'),
    ("\u00a0(?=[%:?!;])", ""),
    ("(?<=nº)\u00a0|\u00a0(?=ºC|cm)|(?<=,)\u00a0", " "),
    (" +", " "),
)


def punctuation(language: str) -> list[tuple[str, str]]:
    """Regular expressions, and what takes the place of what they match, one after the other."""
    rules = list(_PUNCTUATION)
    if language == "en":  # a quotation mark goes behind the stops that follow it
        rules += [(r'"[,.]+\K', '"'), ('"(?=[,.]+")', "")]
    elif language in ("de", "es", "fr"):  # and here before those that it follows
        rules += [(',"', '",'), (r'(?!\A)(?<!\.)(?=\.+"\s*[^<])', '"'), (r'"\.+\K"(?=\s*[^<])', "")]
    rules.append(("(?<=\\d)\u00a0(?=\\d)", "," if language in ("de", "es", "cs", "fr") else "."))
    return [*rules, (r"\A\s+|\s+\z", ""), (r"\p{C}", ""), (r"\s+", " "), (r"\A | \z", "")]


def spaces(language: str) -> list[str]:
    """Regular expressions of the places, mostly empty ones, where a space goes, one after the other."""
    end = r"\.(?:\s|\z)"
    kept = rf"\S*[{ALPHA}]\S*\.\S*{end}|\S*\.\S*[{ALPHA}]\S*{end}"
    if language in _OTHER_ABBREVIATIONS:
        letter = {"de": "[A-Za-z]", "fr": "[A-Zb-z]"}.get(language, r"\p{Lu}")
        kept += rf"|{letter}{end}" + (rf"|[0-9]{{1,2}}{end}" if language == "de" else "")
    else:
        kept += rf"|(?:{_ABBREVIATIONS}){end}|(?:{_BEFORE_NUMBERS})\.\s+[0-9]"
    stop = rf"(?<!\S)(?!{kept})\S*[^\s.]\K(?=\.(?:\z|\s(?!\p{{Lowercase}})))"
    places = [
        rf"(?={_SPECIAL})|(?<={_SPECIAL})",
        r"(?<!\.)(?=\.\.)|(?<=\.\.)(?!\.)",
        r"(?<!\p{N})(?=,)|(?=,(?!\p{N}))|(?<=,)(?!\p{N})|(?<=[^\p{N}],)",
        _apostrophes(language),
    ]
    # What is put before the first character belongs to none: `tokenizers` would count wrong.
    places = [rf"(?!\A)(?:{place})" for place in places]
    return [*places, r"\s+(?=\s)", stop, r"(?!\A)(?:(?=\.'\s?\z)|(?<=\.)(?='\s?\z))"]


def _apostrophes(language: str) -> str:
    alpha, other = f"[{ALPHA}]", f"[^{ALPHA}]"
    if language == "en":
        before = rf"(?<={other})(?='{other})|(?<=[^{ALPHA}\p{{N}}])(?='{alpha})|(?<={alpha})(?<!{alpha}'{alpha})(?='.)"
        before += rf"|(?<={alpha})(?='{other})|(?<=\p{{N}})(?='s)"
        return rf"{before}|(?<={other}')(?={other})|(?<=[^{ALPHA}\p{{N}}]')(?={alpha})|(?<={alpha}')(?={other})"
    if language in ("fr", "it"):
        return rf"(?<={other})(?='.)|(?<={alpha})(?='{other})|(?<=.')(?=.)"
    return "(?=')|(?<=')"


def normalised(language: str) -> normalizers.Normalizer:
    """Punctuation as Moses writes it in a language, by the code that it knows that by."""
    return _rules(punctuation(language))


def words(language: str) -> normalizers.Normalizer:
    """As `normalised`, with one space between any two words."""
    return _rules([*punctuation(language), *((place, " ") for place in spaces(language)), (r"\s+", " ")])


def _rules(rules: Sequence[tuple[str, str]]) -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.Replace(Regex(old), new) for old, new in rules])


def plain() -> normalizers.Normalizer:
    """Lower case, without accents."""
    return normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}"), ""), normalizers.Lowercase()]
    )
