"""Which figures the data of one study allow."""

from __future__ import annotations

from collections.abc import Iterator

from study.reporting import calibration_figures, confirmation_figures, dose_figures, trial_figures
from study.reporting.findings import Findings
from study.reporting.style import Figure


def all_figures(findings: Findings) -> Iterator[Figure]:
    """Every one, in the order of the page."""
    source, confirmed, dosed = findings.source, findings.confirmed, findings.dosed
    if confirmed is not None:
        yield confirmation_figures.controls(source, confirmed)
        yield confirmation_figures.forest(source, confirmed)
        yield confirmation_figures.resources(source, confirmed)
        if len(confirmed.reliability):
            yield calibration_figures.reliability(source, confirmed)
    if dosed is not None:
        yield dose_figures.panels(source, dosed)
        yield dose_figures.heat_map(source, dosed)
    if len(source.summary):
        if (lines := trial_figures.parallel_coordinates(source)) is not None:
            yield lines
        if len(findings.importances):
            yield trial_figures.importance_bars(findings)
        yield trial_figures.cost_scatter(source)
