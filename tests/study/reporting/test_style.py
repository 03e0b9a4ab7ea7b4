"""Palettes are told apart by all eyes; figures say nothing by colour alone."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from study.reporting import style
from study.reporting.figures import all_figures
from study.reporting.findings import Findings
from study.reporting.trial_figures import _mix
from study.tracking.runs import COLOURS, REFERENCE_COLOUR
from tests.study.reporting.colours import EYES, distance

LEAST = 15.0
"""Of two colours of one palette: several times what is just noticeable, as they are far apart and small."""


def hexadecimal(colour: str) -> str:
    """``rgb(1,2,3)`` as ``#010203``."""
    return "#" + "".join(f"{int(part):02x}" for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


PALETTES = {
    "classes": tuple(style.CLASS_COLOURS.values()),
    "series": style.SERIES_COLOURS,
    "seen and unseen": (style.ACCENT, style.SECOND),
    "runs": (*COLOURS, REFERENCE_COLOUR),
}

SCALES = {
    "gains": tuple(colour for _, colour in style.DIVERGING),
    "ranks": tuple(hexadecimal(_mix(share)) for share in (0.0, 0.5, 1.0)),
}


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", PALETTES)
def test_any_two_colours_of_a_palette_are_told_apart(name: str, eye: str) -> None:
    for one, other in combinations(PALETTES[name], 2):
        assert distance(one, other, eye) >= LEAST, (one, other)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", SCALES)
def test_a_scale_goes_one_way(name: str, eye: str) -> None:
    """Neighbours differ, and the ends differ most: losses are never taken for gains."""
    colours = SCALES[name]
    steps = [distance(one, other, eye) for one, other in pairwise(colours)]
    assert min(steps) >= LEAST
    assert distance(colours[0], colours[-1], eye) > max(steps)


def test_the_simulation_sees_what_is_known_to_fall_together() -> None:
    red, green = "#d62728", "#2ca02c"
    assert distance(red, green, "normal") > 100
    assert distance(red, green, "deuteranopia") < LEAST
    assert distance("#000000", "#ffffff", "protanopia") == pytest.approx(100, abs=0.5)


def test_what_has_a_colour_of_its_own_has_a_symbol_of_its_own(found: Findings) -> None:
    assert len(set(style.SERIES_SYMBOLS)) == len(style.SERIES_COLOURS)
    assert style.CLASS_SYMBOLS.keys() == style.CLASS_COLOURS.keys()
    for figure in all_figures(found):
        named = [
            t for t in figure.drawing.data if t.type == "scatter" and "markers" in t.mode and t.showlegend is not False
        ]
        looks = {(t.marker.symbol, t.name) for t in named if t.name}
        assert len({symbol for symbol, _ in looks}) == len({name for _, name in looks})
