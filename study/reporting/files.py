"""What a report leaves beside its page: tables as text, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from study.analysis.differences import Difference
from study.analysis.dose import Response
from study.reporting import beside, page, pooled_doses, slopes
from study.reporting.dose_figures import sampled
from study.reporting.findings import ALL_UNIT, Findings
from study.reporting.pooled_doses import Doses
from study.reporting.pooling import Together
from trainables.storage.files import replaced


def write(found: Findings, folder: Path) -> None:
    """Markdown, LaTeX, CSV and Parquet files of one study."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "report.md", page.markdown(found))
    replace_text(folder / "tables.tex", page.latex(found))
    if found.source.resolved:
        replace_text(folder / "configuration.yaml", found.source.resolved)
    _tabulate(frames(found), folder)
    for name, rows in (("trials", found.source.trials), ("results", found.source.results)):
        if rows is not None and len(rows):
            _storable(rows).to_parquet(folder / f"{name}.parquet", index=False)


def write_compared(all_findings: Sequence[Findings], folder: Path) -> None:
    """CSV files of what several studies are compared by, beside their page."""
    _tabulate(compared_frames(all_findings), folder)


def write_suite(found: Mapping[str, Findings], answers: Together, doses: Doses | None, folder: Path) -> None:
    """CSV files of the numbers of a suite's own tables, beside its page."""
    _tabulate(suite_frames(found, answers, doses), folder)


def suite_frames(
    found: Mapping[str, Findings], answers: Together, doses: Doses | None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """What is published of the members' tasks beside ours (members with none are not in it), which languages gain more,
    and the design pooled."""
    published = [beside.frame(each.published).assign(member=name) for name, each in found.items() if each.published]
    if published:
        yield "reference", pd.concat(published, ignore_index=True)
    if answers.slopes:
        yield "gain_slopes", slopes.frame(answers.slopes)
    if doses is not None:
        yield from pooled_doses.frames(doses)


def _tabulate(named: Iterable[tuple[str, pd.DataFrame]], folder: Path) -> None:
    for name, frame in named:
        replace_text(folder / f"{name}.csv", frame.to_csv(index=False))


def compared_frames(all_findings: Sequence[Findings]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The numbers of the figures in which several studies stand side by side."""
    claims = [_seeds([f.confirmed.claim]).assign(study=f.source.name) for f in all_findings if f.confirmed is not None]
    if claims:
        yield "claims", pd.concat(claims, ignore_index=True)
    dosed = [(f.source.name, [r for r in f.dosed.responses if r.unit == ALL_UNIT]) for f in all_findings if f.dosed]
    levels = [_levels(responses).assign(study=name) for name, responses in dosed if responses]
    if levels:
        yield "doses", pd.concat(levels, ignore_index=True)


def _seeds(found: Sequence[Difference]) -> pd.DataFrame:
    """One row per comparison and seed, with the estimate and its intervals beside it; score units."""
    rows = [
        {
            "treatment": d.treatment, "control": d.control, "reduction": d.name, "seed": seed, "difference": value,
            "estimate": d.estimate, "seed_low": d.by_seed.low, "seed_high": d.by_seed.high, "both_low": d.by_both.low,
            "both_high": d.by_both.high,
        }
        for d in found
        for seed, value in zip(d.seeds, d.per_seed, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def frames(found: Findings) -> Iterator[tuple[str, pd.DataFrame]]:
    """The numbers of the tables and figures, unrounded; scores and gains as fractions."""
    confirmed, dosed = found.confirmed, found.dosed
    if confirmed is not None:
        yield "scores", confirmed.scores
        yield "controls", _seeds(confirmed.controls)
        yield "languages", confirmed.languages
        yield "groups", confirmed.groups
        yield "gains_by_language", confirmed.by_language
        if len(confirmed.further):
            yield "further", confirmed.further
        if len(confirmed.reliability):
            yield "reliability", confirmed.reliability
    if found.published:
        yield "reference", beside.frame(found.published)
    if dosed is not None:
        yield "gains", dosed.gains
        if dosed.searched:
            yield "samples", sampled(found.source, dosed)
        yield "language_map", dosed.language_map
        for name, responses in (("doses", dosed.responses), ("doses_by_language", dosed.by_language)):
            if responses:
                yield name, _levels(responses)
        if len(dosed.trend):
            yield "resource_trend", dosed.trend
    if len(found.source.summary):
        yield "trials", found.source.summary
    if len(found.importances):
        yield "importances", found.importances


def _levels(responses: Sequence[Response]) -> pd.DataFrame:
    """Every level, with what is concluded of its response beside it."""
    rows = [
        r.levels.assign(
            unit=r.unit, series=r.series, over=r.over, harm_from=r.harm_from, best=r.best,
            optimum_low=r.optimum.low, optimum_high=r.optimum.high,
        )
        for r in responses
    ]  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types (parameters that are numbers here and words there, examples) as text."""
    mixed = [c for c in frame.columns if frame[c].dtype == object and frame[c].dropna().map(type).nunique() > 1]
    return frame.assign(**{c: frame[c].map(str).where(frame[c].notna(), None) for c in mixed})


def replace_text(path: Path, text: str) -> None:
    """Write a file aside and move it into place, so that a reader never finds half of one."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    with replaced(path) as aside:
        aside.write_bytes(content)
