"""Figures show the findings' own numbers, in points, with every axis named, and draw without WebGL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.reporting import confirmation_figures, dose_figures, trial_figures
from study.reporting.figures import all_figures
from study.reporting.findings import ALL_UNIT, Findings, find
from study.reporting.style import BEYOND, Figure


@pytest.fixture(scope="module")
def drawn(found: Findings) -> dict[str, Figure]:
    return {f.name: f for f in all_figures(found)}


def test_every_figure_is_there(drawn: dict[str, Figure], searched: Findings) -> None:
    of_run = ["doses", "map", "parallel", "importance", "cost"]
    assert list(drawn) == ["controls", "forest", "resources", "reliability", *of_run]
    assert [f.name for f in all_figures(searched)] == of_run


def test_figures_are_plain_svg_with_named_axes(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        assert {trace.type for trace in figure.drawing.data} <= {"scatter", "heatmap", "bar"}
        assert len(figure.caption) > 80
        titles = [axis.title.text for axis in figure.drawing.select_xaxes() if axis.title.text]
        assert titles or figure.name == "parallel"


def test_forest_shows_every_language_in_points(drawn: dict[str, Figure], found: Findings) -> None:
    assert found.confirmed is not None
    shown = {}
    for trace in drawn["forest"].drawing.data:
        if trace.name and trace.name.startswith("class"):
            shown |= dict(zip(trace.y, trace.x, strict=True))
    table = found.confirmed.languages.set_index("language")
    assert len(shown) == len(table)
    assert shown["Swahili (sw)"] == pytest.approx(100 * table.loc["sw", "difference"])


def test_forest_bars_are_the_intervals(drawn: dict[str, Figure], found: Findings) -> None:
    assert found.confirmed is not None
    both = drawn["forest"].drawing.data[0]
    at = list(both.y).index("Swahili (sw)")
    row = found.confirmed.languages.set_index("language").loc["sw"]
    assert both.x[at] + both.error_x.array[at] == pytest.approx(100 * row["both_high"])
    assert both.x[at] - both.error_x.arrayminus[at] == pytest.approx(100 * row["both_low"])


def test_controls_show_every_seed(drawn: dict[str, Figure], found: Findings) -> None:
    assert found.confirmed is not None
    ticks = [t for t in drawn["controls"].drawing.data if t.marker.symbol == "line-ns"]
    assert [len(t.x) for t in ticks] == [5] * len(found.confirmed.controls)
    assert "the strongest" in " ".join(str(t.y[0]) for t in ticks)


def test_reliability_shows_the_bins_of_headline_and_control(drawn: dict[str, Figure], found: Findings) -> None:
    confirmed = found.confirmed
    assert confirmed is not None
    table = confirmed.reliability
    traces = [trace for trace in drawn["reliability"].drawing.data if trace.name]
    assert {trace.name for trace in traces} == {confirmed.headline, confirmed.control}
    assert sum(len(trace.x) for trace in traces) == len(table) > 10
    first = next(trace for trace in traces if trace.name == confirmed.headline)
    own = table[(table["unit"] == "source language") & (table["configuration"] == confirmed.headline)]
    assert (list(first.x), list(first.y)) == (own["confidence"].tolist(), own["accuracy"].tolist())
    lacking = replace(found.source, results=confirmed_results(found).drop(columns="confidence"))
    assert "reliability" not in {f.name for f in all_figures(find(lacking))}


def confirmed_results(found: Findings) -> pd.DataFrame:
    assert found.source.results is not None
    return found.source.results


def test_dose_panels_join_levels_of_a_design_but_not_samples_of_a_search(
    drawn: dict[str, Figure], searched: Findings, found: Findings
) -> None:
    assert found.dosed is not None
    first = drawn["doses"].drawing.data[0]
    response = next(r for r in found.dosed.responses if r.unit == ALL_UNIT)
    np.testing.assert_allclose(first.y, 100 * response.levels["gain"])
    assert first.mode == "lines+markers"
    samples: Any = next(f for f in all_figures(searched) if f.name == "doses")
    assert {t.mode for t in samples.drawing.data} == {"markers"}
    assert "no response is drawn" in samples.caption


def test_collapse_at_large_doses_does_not_flatten_the_rest(drawn: dict[str, Figure]) -> None:
    low, high = drawn["doses"].drawing.layout.yaxis.range
    assert high > 0
    assert -low <= dose_figures.ROOM_BELOW * high * 1.3  # and the margins


def test_heat_map_holds_every_language_by_class(drawn: dict[str, Figure], found: Findings) -> None:
    assert found.dosed is not None
    cells = drawn["map"].drawing.data[0]
    assert len(cells.y) == len(set(found.dosed.language_map["language"]))
    classes = [float(label.rpartition(" · ")[2]) for label in cells.y]
    assert classes == sorted(classes)
    assert cells.zmin == -cells.zmax
    assert (np.asarray(cells.text) == "•").any()


def test_samples_of_a_search_have_no_marks_in_the_map(searched: Findings) -> None:
    cells = next(f for f in all_figures(searched) if f.name == "map").drawing.data[0]
    assert not (np.asarray(cells.text) == "•").any()


def test_parallel_coordinates_have_a_line_per_perturbed_trial(drawn: dict[str, Figure], found: Findings) -> None:
    lines = drawn["parallel"].drawing.data
    assert len(lines) == (found.source.summary["kind"] == "design").sum()
    heights = np.array([line.y for line in lines], dtype=float)
    assert heights.shape[1] == 3
    assert heights.min() >= 0
    assert heights.max() <= 1


@pytest.mark.parametrize(("direction", "best"), [("maximize", max), ("minimize", min)])
def test_parallel_coordinates_show_the_best_of_too_many(
    found: Findings, monkeypatch: pytest.MonkeyPatch, direction: str, best: Callable[[Iterable[float]], float]
) -> None:
    monkeypatch.setattr(trial_figures, "MOST_LINES", 12)
    source, config = found.source, found.source.config
    objective = config.search.objectives[0].model_copy(update={"direction": direction})
    search = config.search.model_copy(update={"objectives": (objective,)})
    source = replace(source, config=config.model_copy(update={"search": search}))
    figure = trial_figures.parallel_coordinates(source)
    assert figure is not None
    known = source.summary[source.summary["kind"] == "design"].set_index("trial")["value"]
    shown = [int(line.text[0].partition("<br>")[0].removeprefix("trial ")) for line in figure.drawing.data]
    assert len(shown) == 12
    assert known[shown[-1]] == best(known)  # on top


def test_parallel_coordinates_need_something_that_varies(found: Findings) -> None:
    alone = found.source.summary[found.source.summary["trial"] < 4]
    assert trial_figures.parallel_coordinates(replace(found.source, summary=alone)) is None


def test_cost_front_falls_from_no_point(drawn: dict[str, Figure]) -> None:
    line = next(t for t in drawn["cost"].drawing.data if t.mode == "lines")
    assert list(line.y) == sorted(line.y)
    assert list(line.x) == sorted(line.x)


def test_several_studies_share_figures(found: Findings, searched: Findings) -> None:
    assert len(confirmation_figures.studies([found, searched]).drawing.data[-1].x) == 1
    assert dose_figures.compared([found, searched]) is None
    twin = replace(found, source=replace(found.source, name="twin"))
    both = dose_figures.compared([found, twin])
    assert both is not None
    assert len(both.drawing.data) == 4


def beyond(figure: Figure, width: float = 640) -> tuple[int, int]:
    """Markers that the given ranges of a figure's axes do not show whole, and arrows that stand for such.

    An axis without a range is Plotly's own, which makes room for whole markers.
    """
    drawing, layout = figure.drawing, figure.drawing.layout
    across, down = width - layout.margin.l - layout.margin.r, layout.height - layout.margin.t - layout.margin.b
    hidden = arrows = 0
    for trace in drawing.data:
        if trace.type != "scatter":
            continue
        arrows += len(trace.x) if trace.meta == BEYOND else 0
        radius = (
            0.0 if "markers" not in trace.mode else np.max(6 if trace.marker.size is None else trace.marker.size) / 2
        )
        outside = np.zeros(len(trace.x), dtype=bool)
        for kind, values, pixels in (("x", trace.x, across), ("y", trace.y, down)):
            axis = layout[f"{kind}axis{(getattr(trace, f'{kind}axis') or kind)[1:]}"]
            matched = layout[f"{kind}axis{axis.matches[1:]}"] if axis.matches else axis
            if axis.range is None and matched.range is None:
                continue
            low, high = axis.range or matched.range
            if axis.type == "log":
                places = np.log10(np.asarray(values, dtype=float))
            elif axis.categoryarray is not None:
                places = np.array([list(axis.categoryarray).index(v) for v in values], dtype=float)
            else:
                places = np.asarray(values, dtype=float)
            share = (axis.domain[1] - axis.domain[0]) if axis.domain else 1.0
            margin = radius * (high - low) / (pixels * share) - 1e-6
            outside |= (places < low + margin) | (places > high - margin)
        hidden += int(outside.sum())
    return hidden, arrows


def test_all_that_is_drawn_is_whole_or_said(drawn: dict[str, Figure], searched: Findings, found: Findings) -> None:
    twin = replace(found, source=replace(found.source, name="twin"))
    several = [confirmation_figures.studies([found, twin]), dose_figures.compared([found, twin])]
    for figure in [*drawn.values(), *all_figures(searched), *several]:
        assert figure is not None
        hidden, arrows = beyond(figure)
        assert hidden == arrows, figure.name
        assert (f"{hidden} of" in figure.caption) == (hidden > 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_samples_of_a_search_are_whole_on_either_side_of_zero(searched: Findings, sign: int) -> None:
    """Target languages may gain where the mean over all languages loses."""
    assert searched.dosed is not None
    gains = searched.dosed.gains.copy()
    gains["gain"] = np.where(gains["language"] == "en", -sign * 0.9, sign * gains["gain"].abs())
    figure = dose_figures.panels(searched.source, replace(searched.dosed, gains=gains))
    assert beyond(figure) == (0, 0)
    shown = np.concatenate([trace.y for trace in figure.drawing.data])
    assert (sign * shown > 0).all()


def test_levels_that_collapse_have_arrows_and_are_counted(found: Findings) -> None:
    assert found.dosed is not None
    levels = [r.levels.copy() for r in found.dosed.responses]
    for each in levels:
        each.loc[each.index[-1], ["gain", "low", "high"]] = -0.95, -0.97, -0.93
    responses = tuple(replace(r, levels=v) for r, v in zip(found.dosed.responses, levels, strict=True))
    collapsed = replace(found, dosed=replace(found.dosed, responses=responses))
    twin = replace(collapsed, source=replace(found.source, name="twin"))
    for figure in (dose_figures.panels(found.source, collapsed.dosed), dose_figures.compared([collapsed, twin])):
        assert figure is not None
        hidden, arrows = beyond(figure)
        assert hidden == arrows > 0
        assert f" {hidden} of " in figure.caption and "lie under the lower edge" in figure.caption


@pytest.mark.parametrize(
    ("series", "title"),
    [
        (["adversarial, ascent steps 2", "adversarial, ascent steps 1"], "achieved relative norm"),
        (["mvr"], "share of pieces added"),
        (["none+sam", "sam", "adversarial+sam"], "relative norm of moved weights, or achieved relative norm"),
        (["rdrop"], "weight"),
        (["somebody:Method"], "achieved relative norm"),
    ],
)
def test_the_axis_is_called_by_what_the_methods_are_dosed_by(series: list[str], title: str) -> None:
    assert dose_figures.axis_title(series) == title
