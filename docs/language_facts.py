"""The rows that were added to the table of languages, and the typological distances, out of published sources.

``python docs/language_facts.py FOLDER`` writes trainables/languages.csv and trainables/typology.csv anew. FOLDER has
``languages/`` and ``typology/``, tables collected from the sources that docs/languages.md names, with their licences.
Nothing in the product reads them. The first rows of the table are kept as they are, and no code is
spelt otherwise than before.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

import langcodes
from langcodes.data_dicts import LIKELY_SUBTAGS

from trainables.languages import normalize

TABLE, TYPOLOGY = (Path(__file__).parents[1] / "trainables" / name for name in ("languages.csv", "typology.csv"))

FIRST = (
    "af am ar ay az bg bm bn bo br ca cs cy da de de-CH el en es et eu fa fi fr ga gl gn gu ha he hi hr ht hu hy id "
    "ig is it ja jv ka kk km kn ko kw lb lo lt lv ml mn mr ms my nb ne nl nqo pa pl pt pt-BR qu ro ru rw sat si sk sl "
    "so sr sr-Latn sv sw ta te th ti tl tr ug uk ur uz vi war wo xh yo zh zh-CN zh-HK zh-TW zu"
)
"""The rows that the table had before, whose values stay: results depend on them."""

FURTHER = ("bbj", "bn-Latn", "chr", "cop", "gsw", "hi-Latn", "nap", "ne-Latn", "si-Latn", "syr", "ur-Latn")
"""Languages of the catalogue's tasks that neither FLORES-200 nor the tables of families have."""

FAMILIES = {"Atlantic-Congo": "Niger-Congo", "Mongolic-Khitan": "Mongolic"}
"""Glottolog's families that the first rows have under XTREME-R's names: one family has one name."""

LISTS = ("XLM-R", "mT5", "mBERT")
"""Encoders whose lists of languages name them; the first goes first, and Glottolog's names come after them."""

KINDS = ("syntactic", "phonological", "inventory", "genetic")
NOTICE = """\
# Typological distances between languages, 1 - cos(a, b). Licence: CC BY-SA 4.0.
# Derived numbers out of lang2vec (antonisa/lang2vec, lang2vec/data, CC BY-SA 4.0; Littell et al. 2017, URIEL and
# lang2vec, EACL). syntactic, phonological, inventory: a and b are the 103, 28, 158 features S_, P_, INV_ of
# feature_predictions.npz (0 to 1, missing ones imputed by nearest neighbours, not centred). genetic: a and b are the
# 3,718 nodes of family_features.npz, so that 1 means no node in common. They are not lang2vec's own precomputed
# distances. Empty: no source says, or of one of the two no
# feature is observed, all are imputed.
"""

Row = Mapping[str, str]


def read(path: Path) -> list[Row]:
    """The rows of a table of the folder."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def languages(folder: Path, kept: Mapping[str, Row]) -> Iterator[Row]:
    """The new rows: FLORES-200's languages, those of the tables of families, and what they are variants of."""
    flores = (folder / "flores200.txt").read_text().split()
    families = {row["iso639_3"]: row for row in read(folder / "families.csv")}
    classes = [row for row in read(folder / "joshi.csv") if "+" in row["mapped_by"]]
    lists = read(folder / "pretraining.csv")
    names = {r["iso639_3"]: r["language_name"] for e in reversed(LISTS) for r in lists if r["encoder"] == e}
    scripts: dict[str, set[str]] = {}
    for name in flores:
        scripts.setdefault(name[:3], set()).add(name[4:])
    spelt = {name: name[:3] for name in flores}
    spelt |= {name: iso for iso, row in families.items() for name in row["project_codes"].split() if name not in spelt}
    wanted = {normalize(name): iso for name, iso in reversed(spelt.items())}
    wanted |= {code: _alpha3(code.partition("-")[0]) for code in FURTHER}
    wanted |= {
        parent: _alpha3(parent) for code in wanted if (parent := _parent(code, kept)) not in {"", *wanted, *kept}
    }
    for code, iso in sorted(wanted.items()):
        facts, language, script = families.get(iso, {}), code.partition("-")[0], code.partition("-")[2]
        own = kept.get(language, {})
        stand_in = len(language) == 3 and language != iso  # facts about a family of languages, by one of them
        name = own.get("name") or names.get(_alpha3(language)) or ("" if stand_in else facts.get("glottolog_name", ""))
        name = name or _published(_alpha3(language), classes)
        yield {
            "code": code,
            "name": " ".join([name or code, *([f"({script})"] if script else [])]),
            "family": own.get("family") or FAMILIES.get(facts.get("family", ""), facts.get("family", "")),
            "script": script or _likely(code) or (min(scripts[iso]) if len(scripts.get(iso, ())) == 1 else ""),
            "resource_class": own.get("resource_class")
            or _resource_class(iso, name, classes)
            or _resource_class(_alpha3(language), name, classes),
            "variant_of": _parent(code, kept),
        }


def _parent(code: str, kept: Container[str]) -> str:
    """What a code is a variant of: its language where it says a script, else the macro-language that it is of."""
    if "-" in code:
        return code.partition("-")[0]
    macro = langcodes.Language.get(langcodes.standardize_tag(code, macro=True)).language
    return "" if code in kept or macro in (code, None) else str(macro)


def _alpha3(code: str) -> str:
    return code if len(code) == 3 else langcodes.Language.get(code).to_alpha3()


def _likely(code: str) -> str:
    """The script that langcodes knows a language to be written in (its default for others is no knowledge)."""
    return str(langcodes.Language.get(code).maximize().script) if code in LIKELY_SUBTAGS else ""


def _published(iso: str, classes: Iterable[Row]) -> str:
    """The name by which Joshi et al. call a language."""
    return next((row["language"].title() for row in classes if row["iso639_3"] == iso), "")


def _resource_class(iso: str, name: str, classes: Iterable[Row]) -> str:
    """Joshi et al.'s class of a language; of several, that of the name that it has here, if any."""
    found = [row for row in classes if row["iso639_3"] == iso]
    named = [row for row in found if row["language"] == name.casefold()]
    distinct = {row["class"] for row in (found if len({row["class"] for row in found}) == 1 else named)}
    return distinct.pop() if len(distinct) == 1 else ""


def typology(folder: Path) -> Iterator[list[str]]:
    """Source, language and its distances, where anything of it is observed; of two spellings, that of the table."""
    observed = {row["language"]: row for row in read(folder / "distances.en.csv")}
    found: dict[tuple[str, str], list[str]] = {}
    for row in sorted(read(folder / "distances.csv"), key=lambda row: row["language"] != normalize(row["language"])):
        ends = (observed[row["source"]], observed[row["language"]])
        imputed = {kind for kind in KINDS for end in ends if end.get(f"observed_{kind}") == "0"}
        values = ["" if kind in imputed else row[f"distance_{kind}"] for kind in KINDS]
        found.setdefault((row["source"], _unscripted(normalize(row["language"]))), values)
    yield from ([*key, *values] for key, values in sorted(found.items()))


def _unscripted(code: str) -> str:
    return code[:-5] if code[-5:-4] == "-" else code


def main(folder: Path) -> None:
    """Write both tables."""
    rows = read(TABLE)
    columns = list(rows[0])
    kept = {row["code"]: row for row in rows if row["code"] in FIRST.split()}
    added = {row["code"]: row for row in languages(folder / "languages", kept) if row["code"] not in kept}
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(row for _, row in sorted({**added, **kept}.items()))
    with TYPOLOGY.open("w", encoding="utf-8", newline="") as file:
        file.write(NOTICE)
        distances = csv.writer(file, lineterminator="\n")
        distances.writerow(["source", "language", *KINDS])
        distances.writerows(typology(folder / "typology"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
