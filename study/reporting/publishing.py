"""From the names of studies, or a file of results, to a report on disk and in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from study.record import roots
from study.record.place import REPORT
from study.reporting import foreign, report
from study.reporting.foreign import NOTHING
from study.reporting.known import Said
from study.reporting.source import Source, from_ledger
from study.tracking.tracker import log_artifacts
from trainables.errors import UserError


def publish(
    names: Sequence[str], root: Path, results: Path | None = None, said: Said = NOTHING, out: Path | None = None
) -> None:
    """Write the report of the named studies, of anyone's results, or of both side by side, and print where it is.

    It is in `out`, or in the study's own folder; that of several in the present one. With the studies' runs in MLflow
    it becomes an artifact of theirs; without MLflow that is one warning.
    """
    if not names and results is None:
        raise UserError("report: name a study, or give a file of results with --from")
    sources: list[Source] = [from_ledger(name, root) for name in names]
    if results is not None:
        sources += foreign.read(results, said)
    elif said != NOTHING:
        raise UserError("report: --source, --headline, --endpoint, --control and --metric are about --from")
    places = [roots.place(root, name) for name in names]
    folder = out or (places[0].report if len(sources) == 1 and names else Path(REPORT))
    print(report(sources, folder))
    for place in places:
        try:
            log_artifacts(place, [folder])
        except UserError as error:
            print(f"not stored in MLflow: {error}", file=sys.stderr)
