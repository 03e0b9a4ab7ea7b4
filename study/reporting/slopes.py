"""Which languages gain more, of every fact that is known of them, also what nobody claims: tables and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pandas as pd

from study.analysis import crossed
from study.analysis.crossed import Covariate, Slope
from study.reporting import words
from study.reporting.table import Table

FACTS: tuple[Covariate, ...] = (
    "resource_class", "distance", "log_pretraining_size", "other_script", "fertility",
)  # fmt: skip
"""Facts that slopes are told of."""

Both: TypeAlias = tuple[Slope, Slope]
"""As languages are, and at equal baseline score."""


def find(cells: pd.DataFrame, configurations: Sequence[str]) -> Iterator[Both]:
    """Of each configuration on each fact; of one that nothing is known of, nothing is told."""
    known = cells[list(FACTS)].notna().any()
    for configuration in configurations:
        for fact in filter(known.get, FACTS):
            plain, adjusted = (crossed.slope(cells, configuration, fact, adjusted) for adjusted in (False, True))
            yield plain, adjusted


def table(name: str, caption: str, of: str, found: Sequence[Both]) -> Table:
    """One row per configuration, whose column is called `of`, and fact."""
    rows = tuple(
        (
            plain.configuration, crossed.COVARIATES[plain.covariate], f"{plain.languages} in {plain.tasks}",
            words.points(plain.estimate), words.span(plain.interval), words.points(adjusted.estimate),
            words.span(adjusted.interval),
        )
        for plain, adjusted in found
    )  # fmt: skip
    titles = (of, "per", "languages in tasks", "slope", "95 %", "at equal baseline", "95 %")
    return Table(name, caption, titles, rows, (0, 1))


def frame(found: Sequence[Both]) -> pd.DataFrame:
    """The numbers, unrounded, as fractions."""
    rows = [
        {
            "point": each.configuration, "fact": each.covariate, "adjusted": each.adjusted, "slope": each.estimate,
            "low": each.interval.low, "high": each.interval.high, "p": each.p, "languages": each.languages,
            "tasks": each.tasks, "dropped": " ".join(each.dropped),
        }
        for both in found
        for each in both
    ]  # fmt: skip
    return pd.DataFrame(rows)
