"""Facts about languages, and named groups of them.

The table (``languages.csv``) covers XTREME-R, home-assistant-intents, SIB-200's pack and more of Tatoeba.
Resource classes: Joshi et al. 2020 (ACL, "The State and Fate of Linguistic Diversity and Inclusion in the NLP World",
``lang2tax.txt``), as published, oddities included (Norwegian Bokmål is 1). Pretraining sizes: Conneau et al. 2020,
table 6. Families: as XTREME-R names them, else Glottolog's top level. Scripts: ISO 15924.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import langcodes
from langcodes.tag_parser import LanguageTagError

from trainables.errors import UserError, suggestion

LOW_RESOURCE = (0, 1, 2)
"""Resource classes that count as low-resource."""

HIGH_RESOURCE = (4, 5)
"""Resource classes that count as high-resource; class 3 is neither."""

GROUPS = ("low_resource", "high_resource", "seen", "unseen", "seen_mbert", "unseen_mbert")
"""Built-in groups beside ``script:CODE``, ``family:NAME`` and ``class:N``. `seen` and `unseen` are about XLM-R."""

_ALIASES = {"fil": "tl", "no": "nb", "quy": "qu", "quz": "qu", "ayc": "ay"}
"""Codes that benchmarks use for a language of the table and `langcodes` keeps apart, or the other way round."""


@dataclass(frozen=True)
class Language:
    """One language; what is not known is None.

    `resource_class` is in 0 … 5 (5: most resources); `pretraining_size` is the GiB of text XLM-R was pretrained on;
    `variant_of` is the code of the language that this one is a regional or orthographic variant of.
    """

    code: str
    name: str
    family: str | None = None
    script: str | None = None
    resource_class: int | None = None
    pretraining_size: float | None = None
    seen_xlmr: bool | None = None
    seen_mbert: bool | None = None
    variant_of: str | None = None


@cache
def normalize(code: str) -> str:
    """One code for one language, however a data set writes it: ``swh_Latn`` and ``swh`` -> ``sw``, ``cmn`` -> ``zh``.

    ISO 639-3 becomes 639-1, macro-languages stand for their standard member, a language's default script is dropped.
    Regions are kept (``pt-BR``), and so is what is no language tag at all: one's own code.
    """
    if code in table():
        return code
    try:
        tag = langcodes.Language.get(langcodes.standardize_tag(code, macro=True))
    except LanguageTagError:
        return code
    name = _ALIASES.get(tag.language or "", tag.language or "")
    likely = langcodes.Language.make(language=tag.language).maximize().script
    usual = {likely, table()[name].script} if name in table() else {likely}
    parts = (name, tag.script if tag.script not in usual else None, tag.territory)
    return "-".join(part for part in parts if part)


def language(code: str) -> Language:
    """What is known about a language; about one that is not in the table, nothing but its code."""
    known = table().get(normalize(code))
    return known if known is not None else Language(code, code)


def base(code: str) -> str:
    """The language that counts in group means: itself, or what it is a variant of."""
    return language(code).variant_of or code


def collapse_variants(values: Mapping[str, float]) -> dict[str, float]:
    """Scores with regional variants averaged into their language: ``{"zh-CN": .8, "zh-TW": .6}`` -> ``{"zh": .7}``."""
    members: dict[str, list[float]] = {}
    for code, value in values.items():
        members.setdefault(base(code), []).append(value)
    return {code: sum(found) / len(found) for code, found in members.items()}


def group(name: str, codes: Iterable[str]) -> tuple[str, ...]:
    """Members of a built-in group among `codes`, in their order; a language whose fact is unknown is in no group.

    Names: `GROUPS`, ``script:Arab``, ``family:Indo-European``, ``class:3``. Raises `UserError` for any other.
    """
    kind, colon, argument = name.partition(":")
    if not (name in GROUPS or (kind in _ATTRIBUTES and argument)):
        hint = suggestion(name, GROUPS) or f", known: {', '.join((*GROUPS, 'script:CODE', 'family:NAME', 'class:N'))}"
        raise UserError(f"group: unknown group of languages{hint} (got {name!r})")
    if colon:
        wanted = argument.casefold()
        return tuple(k for k in codes if str(getattr(language(k), _ATTRIBUTES[kind])).casefold() == wanted)
    return tuple(k for k in codes if _is_in(name, language(k)))


_ATTRIBUTES = {"script": "script", "family": "family", "class": "resource_class"}


def _is_in(name: str, known: Language) -> bool:
    return {
        "low_resource": known.resource_class in LOW_RESOURCE,
        "high_resource": known.resource_class in HIGH_RESOURCE,
        "seen": known.seen_xlmr is True,
        "unseen": known.seen_xlmr is False,
        "seen_mbert": known.seen_mbert is True,
        "unseen_mbert": known.seen_mbert is False,
    }[name]


@cache
def table() -> Mapping[str, Language]:
    """All languages of the table by code."""
    text = resources.files(__package__).joinpath("languages.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return MappingProxyType({row["code"]: _read(row) for row in rows})


def _read(row: Mapping[str, str]) -> Language:
    return Language(
        code=row["code"],
        name=row["name"],
        family=row["family"],
        script=row["script"],
        resource_class=int(row["resource_class"]),
        pretraining_size=float(row["pretraining_size"]) if row["pretraining_size"] else None,
        seen_xlmr=row["seen_xlmr"] == "1",
        seen_mbert=row["seen_mbert"] == "1",
        variant_of=row["variant_of"] or None,
    )
