"""What a report leaves beside its page: tables as text, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from study.analysis.dose import Response
from study.reporting import page
from study.reporting.findings import Findings
from trainables.storage.files import replaced


def write(found: Findings, folder: Path) -> None:
    """Markdown, LaTeX, CSV and Parquet files of one study."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "report.md", page.markdown(found))
    replace_text(folder / "tables.tex", page.latex(found))
    if found.source.resolved:
        replace_text(folder / "configuration.yaml", found.source.resolved)
    for name, frame in frames(found):
        replace_text(folder / f"{name}.csv", frame.to_csv(index=False))
    for name, rows in (("trials", found.source.trials), ("results", found.source.results)):
        if rows is not None and len(rows):
            _storable(rows).to_parquet(folder / f"{name}.parquet", index=False)


def frames(found: Findings) -> Iterator[tuple[str, pd.DataFrame]]:
    """The numbers of the tables and figures, unrounded; scores and gains as fractions."""
    confirmed, dosed = found.confirmed, found.dosed
    if confirmed is not None:
        yield "scores", confirmed.scores
        yield "languages", confirmed.languages
        yield "groups", confirmed.groups
    if dosed is not None:
        yield "gains", dosed.gains
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
    return frame.assign(**{c: frame[c].map(lambda v: None if v is None else str(v)) for c in mixed})


def replace_text(path: Path, text: str) -> None:
    """Write a file aside and move it into place, so that a reader never finds half of one."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    with replaced(path) as aside:
        aside.write_bytes(content)
