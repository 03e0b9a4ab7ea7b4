"""Figures of the trials of phase `run`: parallel coordinates, importances, cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from study.analysis.dose import varied
from study.analysis.importance import pareto_front
from study.question import objectives
from study.reporting import words
from study.reporting.findings import Findings
from study.reporting.source import Source
from study.reporting.style import GREY, INK, SERIES_COLOURS, SERIES_SYMBOLS, Figure, finish

MOST_LINES = 400
"""Trials drawn as parallel coordinates, at most: the best."""

TICKS = 6
"""Values of a parameter that are all named on its axis, at most."""

Ticks = list[tuple[float, str]]


def parallel_coordinates(source: Source) -> Figure | None:
    """One line per trial over its parameters and the objective; None where fewer than two trials or no parameter vary.

    Plain lines instead of Plotly's own parallel coordinates, which need WebGL and do not print.
    """
    complete = (source.summary["state"] == "COMPLETE") & (source.summary["control"] == "")
    table = source.summary[complete & (source.summary["kind"] != "baseline")].dropna(subset=["value"])
    objective = source.config.search.optimised[0]
    rises = objective.direction == "maximize"
    best_first = table["value"].rank(ascending=not rises, method="first")
    table = table.loc[best_first <= MOST_LINES].sort_values("value", ascending=rises)  # the best is drawn last, on top
    names = [*varied(table), "value"]
    if len(table) < 2 or len(names) < 2:
        return None
    axes = {name: _axis(table[name]) for name in names}
    ranks = (table["value"].rank(ascending=rises) - 1) / max(len(table) - 1, 1)
    drawing = go.Figure()
    places = np.column_stack([axes[name][0].to_numpy(dtype=float) for name in names])
    for heights, share, row in zip(places, ranks, table.to_dict("records"), strict=True):
        text = "<br>".join([f"trial {row['trial']}", *(f"{n}: {_cell(row[n])}" for n in names)])
        drawing.add_trace(_line(list(heights), text, float(share)))
    for i, name in enumerate(names):
        drawing.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"color": GREY, "width": 1})
        for height, label in axes[name][1]:
            look = {"font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.8)", "xanchor": "left", "xshift": 4}
            drawing.add_annotation(x=i, y=height, text=label, showarrow=False, **look)
    of_metric = f" of {objective.metric}" if objective.metric else ""
    finish(drawing, 380, left=40, top=56)
    parameters = [n.partition(".")[2].replace("_", " ") for n in names[:-1]]
    titles = [*parameters, f"<b>{words.reduction(objective.reduce)}{of_metric}</b>"]
    drawing.update_xaxes(
        tickvals=list(range(len(names))), ticktext=titles, side="top", showgrid=False, showline=False, ticks="",
        range=[-0.2, len(names) - 0.6], tickfont={"size": 12},
    )  # fmt: skip
    drawing.update_yaxes(visible=False, range=[-0.06, 1.06])
    text = (
        f"Every complete trial as a line over its parameters and the objective ({objective.name}). Colour by rank: "
        "dark blue the best, orange the worst. Lines are single trials, seed noise included."
    )
    return Figure("parallel", text, drawing, "trials")


def _line(heights: list[float], text: str, share: float) -> go.Scatter:
    return go.Scatter(
        x=list(range(len(heights))),
        y=heights,
        mode="lines",
        showlegend=False,
        line={"width": 2.4 if share > 0.9 else 1.2, "color": _mix(share)},
        text=[text] * len(heights),
        hovertemplate="%{text}<extra></extra>",
    )


def _axis(column: pd.Series[Any]) -> tuple[pd.Series[float], Ticks]:
    """Heights in [0, 1] of a parameter's values (log scale where it spans a factor of ten), and its tick labels."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    if column.notna().sum() > numbers.notna().sum():
        levels = sorted(map(str, column.dropna().unique()))
        place = {v: (i + 0.5) / len(levels) for i, v in enumerate(levels)}
        return column.map(lambda v: place.get(str(v), np.nan)), [(h, k) for k, h in place.items()]
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        return numbers * 0 + 0.5, [(0.5, f"{low:.3g}")]
    log = low > 0 and high / low >= 10
    scaled = np.log(numbers / low) / np.log(high / low) if log else (numbers - low) / (high - low)
    if numbers.nunique() <= TICKS:
        return scaled, [(float(scaled[i]), f"{numbers[i]:.3g}") for i in numbers.dropna().drop_duplicates().index]
    middle = np.sqrt(low * high) if log else (low + high) / 2
    return scaled, [(0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mix(share: float) -> str:
    """From orange over light grey to dark blue."""
    low, middle, high = (np.array(c) for c in ((224, 138, 79), (205, 205, 205), (31, 78, 121)))
    colour = low + (middle - low) * share * 2 if share < 0.5 else middle + (high - middle) * (share - 0.5) * 2
    return f"rgb({','.join(str(int(c)) for c in colour)})"


def importance_bars(findings: Findings) -> Figure:
    """Shares of variance by parameter."""
    table = findings.importances.iloc[::-1]
    bars = go.Bar(
        x=100 * table["importance"],
        y=table["parameter"],
        orientation="h",
        marker={"color": "#6fa3cf"},
        error_x={"type": "data", "array": 100 * table["sd"], "color": INK, "thickness": 1.2},
        hovertemplate="%{y}: %{x:.0f} %<extra></extra>",
    )
    drawing = finish(go.Figure(bars), 120 + 34 * len(table), left=250)
    drawing.update_xaxes(title_text="share of the objective's variance explained alone (%)", rangemode="tozero")
    text = "Importance of each parameter for the objective (functional ANOVA; mean and SD of several random forests)."
    if findings.source.config.search.mode == "search":
        text += " Of the samples of a search: it describes the region that the search liked, not the space."
    return Figure("importance", text, drawing, "importances")


def cost_scatter(source: Source) -> Figure:
    """Validation score against forward-equivalents, and what none beats in both."""
    column = source.cost_score
    table = source.summary[source.summary["state"] == "COMPLETE"].dropna(subset=[column, "forward_equivalents"])
    drawing = go.Figure()
    for which, (method, part) in enumerate(table.groupby("perturbation.method", sort=True)):
        clean = method == "none"
        marker = {
            "symbol": "cross" if clean else SERIES_SYMBOLS[which % 6], "size": 9, "opacity": 0.8,
            "color": INK if clean else SERIES_COLOURS[which % 6],
        }  # fmt: skip
        dots = go.Scatter(
            x=part["forward_equivalents"],
            y=100 * part[column],
            mode="markers",
            name="no perturbation" if clean else str(method).replace("_", " "),
            marker=marker,
            text=[f"trial {t}" for t in part["trial"]],
            hovertemplate="%{text}: %{y:.1f} points at %{x:,.0f}<extra></extra>",
        )
        drawing.add_trace(dots)
    lower = objectives.is_lower_better(column, None)
    front = table[pareto_front(table[[column, "forward_equivalents"]].to_numpy(), [not lower, False])]
    front = front.sort_values("forward_equivalents")
    line = {"color": GREY, "width": 1.2, "shape": "hv", "dash": "dot"}
    drawing.add_trace(
        go.Scatter(
            x=front["forward_equivalents"],
            y=100 * front[column],
            mode="lines",
            name="beaten by none in both",
            line=line,
        )
    )
    finish(drawing, 370)
    drawing.update_xaxes(title_text="training cost (forward-equivalents)", rangemode="tozero")
    drawing.update_yaxes(title_text=f"{words.reduction(column)} (points)")
    text = (
        f"Validation {source.metric}, {words.reduction(column)}, against training cost; single trials, seed noise "
        "included. Cost in passes over one batch: forward 1, backward to the inputs 1, weight gradients 1, so that a "
        "clean step costs 3 and an ascent step 2."
    )
    return Figure("cost", text, drawing, "trials")
