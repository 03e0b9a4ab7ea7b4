"""Facts about languages, and named groups of them.

The table (``languages.csv``) covers the catalogue's tasks and FLORES-200; what no source says is empty, and None here.
Resource classes: Joshi et al. 2020 (ACL, "The State and Fate of Linguistic Diversity and Inclusion in the NLP World",
``lang2tax.txt``), as published, oddities included (Norwegian Bokmål is 1). Families: as XTREME-R names them, else
Glottolog 5.1's top level (CC BY 4.0). Scripts: ISO 15924, as codes say them, else langcodes. docs/languages.md says
which row is from where. What encoders were pretrained on is in `pretraining`. A task's file can have languages of its
own, or correct what the table says (`Own`); `typology` has distances.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from trainables import pretraining, typology
from trainables.conditions import FACTS, MEASURED, Condition, is_measured
from trainables.errors import UserError, nearest, suggestion
from trainables.lazy import langcodes
from trainables.pretraining import Lists

LOW_RESOURCE = (0, 1, 2)
"""Resource classes that count as low-resource."""

HIGH_RESOURCE = (4, 5)
"""Resource classes that count as high-resource; class 3 is neither."""

GROUPS = (
    "low_resource",
    "high_resource",
    "seen",
    "unseen",
    "seen_mbert",
    "unseen_mbert",
    "same_script",
    "other_script",
)
"""Built-in groups beside `PATTERNS`. `seen` and `unseen` are about the encoders in question, of several about all of
them; ``seen:mBERT`` and ``unseen:mBERT`` (or `seen_mbert`, `unseen_mbert`) about one published list. Scripts are
compared with the source's."""

PATTERNS = (
    *("script:CODE", "family:NAME", "class:N", "seen:LIST", "unseen:LIST"),
    *("distance_syntactic>0.5", "fertility>2", "overlap<0.3"),
)
"""Built-in groups that take an argument, as they are listed to users (numbers: `conditions.FACTS`). Distances are the
source's."""

ANY_ENCODER = (pretraining.XLM_R,)
"""Whose list `seen` and `unseen` are about where no encoder is in question."""

_ALIASES = {"fil": "tl", "tgl": "tl", "no": "nb", "quy": "qu", "quz": "qu", "ayc": "ay"}
"""Codes that benchmarks use for a language of the table and `langcodes` keeps apart, or the other way round."""


@dataclass(frozen=True)
class Language:
    """One language; what is not known is None.

    `resource_class` is in 0 … 5 (5: most resources); `variant_of` is the code of the language that this one is a
    regional or orthographic variant of.
    """

    code: str
    name: str
    family: str | None = None
    script: str | None = None
    resource_class: int | None = None
    variant_of: str | None = None
    groups: tuple[str, ...] = ()
    """Groups of one's own that it is in."""


Own = Mapping[str, Language]
"""What a task's own file says of languages, by `normalize`'s code: goes before the table."""

NO_OWN: Own = MappingProxyType({})

Measured = Mapping[str, Mapping[str, float | None]]
"""`conditions.MEASURED` of a study's languages, by their codes: None where there is no such number."""


def own_languages(facts: Mapping[str, Mapping[str, Any]]) -> Own:
    """Facts as a user writes them, by code: fields of `Language` over those that the table has, None: nothing said."""
    own = {}
    for name, given in facts.items():
        code = normalize(name)
        said = {key: value for key, value in given.items() if value is not None}
        if "variant_of" in said:
            said["variant_of"] = normalize(said["variant_of"])
        own[code] = replace(language(code), code=code, **said)
    return own


def own_groups(own: Own) -> dict[str, tuple[str, ...]]:
    """Groups of one's own -> codes of their languages."""
    names = dict.fromkeys(name for known in own.values() for name in known.groups)
    return {name: tuple(code for code, known in own.items() if name in known.groups) for name in names}


def facts_problem(facts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why facts as a user writes them do not add up, or None."""
    spelt: dict[str, str] = {}
    for name, given in facts.items():
        if (other := spelt.setdefault(normalize(name), name)) != name:
            return f"{other!r} and {name!r} are one language"
        if taken := [each for each in given["groups"] if each in GROUPS]:
            return f"{name}: {taken[0]!r} is a group already, give it another name"
    own = own_languages(facts)
    for code, known in own.items():
        of = known.variant_of
        if of is not None and (of == code or base(of, own) != of):
            return f"{spelt[code]}: variant_of must be a language that is no variant itself (got {of!r})"
    return None


@cache
def normalize(code: str) -> str:
    """One code for one language, however a data set writes it: ``swh_Latn`` and ``swh`` -> ``sw``, ``cmn`` -> ``zh``.

    ISO 639-3 becomes 639-1, the standard member of a macro-language stands for it, a language's default script is
    dropped. Whatever else a tag says is kept: regions (``pt-BR``), variants and private use (``ca-valencia``,
    ``de-muc``, ``de-ba``), other members (``twi`` -> ``tw``, ``prs``); so is what is no tag at all (``toba_batak``).

    >>> normalize("swh_Latn"), normalize("zh_CN"), normalize("de-muc")
    ('sw', 'zh-CN', 'de-muc')
    """
    if code in table():
        return code
    tag = _Tag.of(code)
    if tag is None:
        return code
    usual = {_likely_script(tag.language), table()[tag.language].script if tag.language in table() else None}
    own_row = f"{tag.language}-{tag.script}" in table()  # one that was spelt with its script before it was known
    script = None if tag.script in usual and not own_row else tag.script
    region = tag.region
    if region and region.islower():  # as one's own name for a variant; where the table has the region, it is that
        upper = "-".join(part for part in (tag.language, script, region.upper()) if part)
        region = region.upper() if upper in table() else region
    return "-".join(part for part in (tag.language, script, region, tag.rest) if part)


def distinct(*splits: Iterable[str]) -> dict[str, str]:
    """Name -> code, for the names by which the splits of a data set call their languages.

    What it calls two languages in one split stays two: names that would have one code keep themselves (``quy`` and
    ``quz``, where `normalize` has ``qu`` for both). One language may have another name in another split.
    """
    groups = [set(names) for names in splits]
    shared = {code for names in groups for code, n in Counter(map(normalize, names)).items() if n > 1}
    return {name: name if normalize(name) in shared else normalize(name) for names in groups for name in names}


@dataclass(frozen=True)
class _Tag:
    """The parts of a language tag, its language under the code that `normalize` gives it."""

    language: str
    script: str | None
    region: str | None
    rest: str | None

    @classmethod
    def of(cls, code: str) -> _Tag | None:
        match = _PARTS.fullmatch(code)
        if match is None or not langcodes.tag_is_valid(langcodes.standardize_tag(match["language"])):
            return None
        script = match["script"].title() if match["script"] else None
        rest = match["rest"].replace("_", "-").lstrip("-") or None
        return cls(_known_as(match["language"].lower()), script, match["region"], rest)


_PARTS = re.compile(
    r"(?P<language>[A-Za-z]{2,3})([-_](?P<script>[A-Za-z]{4}))?([-_](?P<region>[A-Za-z]{2}|[0-9]{3}))?(?P<rest>([-_].+)?)"
)
"""A language tag (BCP 47), with underscores too; the rest is variants, extensions and private use."""

_OTHER_MEMBERS = ("fat",)
"""Members of macro-languages that `langcodes` takes for their standard one."""


def _known_as(language: str) -> str:
    """The code of a language subtag: two letters where they mean the same, or where it is the standard member."""
    if language in table():
        return language
    if language in _ALIASES:
        return _ALIASES[language]
    same = langcodes.standardize_tag(language)
    if len(language) == 2 or (len(same) == 2 and langcodes.Language.get(same).to_alpha3() == language):
        return _ALIASES.get(same, same)
    standard = langcodes.standardize_tag(language, macro=True)
    return standard if len(standard) == 2 and language not in _OTHER_MEMBERS else language


@cache
def _likely_script(language: str) -> str | None:
    """The script that a language is usually written in; of one that nobody says so of, Latin."""
    script: str | None = langcodes.Language.get(language).maximize().script
    return script


def _script(tag: _Tag) -> str | None:
    """The script that a tag says, or that is known to be its language's."""
    if tag.script is not None:
        return tag.script
    from langcodes.data_dicts import LIKELY_SUBTAGS

    names = [tag.language, *(langcodes.standardize_tag(tag.language, macro=macro) for macro in (False, True))]
    known = next((name for name in names if langcodes.Language.get(name).language in LIKELY_SUBTAGS), None)
    return _likely_script(known) if known is not None else None


def _base(code: str) -> str | None:
    """The language that a code outside of the table is a variant of: its own without the rest, or its macro one."""
    tag = _Tag.of(code)
    if tag is None:
        return None
    if tag.language != code:
        return tag.language
    macro = langcodes.Language.get(langcodes.standardize_tag(code, macro=True)).language
    return None if macro in (code, None) else macro


def language(code: str, own: Own = NO_OWN) -> Language:
    """What is known about a language; of one that is not in the table its script, and what it is a variant of."""
    return own.get(normalize(code)) or _language(code)


@cache
def _language(code: str) -> Language:
    known = table().get(normalize(code))
    if known is not None:
        return known
    tag = _Tag.of(code)
    if tag is None:
        return Language(code, code)
    return Language(code, code, script=_script(tag), variant_of=_base(code))


def meant(name: str, codes: Collection[str] = (), own: Own = NO_OWN) -> str | None:
    """The language that is meant by what is no code of one: its name in English, nearly, or a country; None: who knows.

    It is one of the table or of `codes`, which a data set may call by names of its own.

    >>> meant("german"), meant("swahilli"), meant("jp"), meant("toba_batk", ["toba_batak"]), meant("xx")
    ('de', 'sw', 'ja', 'toba_batak', None)
    """
    if normalize(name) in table() or langcodes.tag_is_valid(name):
        return None
    names = {language(code, own).name.casefold(): code for code in (*table(), *codes)} | {code: code for code in codes}
    if (near := nearest(name, list(names), cutoff=0.8)) is not None:
        return names[near]
    from langcodes.data_dicts import LIKELY_SUBTAGS

    country = LIKELY_SUBTAGS.get(f"und-{name.upper()}")
    spoken = None if country is None else normalize(country.partition("-")[0])
    return spoken if spoken in table() else None


def suggested(names: Iterable[str], codes: Collection[str], own: Own = NO_OWN) -> str:
    """``, did you mean 'de', 'fr'?`` where some of these names mean languages among `codes`, else nothing."""
    near = [code for name in names if (code := meant(name, codes, own)) in codes]
    return f", did you mean {', '.join(map(repr, dict.fromkeys(near)))}?" if near else ""


def base(code: str, own: Own = NO_OWN) -> str:
    """The language that counts in group means: itself, or what it is a variant of.

    Codes that a data set keeps apart (`distinct`) are variants of what they would be one with.

    >>> base("prs"), base("sw")
    ('fa', 'sw')
    """
    known = language(code, own)
    return known.variant_of or known.code


def collapse_variants(values: Mapping[str, float], own: Own = NO_OWN) -> dict[str, float]:
    """Scores with regional variants averaged into their language: ``{"zh-CN": .8, "zh-TW": .6}`` -> ``{"zh": .7}``."""
    members: dict[str, list[float]] = {}
    for code, value in values.items():
        members.setdefault(base(code, own), []).append(value)
    return {code: sum(found) / len(found) for code, found in members.items()}


def is_seen(code: str, name: str | None) -> bool | None:
    """Whether a language is on a published list of pretraining languages; None without a list, or where nobody knows.

    A variant that the table has is seen with its language. A language that is neither on the list nor in the table may
    be there under another code; and a list that says Arabic does not say which.

    >>> is_seen("sw", "XLM-R"), is_seen("yo", "XLM-R"), is_seen("yo", "mBERT"), is_seen("my dialect", "XLM-R")
    (True, False, True, None)
    >>> is_seen("acm", "XLM-R") is None  # Mesopotamian Arabic
    True
    """
    if name is None:
        return None
    listed, code = pretraining.lists()[name].amounts, normalize(code)
    if code in listed:
        return True
    if code not in table():
        return None
    known = table()[code].variant_of or code
    if known in listed:
        return True
    return None if _macro_language(known) in listed else False


def _macro_language(code: str) -> str | None:
    """What ISO 639-3 counts a language to, as `normalize` has it."""
    from langcodes.data_dicts import MACROLANGUAGES

    macro = MACROLANGUAGES.get(code)
    return None if macro is None else normalize(macro)


def seen(code: str, lists: Lists) -> bool | None:
    """Whether all encoders of these lists saw a language in pretraining, or none did; None: some, or nobody knows."""
    facts = {is_seen(code, name) for name in lists}
    return facts.pop() if len(facts) == 1 else None


def pretraining_size(code: str, lists: Lists) -> float | None:
    """Text of a language that an encoder was pretrained on, in the unit of its list; None where that is not known."""
    name = lists[0] if len(set(lists)) == 1 else None
    return None if name is None else pretraining.lists()[name].amounts.get(normalize(code))


def distance(kind: str, source: str, code: str, own: Own = NO_OWN) -> float | None:
    """Typological distance of a language from the source, or of what it is a variant of; None: unknown."""
    of = [normalize(code), base(code, own)]
    found = (typology.distance(kind, s, k) for s in (normalize(source), base(source, own)) for k in of)
    return next((value for value in found if value is not None), None)


def group(
    name: str,
    codes: Iterable[str],
    lists: Lists = ANY_ENCODER,
    own: Own = NO_OWN,
    source: str | None = None,
    measured: Measured | None = None,
) -> tuple[str, ...]:
    """Members of a built-in group, or of one's own, among `codes`, in their order.

    A language whose fact is unknown is in no group. Names: `GROUPS`, ``script:Arab``, ``family:Indo-European``,
    ``class:3``, ``unseen:mT5``, ``distance_syntactic>0.5`` (from the source language), ``fertility>2`` (by what is
    `measured`; None: nothing can be here), groups of `own`. `lists` are those of the encoders that plain `seen` and
    `unseen` are about. Raises `UserError` for any other name.

    >>> group("low_resource", ["sw", "de", "yo", "fr"]), group("unseen", ["sw", "yo", "am"], ["mBERT"])
    (('sw', 'yo'), ('am',))
    """
    declared = own_groups(own)
    if name in declared:
        return tuple(k for k in codes if normalize(k) in declared[name])
    _check(name, measured, declared)
    return tuple(k for k in codes if _decided(name, k, lists, own, source, measured)[1])


def undecided(
    name: str,
    codes: Iterable[str],
    lists: Lists = ANY_ENCODER,
    own: Own = NO_OWN,
    source: str | None = None,
    measured: Measured | None = None,
) -> tuple[str, ...]:
    """Those of some languages of which nothing is known that would say whether they are in a built-in group."""
    if name in own_groups(own):
        return ()
    _check(name, measured)
    return tuple(k for k in codes if _decided(name, k, lists, own, source, measured)[0] is None)


def is_relative(name: str) -> bool:
    """Whether who is in a built-in group depends on the encoders in question."""
    return name in _SEEN


def _check(name: str, measured: Measured | None, declared: Iterable[str] = ()) -> None:
    """Raise `UserError` for a group that there is not, or not here."""
    kind, colon, argument = name.partition(":")
    if kind in _SEEN and colon:
        if argument not in pretraining.lists():
            hint = f", known lists: {', '.join(pretraining.lists())}"
            raise UserError(f"group: unknown group of languages{hint} (got {name!r})")
        return
    if is_measured(name) and measured is None:
        rule = (
            "fertility and overlap are measured on the rows of a study, when it begins: no language is chosen by them"
        )
        raise UserError(f"group: {rule} (got {name!r})")
    if name in GROUPS or (kind in _ATTRIBUTES and argument) or Condition.of(name) is not None:
        return
    if (number := re.split("[<>]", name)[0]) in FACTS:
        raise UserError(f"group: takes a number, as in {number}>0.5, {number}<=1 (got {name!r})")
    known = (*GROUPS, *declared)
    hint = suggestion(name, known) or f", known: {', '.join((*known, *PATTERNS))}"
    raise UserError(f"group: unknown group of languages{hint} (got {name!r})")


def _decided(
    name: str, code: str, lists: Lists, own: Own, source: str | None, measured: Measured | None
) -> tuple[object, bool]:
    """(the fact that a built-in group goes by, None if it is not known; whether the language is in the group)."""
    known = language(code, own)
    kind, _, argument = _SHORT.get(name, name).partition(":")
    if (condition := Condition.of(name)) is not None:
        value = (measured or {}).get(code, {}).get(condition.fact)
        if condition.fact not in MEASURED:
            value = distance(condition.fact.removeprefix("distance_"), source, code, own) if source else None
        return value, condition.holds(value)
    if kind in _SEEN:
        by = [argument] if argument else lists
        unknown = None in {is_seen(code, each) for each in by}
        return None if unknown else True, seen(code, by) is _SEEN[kind]
    if name in _SCRIPTS:
        theirs = language(source, own).script if source else None
        script = known.script if theirs else None
        return script, script is not None and (script == theirs) is _SCRIPTS[name]
    if argument:
        fact = getattr(known, _ATTRIBUTES[kind])
        return fact, str(fact).casefold() == argument.casefold()
    return known.resource_class, known.resource_class in _CLASSES[kind]


_SEEN = {"seen": True, "unseen": False}
_SHORT = {"seen_mbert": "seen:mBERT", "unseen_mbert": "unseen:mBERT"}
_CLASSES = {"low_resource": LOW_RESOURCE, "high_resource": HIGH_RESOURCE}
_SCRIPTS = {"same_script": True, "other_script": False}
_ATTRIBUTES = {"script": "script", "family": "family", "class": "resource_class"}


@cache
def table() -> Mapping[str, Language]:
    """All languages of the table by code."""
    text = resources.files(__package__).joinpath("languages.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return MappingProxyType({row["code"]: _read(row) for row in rows})


def _read(row: Mapping[str, str]) -> Language:
    """A row of the table; what is empty is not known."""
    return Language(
        code=row["code"],
        name=row["name"],
        family=row["family"] or None,
        script=row["script"] or None,
        resource_class=int(row["resource_class"]) if row["resource_class"] else None,
        variant_of=row["variant_of"] or None,
    )
