"""A chart drawn with Matplotlib, which needs neither a browser nor a screen: panels, legend, colour bar, caption.

Every point can be told by its place in ``POINTS-panel-part`` (the identifier of its group in an SVG file) and in
`Drawn.hovers`, so that a page can say what it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from study.reporting.chart import BASELINE, Chart
from study.reporting.quantities import Quantity
from study.reporting.style import ACCENT, GREY, GRID, INK, SECOND, SERIES_COLOURS

POINTS = "points"
COLUMNS = 3
"""Panels side by side."""
SPREAD = 0.28
"""How far the points of a category reach to either side, in distances between categories."""
SEQUENTIAL = "cividis"
"""Colours of numbers: even in lightness, and alike for readers who see colours differently (Nuñez et al. 2018)."""
MARKERS = ("o", "D", "s", "^", "v", "P")
ROLES = {"trial": ("o", ACCENT), BASELINE: ("X", INK)}
"""Marker and colour of the trials of a role, where nothing else gives them one."""
OTHER = ("D", SECOND)
"""The same of controls."""
CROWDED = 45
"""Characters of category labels that fit side by side below one panel."""

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

    def of(self, values: npt.ArrayLike) -> Any:
        """Colours of values."""
        return self.map(self.norm(np.asarray(values, dtype=float)))


def draw(chart: Chart) -> Drawn:
    """The figure of a chart."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        columns = min(COLUMNS, len(chart.ys))
        rows = -(-len(chart.ys) // columns)
        width, height = (7.2, 4.4) if columns == 1 else (1.2 + 4.0 * columns, 3.6 * rows)
        height += 0.22 * max(0, max(len(_categories(chart, q)) for q in chart.ys) - 12)
        width = min(width + 0.2 * max(0, len(_categories(chart, chart.x)) - 12) * columns, 22.0)
        title = textwrap.wrap(_legible(chart.title), int(width * 10.2))
        note = textwrap.wrap(chart.note, int(width * 17.5))
        above, below = 0.1 + 0.2 * len(title), 0.12 + 0.165 * len(note)
        total = height + above + below
        figure = Figure(figsize=(width, total), layout="constrained")
        figure.get_layout_engine().set(rect=(0, below / total, 1, 1 - (above + below) / total))  # type: ignore[call-arg,union-attr]
        figure.text(0.08 / width, 1 - 0.08 / total, "\n".join(title), va="top", fontsize=11, weight="bold")
        figure.text(0.08 / width, 0.06 / total, "\n".join(note), va="bottom", fontsize=8, color="#444444")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
        drawn = Drawn(figure)
        colours = _colours(chart)
        parts = list(_parts(chart, colours))
        for index, axes in enumerate(panels.flat):
            if index < len(chart.ys):
                _panel(drawn, axes, chart, chart.ys[index], parts, index)
                axes.set_ylabel(_wrapped(chart.ys[index].label, height / rows - 0.6))
            else:
                axes.remove()
        used = list(panels.flat[: len(chart.ys)])
        for axes in used[-columns:]:  # those without a panel below them
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(_wrapped(chart.x.label, width / columns))
        _explain(figure, chart, used, parts, colours)
        return drawn


def _legible(title: str) -> str:
    """A title, or the name that it begins with where no font has the letters of the rest."""
    there = {letter for name in INSTALLED for letter in get_font(findfont(name)).get_charmap()}
    return title if {ord(c) for c in title if not c.isspace()} <= there else title.partition(":")[0]


def _panel(drawn: Drawn, axes: Axes, chart: Chart, y: Quantity, parts: Sequence[Part], index: int) -> None:
    for number, part in enumerate(parts):
        rows = part.rows[part.rows[chart.x.name].notna() & part.rows[y.name].notna()]
        if rows.empty:
            continue
        across, up = _places(chart, chart.x, rows), _places(chart, y, rows)
        colour = (
            part.colour.of(_scaled(rows, part.colour.quantity)) if isinstance(part.colour, Colours) else part.colour
        )
        if chart.joined:
            _join(axes, rows, across, up, colour)
        dots = _dots(axes, across, up, part, colour)
        name = f"{POINTS}-{index}-{number}"
        dots.set_gid(name)
        drawn.hovers[name] = [_hover(chart, y, row) for row in rows.to_dict("records")]
    _axis(axes.xaxis, chart, chart.x, chart.log_x)
    _axis(axes.yaxis, chart, y, chart.log_y)
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
    for place, name in enumerate(_categories(chart, chart.x)):
        own = heights[chart.points[chart.x.name].map(str) == name].dropna()
        if len(own) > 1:
            axes.plot([place - 0.36, place + 0.36], [own.mean()] * 2, color=INK, linewidth=1.6, zorder=4)


def _axis(axis: Axis, chart: Chart, quantity: Quantity, log: bool) -> None:
    """Ticks and scale: categories in their order, or numbers."""
    values = chart.numbers(quantity)
    if values is not None:
        (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log" if log else "linear")
        _number_ticks(axis, quantity, values.dropna(), log)
        return
    names = _categories(chart, quantity)
    axis.set_major_locator(FixedLocator(range(len(names))))
    axis.set_major_formatter(FuncFormatter(lambda v, _: _cut(names[round(v)]) if 0 <= round(v) < len(names) else ""))
    axis.set_view_interval(-0.6, len(names) - 0.4, ignore=True)
    axis.set_tick_params(length=0)
    if isinstance(axis, XAxis) and sum(map(len, names)) + 2 * len(names) > CROWDED:
        axis.set_tick_params(labelrotation=90 if len(names) > 12 else 35)
        upright = "center" if len(names) > 12 else "top"
        for label in axis.get_ticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor", verticalalignment=upright)


def _number_ticks(axis: Axis, quantity: Quantity, known: pd.Series[float], log: bool) -> None:
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


def _categories(chart: Chart, quantity: Quantity) -> list[str]:
    """Names of the categories on an axis, in the order in which they come; none of a numeric one."""
    if chart.numbers(quantity) is not None:
        return []
    values = chart.placed[quantity.name].dropna()
    return list(map(str, sorted(values.unique()) if quantity.is_category else values.drop_duplicates()))


def _places(chart: Chart, quantity: Quantity, rows: pd.DataFrame) -> list[float]:
    """Coordinates of rows on an axis; the points of a category are spread evenly to its sides."""
    values = chart.numbers(quantity)
    if values is not None:
        return [float(v) for v in values[rows.index]]
    names = _categories(chart, quantity)
    members = chart.placed.groupby(chart.placed[quantity.name].map(str)).indices
    labels = list(chart.placed.index)
    offset = {
        labels[row]: shift
        for positions in members.values()
        for row, shift in zip(positions, _shifts(len(positions)), strict=True)
    }
    return [names.index(str(v)) + offset[i] for i, v in rows[quantity.name].items()]


def _shifts(count: int) -> npt.NDArray[np.float64]:
    """Evenly spread, neighbours apart: in the middle, then right and left by turns."""
    order = np.argsort(np.argsort([(i * 0.618034) % 1 for i in range(count)]))
    return SPREAD * (2 * order / max(count - 1, 1) - 1) if count > 1 else np.zeros(1)


def _scaled(rows: pd.DataFrame, quantity: Quantity) -> npt.NDArray[np.float64]:
    return quantity.scale * rows[quantity.name].to_numpy(dtype=float)


def _colours(chart: Chart) -> Colours | None:
    """The map of a numeric colour; logarithmic where the space declares it so."""
    from matplotlib import colormaps

    values = None if chart.colour is None else chart.numbers(chart.colour)
    if chart.colour is None or values is None:
        return None
    low, high = float(values.min()), float(values.max())
    kind = LogNorm if chart.colour.log and 0 < low < high else Normalize
    return Colours(chart.colour, kind(low, high), colormaps[SEQUENTIAL])


def _parts(chart: Chart, colours: Colours | None) -> Iterator[Part]:
    """The points by their look: by colour, and by role where they have none."""
    rows = chart.points
    if chart.colour is None:
        yield from _roles(rows)
        return
    bare = rows[chart.colour.name].isna()
    if colours is not None:
        for role, part in rows[~bare].groupby("role", sort=False):
            yield Part(str(role), part, ROLES.get(str(role), OTHER)[0], colours)
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
        marker, colour = ROLES.get(str(role), OTHER)
        is_bare = bool(note) and role == "trial"
        yield Part(f"{role}{note * is_bare}", part, marker, GREY if is_bare else colour, hollow=role not in ROLES)


def _explain(
    figure: Figure, chart: Chart, panels: Sequence[Axes], parts: Sequence[Part], colours: Colours | None
) -> None:
    """A colour bar, and a legend where more than one kind of points is to be told apart."""
    if colours is not None:
        bar = figure.colorbar(ScalarMappable(colours.norm, colours.map), ax=panels, pad=0.02, aspect=30)
        bar.set_label(_wrapped(colours.quantity.label, 4.4))
        bar.outline.set_visible(False)
        values = chart.numbers(colours.quantity)
        assert values is not None, "a numeric colour has numbers"
        _number_ticks(bar.ax.yaxis, colours.quantity, values.dropna(), isinstance(colours.norm, LogNorm))
    shown = [p for p in parts if len(p.rows) and p.rows[chart.x.name].notna().any()]
    if len(shown) < 2 and not (shown and chart.colour is not None and colours is None):
        return
    handles = []
    for part in shown:
        colour = GREY if isinstance(part.colour, Colours) else part.colour
        handles.append(_dots(panels[0], [], [], part, colour))
        handles[-1].set_label(_cut(part.label))
    title = _wrapped(chart.colour.label, 2.4) if chart.colour is not None and colours is None else None
    figure.legend(
        handles=handles,
        loc="outside right center",
        title=title,
        alignment="left",
        fontsize=8.5,
        ncols=-(-len(shown) // 18),
    )


def _hover(chart: Chart, y: Quantity, row: dict[Any, Any]) -> str:
    """What a point is, in a line each: its trial, and its values as the axes have them."""
    head = f"trial {row['trial']}" + (f" ({row['role']})" if row["role"] != "trial" else "")
    quantities = dict.fromkeys(q for q in (chart.x, y, chart.colour) if q is not None)
    return "\n".join([head, *(f"{q.label}: {_shown(q, row[q.name])}" for q in quantities)])


def _shown(quantity: Quantity, value: object) -> str:
    if not isinstance(value, int | float) or quantity.is_category:
        return str(value)
    return f"{quantity.scale * value:.4g}"


def _cut(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:31]}…"


def _wrapped(label: str, inches: float) -> str:
    return "\n".join(textwrap.wrap(label, int(inches * 11)))
