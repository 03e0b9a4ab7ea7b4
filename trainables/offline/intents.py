"""Task `intents`: smart-home commands in about fifty languages, out of home-assistant-intents and hassil.

Both packages are Apache-2.0. Volunteers wrote the sentence templates in each language, block by block to one plan, so
that labels mean the same everywhere. English has train, validation and test rows, every other language with enough
labels validation and test rows. The rows are a pure function of the two pinned packages and of this module.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import home_assistant_intents

from trainables.errors import UserError
from trainables.offline.fillers import fillers
from trainables.offline.templates import Draw, Fillers, Template, templates
from trainables.storage.cache import build_once

PACKAGES = {"home-assistant-intents": "2026.10.27", "hassil": "3.12.1"}
RECIPE = 1
"""Version of what `build` writes; part of the cache key."""

SOURCE = "en"
PER_LABEL = {"train": 60, "validation": 12, "test": 12}
"""Most rows of a label in each split of a language."""
LEAST_PER_LABEL = 2
"""A language has a label if each of its splits has this many rows of it."""
LEAST_LABELS = 12
"""A language with fewer labels is left out."""

_LABELS: Mapping[str, str] = {
    "HassBroadcast": "broadcast",
    "HassCancelAllTimers": "timer_cancel",
    "HassCancelTimer": "timer_cancel",
    "HassClimateGetTemperature": "temperature_get",
    "HassClimateSetTemperature": "temperature_set",
    "HassDecreaseTimer": "timer_decrease",
    "HassGetCurrentDate": "date_get",
    "HassGetCurrentTime": "time_get",
    "HassGetWeather": "weather_get",
    "HassIncreaseTimer": "timer_increase",
    "HassLightSet": "light_set",
    "HassListAddItem": "list_add",
    "HassListCompleteItem": "list_complete",
    "HassMediaNext": "media_next",
    "HassMediaPause": "media_pause",
    "HassMediaPrevious": "media_previous",
    "HassMediaUnpause": "media_resume",
    "HassPauseTimer": "timer_pause",
    "HassSetPosition": "cover_position",
    "HassSetVolume": "volume_set",
    "HassSetVolumeRelative": "volume_set",
    "HassShoppingListAddItem": "list_add",
    "HassShoppingListCompleteItem": "list_complete",
    "HassStartTimer": "timer_start",
    "HassTimerStatus": "timer_status",
    "HassUnpauseTimer": "timer_resume",
    "HassVacuumCleanArea": "vacuum_start",
    "HassVacuumStart": "vacuum_start",
}
"""Intent -> label. Catch-all intents (state queries, scripts, small talk) have none."""

_SWITCHED: Mapping[tuple[str, str], str] = {
    ("HassTurnOn", "light"): "light_on",
    ("HassTurnOff", "light"): "light_off",
    ("HassTurnOn", "fan"): "fan_on",
    ("HassTurnOff", "fan"): "fan_off",
    ("HassTurnOn", "cover"): "cover_open",
    ("HassTurnOff", "cover"): "cover_close",
}
"""On and off mean different things by domain; without a domain they mean anything."""

_NAMES_ALLOWED = frozenset(
    {
        "light_set",
        "list_add",
        "list_complete",
        "media_next",
        "media_pause",
        "media_previous",
        "media_resume",
        "temperature_get",
        "temperature_set",
        "volume_set",
        "weather_get",
    }
)
"""Labels whose sentences say what they are about even when the device has a proper name ("set Nova to 50" does not)."""

LABELS = tuple(sorted({*_LABELS.values(), *_SWITCHED.values()}))

T = TypeVar("T")
Rows = list[tuple[str, str]]
"""(text, label) pairs."""


def ensure() -> Path:
    """Folder with ``<split>.<language>.jsonl`` and ``meta.json``; built on first use (about 20 s)."""
    return build_once(_cache_key(), build, "the intents data in about fifty languages")


def build(directory: Path) -> None:
    """Write rows ``{"text", "label"}`` and `meta.json` into an existing, empty folder.

    Raises `UserError` without the exact packages: another version has other sentences.
    """
    for name, version in PACKAGES.items():
        _require(name, version)
    data = _all_languages()
    for code, language in sorted(data.items()):
        for split, rows in language.splits.items():
            lines = (json.dumps({"text": t, "label": k}, ensure_ascii=False) + "\n" for t, k in rows)
            (directory / f"{split}.{code}.jsonl").write_text("".join(lines), encoding="utf-8")
    (directory / "meta.json").write_text(json.dumps(_meta(data), indent=1) + "\n", encoding="utf-8")


def _cache_key() -> str:
    versions = json.dumps([RECIPE, PACKAGES], sort_keys=True)
    return f"intents-{hashlib.sha256(versions.encode()).hexdigest()[:12]}"


def _require(package: str, version: str) -> None:
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = "none installed"
    if found != version:
        raise UserError(f"task.name: intents needs the package {package}=={version} (got {found})")


@dataclass(frozen=True)
class _Language:
    """One language: split -> rows, and how many of its labels share no template between splits."""

    splits: Mapping[str, Rows]
    by_template: int

    @property
    def labels(self) -> list[str]:
        return sorted({label for _, label in self.splits["test"]})


def _all_languages() -> dict[str, _Language]:
    """Every language with enough labels. No text stands in two splits, not even in two languages."""
    taken: dict[str, str] = {}
    data = {}
    for code in sorted(home_assistant_intents.LANGUAGES, key=lambda code: (code != SOURCE, code)):
        language = _language(code, taken)
        if len(language.labels) >= LEAST_LABELS:
            data[code] = language
            taken |= {_essence(text): split for split, rows in language.splits.items() for text, _ in rows}
    return data


def _language(code: str, taken: Mapping[str, str]) -> _Language:
    caps = {split: n for split, n in PER_LABEL.items() if split != "train" or code == SOURCE}
    draw, filling = Draw("intents", code), fillers(code)
    drawn = {label: _draw_label(pool, filling, caps, draw) for label, pool in sorted(_pools(code, filling).items())}
    ambiguous = _ambiguous(drawn)
    rows: dict[str, Rows] = {split: [] for split in caps}
    by_template = 0
    for label, (splits, disjoint) in drawn.items():
        kept = _keep(splits, caps, ambiguous, taken)
        if min(map(len, kept.values())) >= LEAST_PER_LABEL:
            by_template += disjoint
            for split, texts in kept.items():
                rows[split] += [(text, label) for text in texts]
    return _Language({split: draw.shuffled(pairs) for split, pairs in rows.items()}, by_template)


def _pools(code: str, filling: Fillers) -> dict[str, list[Template]]:
    """Label -> the templates it is drawn from."""
    pools: dict[str, list[Template]] = defaultdict(list)
    for template in templates(code, _label):
        label = _label(template.intent, template.domain)
        named = "name" in template.lists
        if label and template.open_lists <= filling.keys() and (not named or label in _NAMES_ALLOWED):
            pools[label].append(template)
    return pools


def _label(intent: str, domain: str | None) -> str | None:
    return _LABELS.get(intent) or _SWITCHED.get((intent, domain or ""))


Splits = dict[str, list[str]]
"""Split -> texts of one label."""


def _draw_label(pool: Sequence[Template], filling: Fillers, caps: Mapping[str, int], draw: Draw) -> tuple[Splits, bool]:
    """Up to twice the texts that each split may keep, and whether its splits have no template in common."""
    if len(pool) >= len(caps):
        shares = _share(draw.shuffled(pool), caps)
        splits = {split: _sample(shares[split], 2 * cap, filling, draw) for split, cap in caps.items()}
        if min(map(len, splits.values())) >= LEAST_PER_LABEL:
            return splits, True
    return _share(_sample(pool, 2 * sum(caps.values()), filling, draw), caps), False


def _share(items: Sequence[T], caps: Mapping[str, int]) -> dict[str, list[T]]:
    """Divide between validation and test, after three fifths for train if there is one."""
    held = max(1, len(items) // 5) if "train" in caps else len(items) // 2
    end = 2 * held if "train" in caps else len(items)
    shares = {"train": items[end:], "validation": items[:held], "test": items[held:end]}
    return {split: list(shares[split]) for split in caps}


def _sample(pool: Sequence[Template], limit: int, filling: Fillers, draw: Draw) -> list[str]:
    """Different texts from all templates in turn, until there are enough or four rounds bring nothing new."""
    found: dict[str, str] = {}
    idle = 0
    while len(found) < limit and idle < 4:
        before = len(found)
        for template in draw.shuffled(pool):
            text = template.sample(filling, draw)
            if essence := _essence(text):
                found.setdefault(essence, text)
            if len(found) == limit:
                break
        idle = idle + 1 if len(found) == before else 0
    return list(found.values())


def _ambiguous(drawn: Mapping[str, tuple[Splits, bool]]) -> set[str]:
    """Texts that were drawn for more than one label."""
    by_label = [{_essence(t) for texts in splits.values() for t in texts} for splits, _ in drawn.values()]
    counts = Counter(essence for essences in by_label for essence in essences)
    return {essence for essence, n in counts.items() if n > 1}


def _keep(splits: Splits, caps: Mapping[str, int], ambiguous: set[str], taken: Mapping[str, str]) -> Splits:
    """At most `caps` texts of one label, unambiguous and each in one split alone."""
    mine: dict[str, str] = {}
    kept: Splits = {split: [] for split in splits}
    for split, texts in splits.items():
        for text in texts:
            essence = _essence(text)
            free = essence not in ambiguous and taken.get(essence, split) == split and essence not in mine
            if free and len(kept[split]) < caps[split]:
                mine[essence] = split
                kept[split].append(text)
    return kept


def _essence(text: str) -> str:
    """What makes two texts the same: letters, marks and numbers, without case, width and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split())


def _meta(data: Mapping[str, _Language]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for code, language in sorted(data.items()):
        for split, rows in sorted(language.splits.items()):
            for row in rows:
                digest.update(json.dumps([split, code, *row], ensure_ascii=False).encode() + b"\n")
    languages = {
        code: {split: len(rows) for split, rows in language.splits.items()}
        | {"labels": len(language.labels), "labels_split_by_template": language.by_template}
        for code, language in sorted(data.items())
    }
    return {
        "labels": LABELS,
        "languages": languages,
        "fingerprint": digest.hexdigest(),
        "packages": PACKAGES,
        "recipe": RECIPE,
        "licence": "Apache-2.0",
    }
