"""Published lists of the languages that encoders were pretrained on: ``pretraining.csv``, ``.yaml`` for the sources.

Which list is an encoder's is in the catalogue of encoders; what is on none is not guessed at.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import yaml

XLM_R = "XLM-R"
"""The list that `seen` and `unseen` are about where no encoder is known."""

Lists = Sequence[str | None]
"""Names of the lists of some encoders; None for an encoder without one."""


@dataclass(frozen=True)
class Pretraining:
    """One published list."""

    name: str
    source: str
    amounts: Mapping[str, float | None]
    """Code -> amount of text; None where no amount is published."""
    unit: str = ""


@cache
def lists() -> Mapping[str, Pretraining]:
    """All lists by name."""
    amounts: dict[str, dict[str, float | None]] = {}
    for row in csv.DictReader(_text("pretraining.csv").splitlines()):
        amounts.setdefault(row["list"], {})[row["code"]] = float(row["amount"]) if row["amount"] else None
    known = yaml.safe_load(_text("pretraining.yaml"))
    return MappingProxyType({name: Pretraining(name, amounts=amounts[name], **facts) for name, facts in known.items()})


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def words(names: Lists) -> str:
    """Whose lists they are: ``XLM-R``, ``XLM-R and mBERT``, or ``unknown``.

    >>> words(["mBERT", "XLM-R", "XLM-R"]), words([None])
    ('mBERT and XLM-R', 'unknown')
    """
    return " and ".join(dict.fromkeys(name or "unknown" for name in names))
