"""The common look of all figures, in Plotly. Drawn as SVG alone (no WebGL): they print, and need no graphics card.

Scores and gains are in points (hundredths). Colours tell resource classes apart, warm for few resources; so do symbols.
All palettes are told apart by colour-blind eyes too (tests/study/reporting/test_style.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

INK, GREY, FAINT, GRID = "#222222", "#777777", "#d0d0d0", "#efefef"
ACCENT, SECOND, PALE = "#1f4e79", "#b3401f", "#9db4c9"
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

CLASS_COLOURS = {0: "#7f0000", 1: "#b3401f", 2: "#e08a4f", 3: "#8c8c8c", 4: "#6fa3cf", 5: "#1f4e79"}
CLASS_SYMBOLS = {0: "x", 1: "diamond", 2: "triangle-up", 3: "square", 4: "pentagon", 5: "circle"}
SERIES_COLOURS = ("#1f4e79", "#b3401f", "#8c47d1", "#70a5db", "#673131", "#c49686")
SERIES_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")
DIVERGING = [[0.0, "#c0561b"], [0.25, "#f0a56b"], [0.5, "#f7f7f7"], [0.75, "#92bfdd"], [1.0, "#2b6ca3"]]

RADIUS = 9
"""Pixels around a value that its marker takes at most, with some air."""

BEYOND = "beyond"
"""Of a trace of arrows at the edge of an axis, one for each point that lies beyond it: Plotly's ``meta``."""

TOP = 40
"""Pixels above the plot: room for the legend and the browser's tool bar."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure; `name` is its anchor, `caption` says what is seen and how to read it.

    `data` is the name of the file of its numbers, beside the page and less its ``.csv`` (`files.frames`).
    """

    name: str
    caption: str
    drawing: go.Figure
    data: str


def finish(drawing: go.Figure, height: int, left: int = 70, top: int = TOP) -> go.Figure:
    """Apply the common look; `height` and margins in pixels."""
    drawing.update_layout(
        template="none",
        height=height,
        autosize=True,
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": left, "r": 24, "t": top, "b": 56},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"font": {"family": FONT, "size": 12}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
    )
    for update in (drawing.update_xaxes, drawing.update_yaxes):
        update(showline=True, linecolor=GREY, ticks="outside", tickcolor=GREY, gridcolor=GRID, zeroline=False)
        update(title={"font": {"size": 13}, "standoff": 8})
    return drawing


def holding(values: Iterable[float], pixels: float, log: bool = False) -> list[float]:
    """The range of an axis, `pixels` long, that just holds whole markers at some values. Log axes: in powers of ten."""
    known = np.asarray(list(values), dtype=float)
    known = np.log10(known) if log else known
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    span = max(high - low, 1e-9 if log else 0.02)
    margin = span * RADIUS / max(pixels - 2 * RADIUS, RADIUS)
    return [low - margin, high + margin]


def mark_zero(drawing: go.Figure, axis: str = "x") -> None:
    """A line at no difference, in every panel."""
    line = {"color": GREY, "width": 1}
    if axis == "x":
        drawing.add_vline(x=0, line=line)
    else:
        drawing.add_hline(y=0, line=line)


def whiskers(
    labels: Sequence[str], centre: Sequence[float], low: Sequence[float], high: Sequence[float], **bar: Any
) -> go.Scatter:
    """Horizontal intervals, one per label; unknown ones are left out. `bar` is Plotly's style of error bars."""
    middle, ends = 100 * np.asarray(centre, dtype=float), [100 * np.asarray(v, dtype=float) for v in (low, high)]
    error = {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(ends[1] - middle),
        "arrayminus": np.nan_to_num(middle - ends[0]),
        **bar,
    }
    marker = {"size": 1, "color": bar.get("color", GREY)}
    return go.Scatter(
        x=middle, y=list(labels), mode="markers", marker=marker, error_x=error, hoverinfo="skip", showlegend=False
    )


def estimates(labels: Sequence[str], values: Sequence[float]) -> go.Scatter:
    """Diamonds at the estimates of a forest plot."""
    return go.Scatter(
        x=[100 * v for v in values],
        y=list(labels),
        mode="markers",
        showlegend=False,
        marker={"symbol": "diamond", "size": 11, "color": ACCENT, "line": {"width": 1, "color": "white"}},
        hovertemplate="%{y}: %{x:+.2f} points<extra></extra>",
    )


def categories(drawing: go.Figure, labels: Sequence[str], **more: Any) -> None:
    """Labels on the vertical axis, from below, each with the same room."""
    drawing.update_yaxes(categoryorder="array", categoryarray=list(labels), range=[-0.6, len(labels) - 0.4], **more)


def two_lines(first: str, second: str) -> str:
    """A label with a smaller explanation below it, wrapped."""
    lines: list[str] = []
    for word in second.split():
        if lines and len(lines[-1]) + len(word) < 40:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    small = "<br>".join(lines)
    return f"{first}<br><span style='font-size:11px;color:{GREY}'>{small}</span>" if lines else first
