"""Figures of what the confirmation says: controls, languages, groups, and several studies side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from study.analysis.differences import Difference
from study.analysis.intervals import Interval
from study.reporting import words
from study.reporting.findings import Confirmed, Findings
from study.reporting.source import Source
from study.reporting.style import (
    ACCENT,
    CLASS_COLOURS,
    CLASS_SYMBOLS,
    FAINT,
    GREY,
    INK,
    PALE,
    SECOND,
    Figure,
    categories,
    estimates,
    finish,
    mark_zero,
    two_lines,
    whiskers,
)  # fmt: skip
from trainables import pretraining

BARS = "Thick bars: 95 % interval over seeds; thin bars: with the test sentences as a second source of variation."


def controls(source: Source, confirmed: Confirmed) -> Figure:
    """Forest plot of the primary endpoint: headline against each control, with every seed."""
    found = sorted(confirmed.controls, key=lambda d: d.control, reverse=True)
    labels = [_control_label(source, d.control, confirmed.control) for d in found]
    drawing = _forest(labels, found)
    for d, label in zip(found, labels, strict=True):
        ticks = go.Scatter(
            x=[100 * v for v in d.per_seed],
            y=[label] * len(d.per_seed),
            mode="markers",
            showlegend=False,
            marker={"symbol": "line-ns", "size": 11, "line": {"width": 1.5, "color": GREY}},
            customdata=list(d.seeds),
            hovertemplate="seed %{customdata}: %{x:+.2f} points<extra></extra>",
        )
        drawing.add_trace(ticks)
    endpoint = words.reduction(source.endpoint)
    less = words.less(confirmed.claim.is_lower_better)
    title = f"{confirmed.headline} minus control, {endpoint} (points of test {source.claimed}{less})"
    drawing.update_xaxes(title_text=title)
    text = (
        f"The primary endpoint ({endpoint}): {confirmed.headline} against each control. Diamonds: mean difference; "
        f"ticks: the {len(confirmed.claim.seeds)} seeds. {BARS} The claim is the one against the strongest control."
    )
    return Figure("controls", text, drawing, "controls")


def _control_label(source: Source, name: str, strongest: str) -> str:
    return two_lines(f"{name}, <b>the strongest</b>" if name == strongest else name, source.described.get(name, ""))


def _forest(labels: Sequence[str], found: Sequence[Difference]) -> go.Figure:
    drawing = go.Figure()
    values = [d.estimate for d in found]
    for spans, bar in (
        ([d.by_both for d in found], {"color": PALE, "thickness": 2, "width": 5}),
        ([d.by_seed for d in found], {"color": ACCENT, "thickness": 4, "width": 0}),
    ):
        drawing.add_trace(whiskers(labels, values, [s.low for s in spans], [s.high for s in spans], **bar))
    drawing.add_trace(estimates(labels, values))
    mark_zero(drawing)
    finish(drawing, 120 + 58 * len(found), left=250)
    categories(drawing, labels)
    return drawing


def studies(all_findings: Sequence[Findings]) -> Figure:
    """Forest plot of the claims of several studies."""
    found = [(f.source, f.confirmed.claim) for f in reversed(all_findings) if f.confirmed is not None]
    labels = [
        two_lines(s.name, f"against {d.control}, {words.reduction(s.endpoint)}{words.less(d.is_lower_better)}")
        for s, d in found
    ]
    drawing = _forest(labels, [d for _, d in found])
    drawing.update_xaxes(title_text="headline minus strongest control, each study's primary endpoint (points)")
    text = f"The claims of the studies: headline against strongest control. {BARS}"
    return Figure("studies", text, drawing, "claims")


def forest(source: Source, confirmed: Confirmed) -> Figure:
    """Every language's difference with both intervals, by resource class."""
    table = confirmed.languages.assign(resource=confirmed.languages["resource_class"].fillna(-1.0))
    table = table.sort_values(["resource", "difference"], ascending=[False, True])
    table["label"] = table["name"] + " (" + table["language"] + ")"
    labels, centre = table["label"].tolist(), table["difference"].tolist()
    drawing = go.Figure()
    for kind, colour, thickness in (("both", FAINT, 2), ("seed", GREY, 3)):
        low, high = table[f"{kind}_low"].tolist(), table[f"{kind}_high"].tolist()
        drawing.add_trace(whiskers(labels, centre, low, high, color=colour, thickness=thickness, width=0))
    for number, rows in table.groupby("resource", sort=True):
        drawing.add_trace(_class_points(float(str(number)), rows))
    mark_zero(drawing)
    finish(drawing, 110 + 19 * len(labels), left=210)
    categories(drawing, labels, tickfont={"size": 11}, dtick=1)
    less = words.less(source.is_error)
    drawing.update_xaxes(
        title_text=f"{confirmed.headline} minus {confirmed.control} (points of test {source.claimed}{less})"
    )
    text = (
        "Every language for itself, by resource class (Joshi et al. 2020; 5: most resources) and difference. Dark "
        "bars: 95 % interval over seeds; light bars: with the test sentences as a second source of variation. A black "
        "rim marks languages that differ after correction for their number (q < .05, both sources counted). "
        "Exploratory."
    )
    return Figure("forest", text, drawing, "languages")


def _class_points(number: float, rows: pd.DataFrame) -> go.Scatter:
    sure = (rows["q_both"] < words.ALPHA).tolist()
    rim = {"width": [2 if s else 1 for s in sure], "color": [INK if s else "white" for s in sure]}
    marker = {"size": 10, "symbol": CLASS_SYMBOLS.get(int(number), "hexagon2"), "line": rim}
    return go.Scatter(
        x=100 * rows["difference"],
        y=rows["label"],
        mode="markers",
        name=f"class {number:.0f}" if number >= 0 else "class unknown",
        marker={**marker, "color": CLASS_COLOURS.get(int(number), GREY)},
        customdata=rows[["control", "treatment", "q_both", "examples"]].to_numpy(),
        hovertemplate="%{y}: %{x:+.1f} points (%{customdata[0]:.3f} → %{customdata[1]:.3f}, q %{customdata[2]:.3f}, "
        "%{customdata[3]} sentences)<extra></extra>",
    )


def resources(source: Source, confirmed: Confirmed) -> Figure:
    """Gain of each language over its resource class, and over its baseline score."""
    table = confirmed.by_language
    drawing = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    spread = pd.Series(np.linspace(-0.22, 0.22, len(table)), index=table.sort_values("gain").index)
    whose = pretraining.words(source.pretraining)
    kinds = ((True, f"seen in pretraining ({whose})"), (False, "unseen"), (None, "pretraining unknown"))
    for seen, label in kinds:
        part = table[table["seen"].isna() if seen is None else table["seen"].eq(seen) & table["seen"].notna()]
        if part.empty and seen is None:
            continue
        for column, x in ((1, part["resource_class"] + spread[part.index]), (2, 100 * part["baseline"])):
            marker = {
                "symbol": {True: "circle", False: "x", None: "circle-open"}[seen],
                "size": 8,
                "color": {True: ACCENT, False: SECOND, None: GREY}[seen],
                "opacity": 0.8,
            }
            dots = go.Scatter(
                x=x,
                y=100 * part["gain"],
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                marker=marker,
                text=part["name"],
                hovertemplate="%{text}: %{y:+.1f} points<extra></extra>",
            )
            drawing.add_trace(dots, 1, column)
    for trace in _class_means(table):
        drawing.add_trace(trace, 1, 1)
    mark_zero(drawing, "y")
    finish(drawing, 370)
    drawing.update_xaxes(title_text="resource class (5: most resources)", dtick=1, row=1, col=1)
    drawing.update_xaxes(title_text=f"score of {confirmed.control} (points)", row=1, col=2)
    drawing.update_yaxes(title_text="gain (points)", row=1, col=1)
    rho, interval, _, n = confirmed.resource
    text = (
        f"Gain of {confirmed.headline} over {confirmed.control} by target language, variants averaged in: against "
        f"resource class ({_spearman(rho, interval, n)}; dots of a class are spread sideways) and against the "
        "control's score. Whether a group gains more is a question about languages, so each is one point."
    )
    return Figure("resources", text, drawing, "gains_by_language")


def _class_means(table: pd.DataFrame) -> list[go.Scatter]:
    means = table.dropna(subset=["resource_class"]).groupby("resource_class")["gain"].mean()
    return [
        go.Scatter(
            x=[float(str(value)) - 0.32, float(str(value)) + 0.32],
            y=[100 * mean] * 2,
            mode="lines",
            line={"color": INK, "width": 2},
            name="mean of the class",
            showlegend=i == 0,
            hoverinfo="skip",
        )
        for i, (value, mean) in enumerate(means.items())
    ]


def _spearman(rho: float, interval: Interval, n: int) -> str:
    if not interval.known:
        return f"{n} languages"
    low, high = (words.signed(v) for v in (interval.low, interval.high))
    return f"Spearman {words.signed(rho)}, 95 % {low} to {high}, {n} languages"
