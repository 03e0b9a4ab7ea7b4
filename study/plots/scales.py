"""The axes of a figure: places of values, ticks, and room for names."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from study.plots.chart import Chart
from study.plots.quantities import Quantity

SPREAD = 0.28
"""How far the points of a category reach to either side, in distances between categories."""
MANY = 12
"""Categories on an axis from which on it grows."""
CROWDED = 45
"""Characters of category labels that fit side by side below one panel."""


def scale(axis: Axis, chart: Chart, quantity: Quantity, log: bool) -> None:
    """Ticks and scale: categories in their order, or numbers."""
    values = chart.numbers(quantity)
    if values is not None:
        (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log" if log else "linear")
        number_ticks(axis, quantity, values.dropna(), log)
        return
    names = categories(chart, quantity)
    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FuncFormatter(lambda v, _: cut(names[round(v)]) if 0 <= round(v) < len(names) else ""))
    axis.set_view_interval(-0.6, len(names) - 0.4, ignore=True)
    axis.set_tick_params(length=0)
    if isinstance(axis, XAxis) and (slant := slanted(names)):
        axis.set_tick_params(labelrotation=slant)
        upright = "center" if slant == 90 else "top"
        for label in axis.get_ticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor", verticalalignment=upright)


def slanted(names: Sequence[str]) -> int:
    """Degrees by which names below an axis are turned; 0 where they fit side by side."""
    return 0 if sum(map(len, names)) + 2 * len(names) <= CROWDED else 90 if len(names) > MANY else 35


def number_ticks(axis: Axis, quantity: Quantity, known: pd.Series[float], log: bool) -> None:
    """Whole numbers where there are no others; 1-2-5 on a logarithmic scale."""
    if log:
        levels = sorted(known.unique())
        is_design = quantity.kind == "parameter" and len(known) > len(levels)
        ticks = levels if is_design and _far_apart(levels) else _log_ticks(levels[0], levels[-1])
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        axis.set_minor_formatter(NullFormatter())
    elif (known % 1 == 0).all() and quantity.scale == 1:
        axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def _far_apart(levels: Sequence[float]) -> bool:
    """Whether a few levels leave room for a label at each, on a logarithmic scale."""
    steps = np.diff(np.log(levels))
    return 1 < len(levels) <= 7 and bool(steps.min() > steps.sum() / 8)


def _log_ticks(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten; at powers alone over many, at even distances within a narrow range."""
    exponents = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if high / low < 3000 else (1,)
    ticks = [m * 10.0**e for e in exponents for m in steps]
    if sum(low <= t <= high for t in ticks) >= 3:
        return ticks
    return [float(t) for t in MaxNLocator(5).tick_values(low, high) if t > 0]


def categories(chart: Chart, quantity: Quantity) -> list[str]:
    """Names of the categories on an axis, in the order in which they come; none of a numeric one."""
    if chart.numbers(quantity) is not None:
        return []
    values = chart.placed[quantity.name].dropna()
    return list(map(str, sorted(values.unique()) if quantity.is_category else values.drop_duplicates()))


def places(chart: Chart, quantity: Quantity, rows: pd.DataFrame) -> list[float]:
    """Coordinates of rows on an axis; the points of a category are spread evenly to its sides."""
    values = chart.numbers(quantity)
    if values is not None:
        return [float(v) for v in values[rows.index]]
    names = categories(chart, quantity)
    members = chart.placed.groupby(chart.placed[quantity.name].map(str)).indices
    labels = list(chart.placed.index)
    offset = {
        labels[row]: shift
        for positions in members.values()
        for row, shift in zip(positions, _shifts(len(positions)), strict=True)
    }
    return [names.index(str(v)) + offset[i] for i, v in rows[quantity.name].items()]


def _shifts(count: int) -> npt.NDArray[np.float64]:
    """Evenly spread, in an order that keeps those that follow one another apart (by the golden ratio)."""
    order = np.argsort(np.argsort([(i * 0.618034) % 1 for i in range(count)]))
    return SPREAD * (2 * order / max(count - 1, 1) - 1) if count > 1 else np.zeros(1)


def cut(text: str) -> str:
    """The beginning of a long name."""
    return text if len(text) <= 32 else f"{text[:31]}…"


def wrapped(label: str, inches: float) -> str:
    """A label in lines of this length."""
    return "\n".join(textwrap.wrap(label, int(inches * 11)))
