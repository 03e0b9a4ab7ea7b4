"""The page in a real browser: no console errors, no request off the page, every figure drawn, prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.analysis.frames import read_results
from study.reporting import files, report
from study.reporting.figures import all_figures
from study.reporting.findings import Findings
from study.reporting.foreign import from_results
from study.reporting.page import POLICY
from tests.study.reporting.browser import Browser, chromium
from tests.study.simulated import results


@pytest.fixture(scope="module")
def folder(found: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert report([found.source], out) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def outside_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_page_names_no_address_to_load(page: str) -> None:
    markup = outside_scripts(page)
    links = re.sub(r'<a href="[a-z_]+\.csv">', "", markup)  # followed by nobody but the reader
    assert not re.search(r"""(?:src|href|srcset|action)\s*=\s*["'](?!#|data:)""", links)
    assert "@import" not in markup
    assert "url(" not in markup
    assert f'content="{POLICY}"' in page


def test_plotly_is_embedded_once(page: str) -> None:
    assert len(re.findall(r"plotly\.js v\d", page)) <= 2  # its banner and licence line
    assert 4e6 < len(page) < 8e6


def test_page_says_question_protocol_conclusions_and_how_to_reproduce(page: str, found: Findings) -> None:
    text = outside_scripts(page)
    assert "little data &amp; nobody &lt;selected&gt;?" in text
    for part in ("What the data allow to say", "selection rule", "pivot_validation", "Reproducing it", "protocol hash"):
        assert part in text
    assert "study confirm planted" in text.replace("&amp;", "&")
    assert "tuned on cross-lingual sentence pairs" in text
    assert text.count("<figure") == len(list(all_figures(found)))


def test_files_stand_beside_the_page(folder: Path, found: Findings) -> None:
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "report.html", "report.md", "tables.tex", "configuration.yaml", "scores.csv", "languages.csv", "groups.csv",
        "controls.csv", "gains_by_language.csv", "reliability.csv", "further.csv",
        "gains.csv", "language_map.csv", "doses.csv", "doses_by_language.csv", "resource_trend.csv", "trials.csv",
        "importances.csv", "trials.parquet", "results.parquet",
    }  # fmt: skip
    assert found.confirmed is not None
    languages = pd.read_csv(folder / "languages.csv")
    assert languages["difference"].tolist() == pytest.approx(found.confirmed.languages["difference"].tolist())
    assert found.source.results is not None
    assert len(read_results(folder / "results.parquet")) == len(found.source.results)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# planted")
    assert "**Claim.**" in text
    assert r"\begin{tabular}" in (folder / "tables.tex").read_text(encoding="utf-8")


def test_what_is_missing_in_a_column_of_words_and_numbers_stays_missing(found: Findings, tmp_path: Path) -> None:
    mixed = [value for value, _ in zip(cycle([np.nan, None, 0.5, "auto"]), found.source.trials.index, strict=False)]
    trials = found.source.trials.assign(mixed=pd.Series(mixed, found.source.trials.index, dtype=object))
    files.write(replace(found, source=replace(found.source, trials=trials)), tmp_path)
    stored = pd.read_parquet(tmp_path / "trials.parquet")["mixed"]
    assert stored.isna().tolist() == pd.isna(trials["mixed"]).tolist() and set(stored.dropna()) == {"0.5", "auto"}


def test_every_figure_has_its_numbers_beside_it(
    found: Findings, searched: Findings, page: str, folder: Path, tmp_path: Path
) -> None:
    both = report([found.source, replace(found.source, name="twin"), searched.source], tmp_path)
    for each, root in ((page, folder), (both.read_text(encoding="utf-8"), tmp_path)):
        links = re.findall(r'Numbers: <a href="([^"]+)">', outside_scripts(each))
        assert len(links) == outside_scripts(each).count("<figure")
        assert all(len(pd.read_csv(root / link)) for link in links)
    assert found.confirmed is not None
    seeds = pd.read_csv(folder / "controls.csv").groupby("control")["difference"].mean()
    assert seeds.to_dict() == pytest.approx({d.control: d.estimate for d in found.confirmed.controls})
    samples = pd.read_csv(tmp_path / "searched" / "samples.csv")
    drawn = next(f for f in all_figures(searched) if f.name == "doses").drawing.data
    assert sorted(100 * samples["gain"]) == pytest.approx(sorted(y for trace in drawn for y in trace.y))
    assert set(pd.read_csv(tmp_path / "claims.csv")["study"]) == {"planted", "twin"}


def test_several_studies_share_one_page(found: Findings, searched: Findings, tmp_path: Path) -> None:
    page = report([found.source, searched.source], tmp_path).read_text(encoding="utf-8")
    assert "2 studies compared" in page
    assert (tmp_path / "planted" / "languages.csv").exists()
    assert (tmp_path / "searched" / "trials.csv").exists()
    anchors = set(re.findall(r'href="#([^"]+)"', outside_scripts(page)))
    assert anchors == set(re.findall(r'<h2 id="([^"]+)"', page))


def test_names_of_studies_are_no_paths_and_no_markup(tmp_path: Path) -> None:
    frame = results(np.random.default_rng(0), {"winner": 0.1}, ["de", "fi", "sw"], seeds=3, examples=9)
    names = ["../../up", "<b>&", "up"]
    sources = [s for name in names for s in from_results(frame.assign(study=name))]
    page = outside_scripts(report(sources, tmp_path / "out").read_text(encoding="utf-8"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b", "claims.csv", "report.html", "up", "up-2"]
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert 'id="study-up-2"' in page


@pytest.fixture(scope="module")
def browser(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(folder / "report.html")
        yield opened


@pytest.mark.slow
def test_page_is_silent_and_loads_nothing(browser: Browser, folder: Path) -> None:
    assert browser.errors == []
    assert browser.requests == [(folder / "report.html").resolve().as_uri()]


@pytest.mark.slow
def test_the_browser_would_see_an_error_and_a_request(tmp_path: Path, browser: Browser) -> None:
    """The two checks above can fail."""
    (tmp_path / "bad.html").write_text(
        "<script>console.error('no'); fetch('http://192.0.2.1/x').catch(() => 0)</script>"
    )
    with Browser(tmp_path / "profile") as other:
        other.open(tmp_path / "bad.html")
        assert any("no" in error for error in other.errors)
        assert any(url.startswith("http://192.0.2.1") for url in other.requests)


@pytest.mark.slow
def test_every_figure_is_drawn(browser: Browser, found: Findings) -> None:
    drawn = browser.evaluate(
        """[...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
            name: plot.id,
            marks: plot.querySelectorAll('.scatterlayer .trace, .heatmaplayer image, .barlayer .point').length,
            width: plot.getBoundingClientRect().width,
            overflow: document.documentElement.scrollWidth > document.documentElement.clientWidth,
            text: [...plot.querySelectorAll('[class^="x"][class$="title"]')].map(t => t.textContent).join(),
        }))"""
    )
    assert [d["name"].rpartition("-")[2] for d in drawn] == [f.name for f in all_figures(found)]
    for figure in drawn:
        assert figure["marks"] > 0
        assert figure["width"] > 600
        assert not figure["overflow"]
        assert figure["text"] or figure["name"].endswith("parallel")


@pytest.mark.slow
def test_page_fits_a_phone(folder: Path, tmp_path: Path) -> None:
    """Wide tables and figures scroll in boxes of their own, captions and text do not."""
    if chromium() is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with Browser(tmp_path / "profile") as phone:
        phone.resize(390, 844)
        phone.open(folder / "report.html")
        found = phone.evaluate(
            """right = all => [...document.querySelectorAll(all)].map(e => e.getBoundingClientRect().right), ({
                page: document.documentElement.scrollWidth,
                captions: right('caption, figcaption, .conclusions'),
                figures: right('.js-plotly-plot'),
            })"""
        )
    assert found["page"] == 390
    assert max(found["captions"]) <= 390
    assert min(found["figures"]) >= 600


@pytest.mark.slow
def test_page_prints(browser: Browser, tmp_path: Path) -> None:
    data = browser.pdf()
    assert data.startswith(b"%PDF")
    assert len(data) > 100_000
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 30
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 100_000
