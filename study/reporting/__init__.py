"""From a study to a page that a reviewer can read.

`report` writes, into one folder: ``report.html`` (self-contained, loads nothing), ``report.md``, ``tables.tex``, and
the numbers behind them as CSV and Parquet.

source     a study's ledger, or foreign: anyone's results, with what is known of them and foreign_problems
findings   everything that is said of one study, computed once; start here. words: its conclusions
suite_words  conclusions over many tasks, out of pooled gains and slopes
tables     which ones the data allow; table: one description, three renderings; page: the HTML; files: what stands
           beside it; publishing: the command
suite_page  the members of a suite side by side, with links to their own pages; pooling: what they say together;
            pooled_doses: what their designs do; slopes: which languages gain more; benchmark: tasks by score,
            languages by task
beside     ours beside what others have published
figures    which ones the data allow: trial_figures, dose_figures, confirmation_figures, calibration_figures
style      their look
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.reporting.source import Source

if TYPE_CHECKING:
    from study.reporting.findings import Findings


def report(sources: Sequence[Source], out: Path) -> Path:
    """Write the report of one study or of several side by side into the folder `out`; returns its page.

    With several studies each has its own folder for Markdown, LaTeX and data, and one page compares them.
    """
    from study.reporting import findings

    assert sources, "a report needs at least one study"
    return write([findings.find(source) for source in sources], out)


def write(found: Sequence[Findings], out: Path) -> Path:
    """As `report`, of what was found already."""
    from study.reporting import files, page

    out.mkdir(parents=True, exist_ok=True)
    for each, name in zip(found, page.anchors(found), strict=True):
        files.write(each, out if len(found) == 1 else out / name)
    if len(found) > 1:
        files.write_compared(found, out)
    target = out / "report.html"
    files.replace_text(target, page.page(found))
    return target
