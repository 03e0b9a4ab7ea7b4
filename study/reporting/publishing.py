"""From the names of studies, or a file of results, to a report on disk and in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from study.question.config import study_directory
from study.record.lines import LEDGER
from study.reporting import foreign, report
from study.reporting.foreign import NOTHING
from study.reporting.known import Said
from study.reporting.source import Source, from_ledger
from study.tracking.tracker import log_artifacts
from trainables.errors import UserError

FOLDER = "report"
"""Default folder: in the study's own, or in the root where several studies are compared."""


def publish(
    names: Sequence[str], root: Path, results: Path | None = None, said: Said = NOTHING, out: Path | None = None
) -> None:
    """Write the report of the named studies, of anyone's results, or of both side by side, and print where it is.

    With the studies' runs in MLflow the report becomes an artifact of theirs; without MLflow that is one warning.
    """
    if not names and results is None:
        raise UserError("report: name a study, or give a file of results with --from")
    sources: list[Source] = [from_ledger(name, root) for name in names]
    if results is not None:
        sources += foreign.read(results, said)
    elif said != NOTHING:
        raise UserError("report: --source, --headline, --endpoint, --control and --metric are about --from")
    folder = out or (study_directory(root, names[0]) / FOLDER if len(sources) == 1 and names else Path(FOLDER))
    print(report(sources, folder))
    for name in names:
        try:
            log_artifacts(study_directory(root, name) / LEDGER, [folder], folder=FOLDER)
        except UserError as error:
            print(f"not stored in MLflow: {error}", file=sys.stderr)
