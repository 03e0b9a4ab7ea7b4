"""Figures of any quantity against any other: what is drawn, what is said below it, and what is refused."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from study.cli import commands, execute
from study.plots import chart, plotting, quantities, scatter
from study.plots.chart import Chart, Request
from study.record.record import TrialRecord
from study.views.found import find
from study.views.history import load_study
from tests.study.conftest import BASE, Event
from tests.study.reporting.conftest import build, configured
from trainables.errors import UserError

EPSILON, STEPS = "perturbation.epsilon", "perturbation.ascent_steps"


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


def charted(root: Path, name: str, x: str, *ys: str, **more: Any) -> Chart:
    return chart.chart(find(root, name), Request(x, ys, **more))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of eight trials, of which two failed."""
    root = tmp_path_factory.mktemp("broken")
    search = {"mode": "search", "sampler": "random", "replicates": 1, "levels": {}, "trials": 8}
    build(root, configured(name="broken", search=search), confirmed=False, fails=lambda p: p.number in (3, 5))
    return root


def test_the_points_are_those_of_the_trial_frame(root: Path) -> None:
    drawn = charted(root, "planted", EPSILON, "language:sw", colour="forward_equivalents")
    frame = load_study("planted", root)
    expected = frame[(frame["language"] == "sw") & (frame["phase"] == "run")].set_index("trial")
    points = drawn.points.set_index("trial")
    assert len(points) == 27
    pd.testing.assert_series_equal(points["language:sw"], expected["score"], check_names=False)
    pd.testing.assert_series_equal(points[EPSILON].astype(float), expected[EPSILON], check_names=False)
    assert points["forward_equivalents"].equals(expected["forward_equivalents"])
    assert drawn.numbers(drawn.ys[0]) is not None
    assert float(drawn.numbers(drawn.ys[0]).max()) == pytest.approx(100 * expected["score"].max())  # type: ignore[union-attr]


def test_the_baseline_is_a_line_and_its_scale_is_the_spaces(root: Path) -> None:
    drawn = charted(root, "planted", EPSILON, "target_mean")
    baseline = drawn.points[drawn.points["role"] == "baseline"]
    assert drawn.reference(drawn.ys[0]) == pytest.approx(100 * baseline["target_mean"].mean())
    assert drawn.log_x and not drawn.log_y
    figure = scatter.draw(drawn).figure
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    levels = [float(np.mean(line.get_ydata())) for line in axes.lines]  # type: ignore[arg-type]
    assert levels == [pytest.approx(drawn.reference(drawn.ys[0]))]
    assert "24 of 27 trials of phase run (a design, grid), validation split, 3 training seeds." in drawn.note
    assert "Dashed: the unperturbed baseline (mean of trials 0, 1, 2)" in drawn.note
    assert "Left out" not in drawn.note


def test_what_is_left_out_is_counted(broken: Path) -> None:
    drawn = charted(broken, "broken", EPSILON, "target_mean")
    assert drawn.note.startswith("5 of 8 trials of phase run (a search, random)")
    assert "Left out: 2 failed." in drawn.note
    drawn = charted(broken, "broken", EPSILON, "kind")
    assert f"Left out: 2 failed, 1 without a value of {EPSILON} or kind (0)." in drawn.note


def test_a_confirmation_is_drawn_from_its_test_scores(root: Path) -> None:
    drawn = charted(root, "planted", "configuration", "low_resource_mean", phase="confirm", colour="seed")
    assert set(drawn.points["configuration"]) == {"trial 9", "control a", "control c", "control d"}
    assert len(drawn.points) == 20
    assert "test split, 5 training seeds. The test split was opened 1×. Dashed: control a" in drawn.note
    assert drawn.ys[0].label == "mean over low-resource languages, test accuracy (points)"
    bars = [line for line in scatter.draw(drawn).figure.axes[0].lines if line.get_linestyle() == "-"]
    assert len(bars) == 4


def test_evaluations_are_joined_by_trial(old: Path) -> None:
    drawn = charted(old, "quickstart", "step", "loss", colour=EPSILON)
    assert sorted(drawn.points["step"].unique()) == [30, 60]
    assert len(drawn.points) == 16
    lines = scatter.draw(drawn).figure.axes[0].lines
    assert [list(line.get_xdata()) for line in lines] == [[30, 60]] * 8  # type: ignore[arg-type]


@pytest.fixture
def old(shared_data: Path, tmp_path: Path) -> Path:
    """A real study."""
    (tmp_path / "quickstart").mkdir()
    shutil.copy(shared_data / "ledgers" / "quickstart-0.1.jsonl", tmp_path / "quickstart" / "ledger.jsonl")
    return tmp_path


def test_an_interrupted_study_says_what_became_of_its_trials(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    shutil.copy(shared_data / "ledgers" / "quickstart-0.1-interrupted.jsonl", tmp_path / "quickstart" / "ledger.jsonl")
    note = charted(tmp_path, "quickstart", "step", "target_mean").note
    assert note.startswith("2 of 3 trials of phase run") and "Left out: 1 interrupted. Of those drawn 1 int" in note
    with pytest.raises(UserError, match="no complete trial of this phase has a value of it"):
        charted(tmp_path, "quickstart", EPSILON, "target_mean")


def test_other_metrics_are_drawn_in_their_units(events: list[Event], write_study: Any) -> None:
    for event in events:
        if event["event"] == "report":
            scores = event["evaluation"]["scores"]
            scores["attacked_accuracy"] = {k: [score / 2, n] for k, (score, n) in scores["accuracy"].items()}
            scores["certified_radius"] = {k: [2 * score, n] for k, (score, n) in scores["accuracy"].items()}
    root = write_study(events)
    x, y = "target_mean of attacked_accuracy", "language:sw of certified_radius"
    drawn = charted(root, "small", x, y, "language:swh", "cvar:0.3", "cost:train_seconds")
    assert drawn.x.label == "mean over target languages, validation attacked accuracy (points)"
    assert drawn.ys[0].label == "Swahili (sw), validation certified radius (lengths of a word's embedding)"
    points = drawn.points.set_index("trial")
    assert points.loc[2, y] == pytest.approx(2 * (BASE["sw"] + 0.05))
    assert points.loc[2, "language:swh"] == pytest.approx(BASE["sw"] + 0.05)
    assert drawn.numbers(drawn.ys[0]).tolist() == points[y].tolist()  # type: ignore[union-attr]
    assert drawn.numbers(drawn.x).tolist() == pytest.approx(100 * points[x])  # type: ignore[union-attr]
    assert drawn.ys[-1].name == "train_seconds"
    with pytest.raises(UserError, match="unknown metric, did you mean 'attacked_accuracy'"):
        charted(root, "small", "target_mean of attacked_acuracy", "source")


def test_a_condition_that_does_not_hold_leaves_a_parameter_without_value(tmp_path: Path) -> None:
    search = {"mode": "search", "sampler": "random", "space": "methods", "replicates": 1, "levels": {}, "trials": 12}
    build(tmp_path, configured(name="methods", search=search), confirmed=False)
    drawn = charted(tmp_path, "methods", "perturbation.method", "target_mean", colour=EPSILON)
    by_method = drawn.points.groupby("perturbation.method")[EPSILON]
    trials = find(tmp_path, "methods").trials
    sampled = {m: [t.point.get(EPSILON) for t in trials if method(t) == m] for m in by_method.groups}
    for name, values in by_method:
        assert [v for v in values if v == v] == [v for v in sampled[str(name)] if v is not None]
    assert drawn.points[EPSILON].isna().sum() > 1


def method(trial: TrialRecord) -> str:
    return str(trial.point["perturbation.method"])


def test_several_quantities_are_panels_with_a_common_colour_bar(root: Path) -> None:
    drawn = charted(root, "planted", "relative_norm", "source", "worst_language", "train_seconds", "cvar", colour=STEPS)
    figure = scatter.draw(drawn).figure
    assert len(figure.axes) == 5
    assert figure.axes[-1].get_ylabel().split() == [STEPS, "(steps)"]
    assert figure.axes[1].get_ylabel() == "worst language, validation\naccuracy (points)"


CASES: Sequence[tuple[str, str, dict[str, Any]]] = [
    (EPSILON, "target_mean", {}),
    ("configuration", "target_mean", {"colour": EPSILON}),
    ("source", "low_resource_mean", {"colour": "configuration"}),
    (EPSILON, "kind", {"colour": STEPS}),
    ("configuration", "language:sw", {"phase": "confirm", "colour": "seed"}),
]


def shown_texts(figure: Figure) -> Iterator[Text]:
    """Every text that is drawn; ticks outside of the view have one too, which is not."""
    yield from figure.texts
    for legend in figure.legends:
        yield from (*legend.get_texts(), legend.get_title())
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            yield from (t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high)


@pytest.mark.parametrize(("x", "y", "more"), CASES)
def test_no_texts_lie_over_one_another(root: Path, x: str, y: str, more: dict[str, Any]) -> None:
    figure = scatter.draw(charted(root, "planted", x, y, **more)).figure
    figure.savefig(io.BytesIO(), format="png")
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown_texts(figure) if t.get_text().strip()]
    assert len(boxes) > 6
    for text, box in boxes:
        assert box.x0 > -1 and box.y0 > -1, text
        assert box.x1 < figure.bbox.width + 1 and box.y1 < figure.bbox.height + 1, text
    for (text, box), (other, its) in combinations(boxes, 2):
        is_over = min(box.x1, its.x1) - max(box.x0, its.x0) > 1 and min(box.y1, its.y1) - max(box.y0, its.y0) > 1
        assert not is_over, (text, other)


@pytest.mark.parametrize("ending", plotting.ENDINGS)
def test_every_kind_of_file_comes_with_its_numbers(root: Path, tmp_path: Path, ending: str, capsys: Any) -> None:
    out = tmp_path / "new" / f"figure{ending}"
    assert study("plot", "planted", "--root", root, "--x", EPSILON, "--y", "language:sw", "--out", out) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert sorted(p.name for p in out.parent.iterdir()) == sorted([out.name, "figure.csv"])
    first = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF", ".html": b"<!doctype html>"}[ending]
    assert out.read_bytes().startswith(first)
    table = pd.read_csv(tmp_path / "new" / "figure.csv")
    assert list(table.columns) == ["trial", "role", "state", "seed", "step", EPSILON, "language:sw"]
    assert len(table) == 27


def test_a_title_that_no_font_can_write_is_the_name_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scatter, "INSTALLED", ["DejaVu Sans"])
    drawn = charted(root, "planted", EPSILON, "target_mean")
    assert scatter.draw(drawn).figure.texts[0].get_text().replace("\n", " ") == drawn.title
    figure = scatter.draw(replace(drawn, title="planted: 小半径有帮助吗？")).figure
    assert figure.texts[0].get_text() == "planted"


def test_the_same_figure_has_the_same_bytes(root: Path) -> None:
    drawn = charted(root, "planted", EPSILON, "target_mean")
    assert plotting.rendered(drawn, ".svg") == plotting.rendered(drawn, ".svg")


def test_points_of_a_page_say_what_they_are(root: Path) -> None:
    drawn = charted(root, "planted", EPSILON, "target_mean", colour=STEPS)
    page = plotting.rendered(drawn, ".html").decode()
    svg = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    (group,) = (g for g in svg.iter() if g.get("id") == "points-0-0")
    titles = [e.text or "" for e in group.iter() if e.tag.endswith("title")]
    assert len(titles) == 24
    row = drawn.points[drawn.points["trial"] == 3].iloc[0]
    (mine,) = (t for t in titles if t.startswith("trial 3\n"))
    assert f"(points): {100 * row['target_mean']:.4g}" in mine
    assert "<script" not in page


def test_by_default_it_is_in_the_studys_report(root: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.copytree(root / "searched", tmp_path / "searched")
    assert study("plot", "searched", "--root", tmp_path, "--x", EPSILON, "--y", "language:sw") == 0
    path = tmp_path / "searched" / "report" / "language-sw_by_perturbation.epsilon.svg"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.exists() and path.with_suffix(".csv").exists()


MISTAKES = [
    (["--x", "epsilon", "--y", "target_mean"], "--x: no such quantity, did you mean 'perturbation.epsilon'?"),
    (["--x", "seed", "--y", "target_meen"], "--y: no such quantity, did you mean 'target_mean'? (got 'target_meen')"),
    (["--x", "seed", "--y", "target_mean", "--colour", "zzz"], "study plot planted --list has their names (got 'zzz')"),
    (["--x", "seed", "--y", "language:xx"], "--y: this language was not evaluated"),
    (["--x", "seed", "--y", "language:German"], "--y: this language was not evaluated, did you mean 'de'?"),
    (["--x", "seed", "--y", "target_mean of f1"], "--y: unknown metric, known: accuracy (got 'target_mean of f1')"),
    (["--x", "training.batch_size", "--y", "source"], "--x: has one value in every trial, 32"),
    (["--x", "kind", "--y", "source", "--log-x"], "--log-x: needs numbers above zero (got kind)"),
    (["--x", "seed", "--y", "source", "--split", "test"], "no trial of this phase has a score on this split yet"),
    (["--x", "seed", "--y", "source", "--out", "a.jpg"], "--out: must end with .svg, .png, .pdf or .html (got a.jpg)"),
    (["--x", "seed"], "--x and --y are needed"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "line"), MISTAKES)
def test_a_mistake_is_a_line_and_nothing_is_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert study("plot", "planted", "--root", root, *arguments) == 2
    assert line in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_no_figures_stays(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("precious")
    drawn = charted(root, "planted", EPSILON, "target_mean")
    with pytest.raises(UserError, match="belongs to no figure"):
        plotting.write(drawn, tmp_path / "mine.svg")
    assert (tmp_path / "mine.csv").read_text() == "precious"


def test_every_listed_name_can_be_drawn(root: Path, capsys: Any) -> None:
    assert study("plot", "planted", "--root", root, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split("  ")[1] for line in lines if line.startswith("  ")]
    assert {EPSILON, "language:sw", "group:low_resource", "worst_language", "train_seconds", "trial"} <= set(names)
    found = find(root, "planted")
    seen = quantities.observations(found, "run", "validation")
    for name in names:
        assert quantities.find(found, seen, name, "--x").name == name
