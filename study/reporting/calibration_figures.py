"""The reliability figure: how often answers are right against how sure the model is of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from study.reporting.dose_figures import COLUMNS
from study.reporting.findings import SOURCE_UNIT, Confirmed
from study.reporting.source import Source
from study.reporting.style import ACCENT, GREY, INK, SECOND, Figure, finish

SIZES = 5.0, 15.0
"""Pixels of the markers of a bin with next to no answers, and with all."""

EDGES = [-0.06, 1.06]
"""Of both axes: room for whole markers at 0 and 1."""


def reliability(source: Source, confirmed: Confirmed) -> Figure:
    """Accuracy against confidence, headline and strongest control: the source language, each resource class."""
    table = confirmed.reliability
    classes = sorted(set(table["unit"]) - {SOURCE_UNIT}, reverse=True)
    units = [unit for unit in (SOURCE_UNIT, *classes) if unit in set(table["unit"])]
    columns = min(COLUMNS, len(units))
    rows = -(-len(units) // columns)
    drawing = make_subplots(
        rows, columns, shared_xaxes=True, shared_yaxes=True, subplot_titles=units, horizontal_spacing=0.03,
        vertical_spacing=0.28 / rows if rows > 1 else 0.0,
    )  # fmt: skip
    looks = ((confirmed.control, SECOND, "diamond"), (confirmed.headline, ACCENT, "circle"))
    for index, unit in enumerate(units):
        spot = index // columns + 1, index % columns + 1
        diagonal = {"color": GREY, "width": 1, "dash": "dot"}
        line = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, hoverinfo="skip", showlegend=False)
        drawing.add_trace(line, *spot)
        for name, colour, symbol in looks:
            part = table[(table["unit"] == unit) & (table["configuration"] == name)]
            drawing.add_trace(_bins(part, name, colour, symbol, show=index == 0), *spot)
    finish(drawing, 110 + 250 * rows, top=70)
    drawing.update_layout(legend={"y": 1.0, "yanchor": "top", "yref": "container"})
    drawing.update_annotations(font={"size": 12.5, "color": INK})
    drawing.update_xaxes(range=EDGES)
    drawing.update_yaxes(range=EDGES)
    drawing.update_xaxes(title_text="probability of the answer", row=rows)
    drawing.update_yaxes(title_text=f"share right ({source.metric})", col=1)
    asked = source.config.trial.evaluation.calibration
    assert asked is not None, "there are confidences"
    text = (
        f"How often test answers are right against how sure the model is of them, in {asked.bins} bins of equal width; "
        "languages of a resource class pooled. On the dotted line confidence can be taken at its word; below it the "
        "model is too sure. The larger a marker, the more of the answers it has; bars: 95 % intervals over seeds, none "
        "where few seeds have answers there. Exploratory."
    )
    return Figure("reliability", text, drawing, "reliability")


def _bins(part: pd.DataFrame, name: str, colour: str, symbol: str, show: bool) -> go.Scatter:
    middle = part["accuracy"]
    bars = {"array": np.nan_to_num(part["high"] - middle), "arrayminus": np.nan_to_num(middle - part["low"])}
    small, large = SIZES
    return go.Scatter(
        x=part["confidence"],
        y=middle,
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=show,
        line={"color": colour, "width": 1},
        marker={"size": small + (large - small) * np.sqrt(part["share"]), "symbol": symbol, "color": colour},
        error_y={"type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 2, **bars},
        customdata=np.column_stack([part["share"]]),
        hovertemplate="sure %{x:.3f}, right %{y:.3f}, %{customdata[0]:.1%} of answers<extra></extra>",
    )
