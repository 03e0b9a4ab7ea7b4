"""What a report says of a study that compares encoders: everything is about the headline's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from study.export import headline
from study.plots import chart
from study.question import encoders
from study.reporting import confirmation_figures, tables
from study.reporting.findings import Findings, find
from study.reporting.source import from_ledger
from study.views import found as found_study
from tests.study.reporting import conftest
from tests.study.reporting.conftest import build, configured

WEAK, STRONG = "offline:e5-small", "bert-base-multilingual-cased"
LEAD = 0.25
"""How much better the strong one's scores are, whatever the method."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A design over two encoders, confirmed with two runners-up: one of the winner's encoder, one of the other."""
    root, plain = tmp_path_factory.mktemp("studies"), conftest.gain
    space = {encoders.NAME: [WEAK, STRONG], "perturbation.method": "adversarial", "perturbation.epsilon": [0.07, 0.1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "gain", lambda p, k: plain(p, k) + LEAD * (p.trial.encoder.name_or_path == STRONG))
        build(root, configured(search={"space": space, "levels": {}}), runners_up=2)
    return root


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    return find(from_ledger("planted", folder))


def test_gains_are_over_the_headlines_own_encoder(found: Findings) -> None:
    source, confirmed = found.source, found.confirmed
    assert confirmed is not None
    of_strong = source.trials[source.trials[encoders.NAME] == STRONG]
    assert set(source.chosen) < set(of_strong["trial"])
    assert set(source.baselines) == set(of_strong.loc[of_strong["kind"] == "baseline", "trial"])
    assert {d.control for d in confirmed.controls} == {"control a", "control c", "control d"}
    assert all(abs(d.estimate) < LEAD / 2 for d in (*confirmed.controls, *confirmed.others)), "no lead of an encoder"
    rows, _ = headline.headline(found) or ([], None)
    assert all(abs(row["difference"]) < LEAD for row in rows)


def test_a_runner_up_with_another_encoder_is_shown_and_compared_with_nothing(found: Findings) -> None:
    assert found.confirmed is not None
    (apart,) = found.source.apart
    assert apart not in {name for d in found.confirmed.others for name in (d.treatment, d.control)}
    assert len(found.confirmed.others) == 1
    assert (
        "Caution",
        f"{apart.capitalize()} has another encoder than the headline: it is compared with no control.",
    ) in (found.conclusions)
    assert apart in {row[0] for row in tables.scores(found.source, found.confirmed).rows}


def test_pretraining_is_the_headlines_own(found: Findings) -> None:
    source, confirmed = found.source, found.confirmed
    assert confirmed is not None and source.pretraining == ("mBERT",)
    seen = source.facts.set_index("language")["seen"]
    assert seen["yo"] and seen["ht"] and not seen["qu"], "by mBERT's list; XLM-R saw none of the three"
    labels = {trace.name for trace in confirmation_figures.resources(source, confirmed).drawing.data}
    assert {"seen in pretraining (mBERT)", "unseen"} <= labels
    assert "(mBERT's)" in tables.group_table(source, confirmed).caption


def test_a_figure_has_no_line_at_the_mean_of_several_encoders(folder: Path, root: Path) -> None:
    def level(place: Path) -> float:
        drawn = chart.chart(found_study.find(place, "planted"), chart.Request("relative_norm", ("target_mean",)))
        return drawn.reference(drawn.ys[0])

    assert math.isnan(level(folder)) and not math.isnan(level(root))


def test_doses_of_each_encoder_are_a_series(found: Findings) -> None:
    assert found.dosed is not None
    assert {name for r in found.dosed.responses for name in (WEAK, STRONG) if name in r.series} == {WEAK, STRONG}
    assert found.dosed.gains["gain"].abs().max() < LEAD
