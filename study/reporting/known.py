"""What is known of anyone's results beside their rows: what the user says, what a column says, or what follows."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from study.question import objectives
from study.question.config import StudyConfig
from study.reporting.source import HEADLINE

ASSUMED_SOURCE = "en"
"""The source language where none is named and this one is there."""


@dataclass(frozen=True)
class Said:
    """What the user says of the results; None: it follows from them, or is not known."""

    source: str | None = None
    headline: str | None = None
    endpoint: str | None = None
    controls: tuple[str, ...] = ()
    """Configurations that are control (a)."""
    metric: str | None = None


@dataclass(frozen=True)
class Known:
    """A fact of the results, and where it is from, in words."""

    value: str | None
    words: str


def _column(part: pd.DataFrame, name: str) -> str | None:
    """The one value of a column that is about the whole study."""
    values = [] if name not in part.columns else [v for v in part[name].dropna().unique() if str(v)]
    return str(values[0]) if len(values) == 1 else None


def source_language(part: pd.DataFrame, said: Said) -> Known:
    """The language trained on: as named, else the assumed one if it is scored."""
    if (given := said.source or _column(part, "source_language")) is not None:
        scored = "" if objectives.spellings([given]) & set(map(str, part["language"])) else ", which is not scored here"
        return Known(given, f"{given}{scored}")
    if ASSUMED_SOURCE in set(part["language"]):
        return Known(ASSUMED_SOURCE, f"{ASSUMED_SOURCE}, assumed: none is named (--source)")
    return Known(None, "not known: every language counts as a target (--source)")


def headline(part: pd.DataFrame, said: Said) -> Known:
    """The configuration that is the claim: as named, else ``winner``, else the only one that is no control."""
    possible = candidates(part)
    if (given := said.headline or _column(part, "headline")) is not None:
        return Known(given, f"{given}, as named")
    if HEADLINE in possible:
        return Known(HEADLINE, f"{HEADLINE}, by its name")
    if len(possible) == 1:
        return Known(possible[0], f"{possible[0]}, the only configuration that is no control")
    return Known(None, "")


def candidates(part: pd.DataFrame) -> list[str]:
    """Configurations that are no controls, sorted."""
    return sorted(map(str, part.loc[part["control"] == "", "configuration"].unique()))


def endpoint(part: pd.DataFrame, said: Said, config: StudyConfig) -> Known:
    """What is claimed: as named, else a mean over low-resource or all targets; one language stands for itself."""
    if (given := said.endpoint or _column(part, "endpoint")) is not None:
        return Known(given, given)
    scored = languages(part)
    if len(scored) == 1:
        return Known(f"language:{scored[0]}", f"language:{scored[0]}, the only one there is")
    low = objectives.members_of("low_resource_mean", scored, config)
    name = "low_resource_mean" if len(low) >= objectives.SMALLEST_GROUP else "target_mean"
    return Known(name, f"{name}, by default: none is named (--endpoint)")


def languages(part: pd.DataFrame) -> list[str]:
    """Languages scored, sorted."""
    return sorted(map(str, part["language"].dropna().unique()))


def config_of(source: str | None, endpoint: str | None = None) -> StudyConfig:
    """A default configuration that has the source language and the endpoint; of an unknown source, the assumed one."""
    task = {"source_language": source or ASSUMED_SOURCE}
    protocol = {} if endpoint is None else {"primary_endpoint": endpoint}
    return StudyConfig.model_validate({"name": "results", "trial": {"task": task}, "protocol": protocol})
