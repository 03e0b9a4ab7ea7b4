"""Figures of gain against dose: small multiples, and the map of languages and magnitudes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from study.analysis.dose import Response
from study.reporting import words
from study.reporting.findings import ALL_UNIT, SOURCE_UNIT, Dosed, Findings
from study.reporting.source import Source
from study.reporting.style import (
    BEYOND,
    DIVERGING,
    INK,
    RADIUS,
    SERIES_COLOURS,
    SERIES_SYMBOLS,
    Figure,
    finish,
    holding,
    mark_zero,
)
from study.views import history

COLUMNS = 3
"""Panels side by side."""

NARROW = 150
"""Pixels of a panel's width in the narrowest window that shows it legibly."""

ROOM_BELOW = 4.0
"""How much further the panels reach below zero than above: collapse at large doses must not flatten all else."""


def panels(source: Source, dosed: Dosed) -> Figure:
    """Gain against dose: all target languages, the source language, each resource class."""
    responses = dosed.responses
    units = _ordered([r.unit for r in responses]) or [ALL_UNIT]
    counts = {r.unit: r.languages for r in responses}
    titles = [f"{u} ({counts[u]} language{'s' * (counts[u] != 1)})" if u in counts else u for u in units]
    columns = min(COLUMNS, len(units))
    rows = -(-len(units) // columns)
    gap = 0.28 / rows if rows > 1 else 0.0
    drawing = make_subplots(
        rows, columns, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03, vertical_spacing=gap
    )
    height = 110 + 230 * rows if columns > 1 else 380
    samples = sampled(source, dosed) if dosed.searched else pd.DataFrame()
    shown = [r for r in responses if r.unit in units]
    pixels = (height - 126) * (1 - gap * (rows - 1)) / rows
    edges = _edges([100 * samples["gain"]], pixels) if dosed.searched else _room([r.levels for r in shown], pixels)
    series = sorted(set(dosed.gains["series"]))
    for index, unit in enumerate(units):
        for which, name in enumerate(series):
            look = _look(name, which, show=index == 0)
            found = next((r for r in responses if (r.unit, r.series) == (unit, name)), None)
            spot = index // columns + 1, index % columns + 1
            if found is not None:
                for trace in (_levels(found, look), *_below(found, look, edges, pixels)):
                    drawing.add_trace(trace, *spot)
            elif dosed.searched:
                drawing.add_trace(_samples(samples[samples["series"] == name], look), *spot)
    mark_zero(drawing, "y")
    finish(drawing, height, top=70)
    drawing.update_layout(legend={"y": 1.0, "yanchor": "top", "yref": "container"})
    drawing.update_annotations(font={"size": 12.5, "color": INK})
    drawing.update_xaxes(type="log", **_log_ticks(dosed.gains["relative_norm"]))
    drawing.update_yaxes(range=edges)
    for panel in range(len(units)):
        if panel + columns >= len(units):
            place = {"row": panel // columns + 1, "col": panel % columns + 1}
            drawing.update_xaxes(title={"text": axis_title(dosed.gains["series"]), "font": {"size": 12}}, **place)
    drawing.update_yaxes(title_text="gain (points)", col=1)
    return Figure(
        "doses", _caption(source, dosed, shown, edges, pixels), drawing, "samples" if dosed.searched else "doses"
    )


def axis_title(series: Iterable[str]) -> str:
    """What the dose of some series is: ``achieved relative norm``, …"""
    return ", or ".join(units(series))


def units(series: Iterable[str]) -> tuple[str, ...]:
    """The same, each for itself: doses of several are not to be added up. Series begin with their method."""
    named = (history.dosed_by(name.partition(",")[0]) for name in series)
    titles = (history.MEASURED.get(dose) or dose.rpartition(".")[2].replace("_", " ") for dose in named)
    return tuple(dict.fromkeys(titles))


def _caption(source: Source, dosed: Dosed, shown: Sequence[Response], edges: Sequence[float], pixels: float) -> str:
    text = (
        f"Gain over no perturbation (validation {source.metric}) against the achieved norm of the perturbation "
        "relative to the encoder's mean embedding norm, or what else the method is dosed by and the axis names, on a "
        "logarithmic scale. "
    )
    if dosed.searched:
        return f"{text}One point per trial, target languages averaged. {words.SEARCHED}"
    text += (
        f"Points: means over the {dosed.responses[0].over} of one level of the design; bars: 95 % intervals; lines "
        "join the points and are no fit."
    )
    return text + _beyond(shown, edges, pixels)


def _beyond(shown: Sequence[Response], edges: Sequence[float], pixels: float) -> str:
    """What the limits of the axis leave out, in words; empty where that is nothing."""
    levels = 100 * pd.concat([r.levels[["gain", "low", "high"]] for r in shown])
    under = levels["gain"] < _floor(edges, pixels)
    cut = ((levels["low"] < edges[0]) | (levels["high"] > edges[1])) & ~under
    text = ""
    if under.any():
        text = f" {under.sum()} of {len(levels)} levels lie under the lower edge: arrows mark them, the table has them."
    return f"{text} {cut.sum()} of the bars run on beyond the edges." if cut.any() else text


def _ordered(units: Sequence[str]) -> list[str]:
    classes = sorted({u for u in units if u not in (ALL_UNIT, SOURCE_UNIT)}, reverse=True)
    return [u for u in (ALL_UNIT, SOURCE_UNIT) if u in units] + classes


def _look(name: str, which: int, show: bool) -> dict[str, Any]:
    marker = {"symbol": SERIES_SYMBOLS[which % 6], "size": 7, "color": SERIES_COLOURS[which % 6]}
    return {"name": name.replace("_", " "), "legendgroup": name, "showlegend": show, "marker": marker}


def _levels(found: Response, look: dict[str, Any]) -> go.Scatter:
    levels = found.levels
    error = {
        "type": "data", "symmetric": False, "array": 100 * (levels["high"] - levels["gain"]).fillna(0.0),
        "arrayminus": 100 * (levels["gain"] - levels["low"]).fillna(0.0), "thickness": 1.5, "width": 3,
    }  # fmt: skip
    return go.Scatter(
        x=levels["relative_norm"],
        y=100 * levels["gain"],
        mode="lines+markers",
        line={"color": look["marker"]["color"], "width": 1.5},
        error_y=error,
        hovertemplate="norm %{x:.3f}: %{y:+.2f} points<extra>" + found.series + "</extra>",
        **look,
    )


def _below(found: Response, look: dict[str, Any], edges: Sequence[float], pixels: float) -> Iterator[go.Scatter]:
    """Arrows at the lower edge for the levels that are not whole above it."""
    hidden = found.levels[100 * found.levels["gain"] < _floor(edges, pixels)]
    if len(hidden):
        yield go.Scatter(
            x=hidden["relative_norm"],
            y=[_floor(edges, pixels)] * len(hidden),
            mode="markers",
            marker={"symbol": "triangle-down-open", "size": 9, "color": look["marker"]["color"]},
            customdata=100 * hidden["gain"],
            hovertemplate="below: norm %{x:.3f}: %{customdata:+.2f} points<extra>" + found.series + "</extra>",
            showlegend=False,
            legendgroup=look["legendgroup"],
            meta=BEYOND,
        )


def _floor(edges: Sequence[float], pixels: float) -> float:
    """The lowest value whose marker is whole."""
    return edges[0] + (edges[1] - edges[0]) * RADIUS / pixels - 1e-9


def sampled(source: Source, dosed: Dosed) -> pd.DataFrame:
    """One row per trial of a search: its dose, and its gain averaged over target languages."""
    targets = dosed.gains[dosed.gains["language"].isin(source.targets(dosed.gains["language"].unique()))]
    return targets.groupby(["series", "trial", "point"])[["relative_norm", "gain"]].mean().reset_index()


def _samples(part: pd.DataFrame, look: dict[str, Any]) -> go.Scatter:
    """Search samples: one point per trial, nothing joined."""
    return go.Scatter(
        x=part["relative_norm"],
        y=100 * part["gain"],
        mode="markers",
        text=part["point"],
        hovertemplate="%{text}<br>norm %{x:.3f}: %{y:+.2f} points<extra></extra>",
        **look,
    )


def _log_ticks(values: pd.Series[float], pixels: float = NARROW) -> dict[str, Any]:
    """Ticks at 1, 2, 5 times powers of ten within the data, and a range that just holds them."""
    low, high = float(values.min()), float(values.max())
    ticks = [m * 10.0**e for e in range(-6, 3) for m in (1, 2, 5) if low / 1.6 <= m * 10.0**e <= high * 1.6]
    low, high = holding([low / 1.05, high * 1.05], pixels, log=True)
    return {"tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks], "range": [low, high]}


def _room(levels: Sequence[pd.DataFrame], pixels: float) -> list[float]:
    """Vertical range, in points, of the levels of a design, which may leave out those far below (`ROOM_BELOW`)."""
    every = 100 * pd.concat(levels)[["gain", "low", "high"]]
    highs = every["high"].dropna()
    top = max(float(every["gain"].max()), float(highs.quantile(0.9)) if len(highs) else 0.0, 1.0)
    bottom = max(float(np.nanmin(every[["gain", "low"]])), -ROOM_BELOW * top)
    return _edges([[min(bottom, -top), top]], pixels)


def _edges(values: Sequence[Iterable[float]], pixels: float) -> list[float]:
    """The range, in points, that holds markers at all values, at zero, and at one point above and below."""
    return holding([-1.0, 1.0, *(float(v) for part in values for v in part)], pixels)


def compared(all_findings: Sequence[Findings]) -> Figure | None:
    """Responses of several designs on one axis, the achieved norm; None where fewer than two have any."""
    found = [(f.source, r) for f in all_findings if f.dosed for r in f.dosed.responses if r.unit == ALL_UNIT]
    if len({source.name for source, _ in found}) < 2:
        return None
    drawing = go.Figure()
    top = 40 + 20 * (len(found) // 2)
    pixels = 430 - 56 - top
    edges = _room([response.levels for _, response in found], pixels)
    for which, (source, response) in enumerate(found):
        look = _look(f"{source.name}: {response.series}", which, show=True)
        drawing.add_traces([_levels(response, look), *_below(response, look, edges, pixels)])
    doses = pd.concat([response.levels["relative_norm"] for _, response in found])
    mark_zero(drawing, "y")
    finish(drawing, 430, top=top)
    title = axis_title(response.series for _, response in found)
    drawing.update_xaxes(type="log", title_text=title, **_log_ticks(doses, 2 * NARROW))
    drawing.update_yaxes(title_text="gain (points)", range=edges)
    metrics = ", ".join(sorted({source.metric for source, _ in found}))
    text = (
        f"Gain over no perturbation, mean over all target languages (validation {metrics}), of the designs among these "
        "studies, against the achieved norm: the axis on which methods are comparable. Bars: 95 % intervals; lines "
        "join the points and are no fit."
    )
    return Figure("doses", text + _beyond([response for _, response in found], edges, pixels), drawing, "doses")


def heat_map(source: Source, dosed: Dosed) -> Figure:
    """Language × magnitude, by resource class."""
    facts = source.facts.set_index("language")
    known = facts["resource_class"].fillna(-1.0)
    order = sorted(dosed.language_map["language"].unique(), key=lambda k: (known[k], str(facts.loc[k, "name"])))
    gains, q = (dosed.language_map.pivot(index="language", columns="bin", values=v).loc[order] for v in ("gain", "q"))
    bins = dosed.language_map.groupby("bin")[["method", "relative_norm"]].first()
    sizes = np.abs(gains.to_numpy())
    bound = max(float(np.nanquantile(sizes, 0.6)), float(np.nanmax(gains.to_numpy())), 0.01)
    labels = [f"{facts.loc[k, 'name']} · {known[k]:.0f}" if known[k] >= 0 else str(facts.loc[k, "name"]) for k in order]
    bar = {"title": {"text": "gain<br>(points)", "font": {"size": 12}}, "thickness": 12, "len": 0.5, "outlinewidth": 0}
    cells = go.Heatmap(
        z=100 * gains.to_numpy(),
        x=[[m.replace("_", " ") for m in bins["method"]], [f"{d:.2g}" for d in bins["relative_norm"]]],
        y=labels,
        zmin=-100 * bound,
        zmax=100 * bound,
        colorscale=DIVERGING,
        colorbar=bar,
        xgap=1,
        ygap=1,
        text=np.where((q.to_numpy() < words.ALPHA) & (not dosed.searched), "•", ""),
        texttemplate="%{text}",
        textfont={"size": 14, "color": INK},
        hovertemplate="%{y}, norm %{x}: %{z:+.1f} points<extra></extra>",
    )
    drawing = finish(go.Figure(cells), 120 + 17 * len(order), left=210)
    title = f"{axis_title(bins['method'])} (mean of the bin)"
    drawing.update_xaxes(title_text=title, type="multicategory", showgrid=False)
    drawing.update_yaxes(tickfont={"size": 11}, showgrid=False, dtick=1, ticks="")
    mark = "Dots: cells that differ from zero after correction for their number (q < .05, over seeds)."
    text = (
        f"Gain over no perturbation by language and magnitude (validation {source.metric}); the number beside a "
        f"language is its resource class. Colours saturate at ±{100 * bound:.1f} points. "
        + ("Samples of a search: nothing may be concluded from their shape." if dosed.searched else mark)
    )
    return Figure("map", text, drawing, "language_map")
