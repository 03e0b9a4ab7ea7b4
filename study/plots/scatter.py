"""A chart drawn with Matplotlib, which needs neither a browser nor a screen: panels, legend, colour bar, caption.

Every point can be told by its place in ``POINTS-panel-part`` (the identifier of its group in an SVG file) and in
`Drawn.hovers`, so that a page can say what it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine

from study.plots import marks, scales
from study.plots.chart import Chart
from study.plots.marks import Colours, Part
from study.plots.quantities import Quantity
from study.reporting.style import GREY, GRID, INK

POINTS = "points"
COLUMNS = 3
"""Panels side by side."""
WIDEST = 22.0
"""Inches of the widest figure."""
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Arial Unicode MS", "PingFang SC")
"""The first comes with Matplotlib; the others have letters that it lacks."""
INSTALLED = [name for name in FONTS if name in fontManager.get_font_names()]

STYLE = {
    "font.family": INSTALLED, "font.size": 9.5, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": GREY, "axes.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "axes.formatter.useoffset": False, "axes.formatter.limits": (-4, 6),
    "grid.color": GRID, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "legend.frameon": False, "svg.hashsalt": "study", "figure.facecolor": "white",
}  # fmt: skip


@dataclass
class Drawn:
    """A figure, and what each of its points is."""

    figure: Figure
    hovers: dict[str, list[str]] = field(default_factory=dict)
    """Identifier of a group of points -> a text for each, in the order in which they are drawn."""


def draw(chart: Chart) -> Drawn:
    """The figure of a chart."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        columns = min(COLUMNS, len(chart.ys))
        rows = -(-len(chart.ys) // columns)
        width, height = _inches(chart, columns, rows)
        drawn = Drawn(_sheet(chart, width, height))
        panels = drawn.figure.subplots(rows, columns, squeeze=False, sharex=True)
        colours = marks.colours_of(chart)
        parts = list(marks.parts_of(chart, colours))
        used: list[Axes] = list(panels.flat[: len(chart.ys)])
        for index, (axes, y) in enumerate(zip(used, chart.ys, strict=True)):
            _panel(drawn, axes, chart, y, parts, index)
            axes.set_ylabel(scales.wrapped(y.label, height / rows - 0.6))
        for axes in panels.flat[len(chart.ys) :]:
            axes.remove()
        for axes in used[-columns:]:  # those without a panel below them
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(scales.wrapped(chart.x.label, width / columns))
        _explain(drawn.figure, chart, used, parts, colours)
        return drawn


def _inches(chart: Chart, columns: int, rows: int) -> tuple[float, float]:
    """Width and height of all panels, with room for the names of many categories."""
    width, height = (7.2, 4.4) if columns == 1 else (1.2 + 4.0 * columns, 3.6 * rows)
    names = scales.categories(chart, chart.x)
    tall = 0.1 * np.sin(np.radians(scales.slanted(names))) * max([len(scales.cut(n)) for n in names], default=0)
    height += tall + 0.22 * max(0, max(len(scales.categories(chart, q)) for q in chart.ys) - scales.MANY)
    width += 0.2 * max(0, len(names) - scales.MANY) * columns
    return min(width, WIDEST), float(height)


def _sheet(chart: Chart, width: float, height: float) -> Figure:
    """An empty figure with its title above and its note below a space of this size."""
    title, note = textwrap.wrap(_legible(chart.title), int(width * 10.2)), textwrap.wrap(chart.note, int(width * 17.5))
    above, below = 0.1 + 0.2 * len(title), 0.12 + 0.165 * len(note)
    total = height + above + below
    space = ConstrainedLayoutEngine(rect=(0, below / total, 1, height / total))
    figure = Figure(figsize=(width, total), layout=space)
    figure.text(0.08 / width, 1 - 0.08 / total, "\n".join(title), va="top", fontsize=11, weight="bold")
    figure.text(0.08 / width, 0.06 / total, "\n".join(note), va="bottom", fontsize=8, color="#444444")
    return figure


def _legible(title: str) -> str:
    """A title, or the name that it begins with where no font has the letters of the rest."""
    there = {letter for name in INSTALLED for letter in get_font(findfont(name)).get_charmap()}
    return title if {ord(c) for c in title if not c.isspace()} <= there else title.partition(":")[0]


def _panel(drawn: Drawn, axes: Axes, chart: Chart, y: Quantity, parts: Sequence[Part], index: int) -> None:
    for number, part in enumerate(parts):
        rows = part.rows[part.rows[chart.x.name].notna() & part.rows[y.name].notna()]
        if rows.empty:
            continue
        across, up = scales.places(chart, chart.x, rows), scales.places(chart, y, rows)
        colour = part.colour.of(rows) if isinstance(part.colour, Colours) else part.colour
        if chart.joined:
            _join(axes, rows, across, up, colour)
        dots = _dots(axes, across, up, part, colour)
        name = f"{POINTS}-{index}-{number}"
        dots.set_gid(name)
        drawn.hovers[name] = [marks.hover(chart, y, row) for row in rows.to_dict("records")]
    scales.scale(axes.xaxis, chart, chart.x, chart.log_x)
    scales.scale(axes.yaxis, chart, y, chart.log_y)
    _references(axes, chart, y)


def _dots(axes: Axes, across: Sequence[float], up: Sequence[float], part: Part, colour: Any) -> PathCollection:
    look: dict[str, Any] = {"color": colour, "linewidths": 0.5}
    if part.hollow:
        look = {"facecolors": "white", "edgecolors": colour, "linewidths": 1.2}
    return axes.scatter(across, up, s=26, marker=part.marker, alpha=0.85, zorder=3, **look)


def _join(axes: Axes, rows: pd.DataFrame, across: Any, up: Any, colour: Any) -> None:
    """A line through the evaluations of each trial."""
    for positions in rows.reset_index(drop=True).groupby("trial").indices.values():
        own = colour if isinstance(colour, str) else colour[positions[0]]
        axes.plot(np.asarray(across)[positions], np.asarray(up)[positions], color=own, linewidth=1.1, zorder=2)


def _references(axes: Axes, chart: Chart, y: Quantity) -> None:
    """Dashed lines at the baseline, and a bar at the mean of each category."""
    line: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 1}
    if np.isfinite(level := chart.reference(y)):
        axes.axhline(level, **line)
    if chart.x.kind == "score" and np.isfinite(level := chart.reference(chart.x)):
        axes.axvline(level, **line)
    heights = chart.numbers(y)
    if heights is None or chart.numbers(chart.x) is not None:
        return
    for place, name in enumerate(scales.categories(chart, chart.x)):
        own = heights[chart.points[chart.x.name].map(str) == name].dropna()
        if len(own) > 1:
            axes.plot([place - 0.36, place + 0.36], [own.mean()] * 2, color=INK, linewidth=1.6, zorder=4)


def _explain(
    figure: Figure, chart: Chart, panels: Sequence[Axes], parts: Sequence[Part], colours: Colours | None
) -> None:
    """A colour bar, and a legend where more than one kind of points is to be told apart."""
    if colours is not None:
        bar = figure.colorbar(ScalarMappable(colours.norm, colours.map), ax=panels, pad=0.02, aspect=30)
        bar.set_label(scales.wrapped(colours.quantity.label, 2.6))
        bar.outline.set_visible(False)
        values = chart.numbers(colours.quantity)
        assert values is not None, "a numeric colour has numbers"
        scales.number_ticks(bar.ax.yaxis, colours.quantity, values.dropna(), isinstance(colours.norm, LogNorm))
    shown = [p for p in parts if len(p.rows) and p.rows[chart.x.name].notna().any()]
    if len(shown) < 2 and not (shown and chart.colour is not None and colours is None):
        return
    handles = []
    for part in shown:
        colour = GREY if isinstance(part.colour, Colours) else part.colour
        handles.append(_dots(panels[0], [], [], part, colour))
        handles[-1].set_label(scales.cut(part.label))
    title = scales.wrapped(chart.colour.label, 2.4) if chart.colour is not None and colours is None else None
    figure.legend(
        handles=handles,
        loc="outside right center",
        title=title,
        alignment="left",
        fontsize=8.5,
        ncols=-(-len(shown) // 18),
    )
