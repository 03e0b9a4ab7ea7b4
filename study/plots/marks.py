"""The points of a figure by their look: colours, markers, and what each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import Colormap, LogNorm, Normalize

from study.plots.chart import BASELINE, Chart
from study.plots.quantities import Quantity
from study.reporting.style import ACCENT, GREY, INK, SECOND, SERIES_COLOURS

SEQUENTIAL = "cividis"
"""Colours of numbers: even in lightness, and alike for readers who see colours differently (Nuñez et al. 2018)."""
MARKERS = ("o", "D", "s", "^", "v", "P")
CONTROLS = {"control b": "s", "control c": "D", "control d": "^", "control e": "v"}
"""Markers of the controls, which are hollow where nothing gives them a colour."""
ROLES = {"trial": ("o", ACCENT), BASELINE: ("X", INK), **{name: (marker, SECOND) for name, marker in CONTROLS.items()}}
"""Marker and colour of the trials of a role, where nothing else gives them one."""


@dataclass(frozen=True)
class Part:
    """Points that look alike."""

    label: str
    rows: pd.DataFrame
    marker: str
    colour: Any
    """A colour, or numbers under `Colours`."""
    hollow: bool = False


@dataclass(frozen=True)
class Colours:
    """The map of a numeric colour."""

    quantity: Quantity
    norm: Normalize
    map: Colormap

    def of(self, rows: pd.DataFrame) -> Any:
        """Colours of rows."""
        values = self.quantity.scale * rows[self.quantity.name].to_numpy(dtype=float)
        return self.map(self.norm(values))


def colours_of(chart: Chart) -> Colours | None:
    """The map of a numeric colour; logarithmic where the space declares it so."""
    values = None if chart.colour is None else chart.numbers(chart.colour)
    if chart.colour is None or values is None:
        return None
    low, high = float(values.min()), float(values.max())
    kind = LogNorm if chart.colour.log and 0 < low < high else Normalize
    return Colours(chart.colour, kind(low, high), colormaps[SEQUENTIAL])


def parts_of(chart: Chart, colours: Colours | None) -> Iterator[Part]:
    """The points by their look: by colour, and by role where they have none."""
    rows = chart.points
    if chart.colour is None:
        yield from _roles(rows)
        return
    bare = rows[chart.colour.name].isna()
    if colours is not None:
        for role, part in rows[~bare].groupby("role", sort=False):
            yield Part(str(role), part, ROLES[str(role)][0], colours)
    else:
        of = chart.colour.name
        values = rows.loc[~bare, of]
        names = sorted(values.unique()) if chart.colour.is_category else list(values.drop_duplicates())
        for which, value in enumerate(names):
            look = SERIES_COLOURS[which % len(SERIES_COLOURS)]
            marker = MARKERS[(which + which // len(MARKERS)) % len(MARKERS)]
            yield Part(str(value), rows[rows[of] == value], marker, look)
    yield from _roles(rows[bare], " (no value)")


def _roles(rows: pd.DataFrame, note: str = "") -> Iterator[Part]:
    """Points without a colour of their own."""
    for role, part in rows.groupby("role", sort=False):
        marker, colour = ROLES[str(role)]
        is_bare = bool(note) and role == "trial"
        hollow = is_bare or role in CONTROLS
        yield Part(f"{role}{note * is_bare}", part, marker, GREY if is_bare else colour, hollow)


def hover(chart: Chart, y: Quantity, row: dict[Any, Any]) -> str:
    """What a point is, in a line each: its trial, and its values as the axes have them."""
    head = f"trial {row['trial']}" + (f" ({row['role']})" if row["role"] != "trial" else "")
    quantities = dict.fromkeys(q for q in (chart.x, y, chart.colour) if q is not None)
    return "\n".join([head, *(f"{q.label}: {_shown(q, row[q.name])}" for q in quantities)])


def _shown(quantity: Quantity, value: object) -> str:
    if not isinstance(value, int | float) or quantity.is_category:
        return str(value)
    return f"{quantity.scale * value:.4g}"
