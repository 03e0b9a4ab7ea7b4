"""From the names of studies, or a file of results, to a report on disk and in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from study.record import roots
from study.record.place import REPORT, Place
from study.reporting import foreign, report
from study.reporting.foreign import NOTHING
from study.reporting.known import Said
from study.reporting.source import Source, from_ledger
from study.suite.found import find, is_suite
from study.tracking.tracker import log_artifacts
from trainables.errors import UserError


def publish(
    names: Sequence[str], root: Path, results: Path | None = None, said: Said = NOTHING, out: Path | None = None
) -> None:
    """Write the report of the named studies, of anyone's results, or of both side by side, and print where it is.

    It is in `out`, or in the study's own folder; that of several in the present one. With the studies' runs in MLflow
    it becomes an artifact of theirs; without MLflow that is one warning.
    """
    suite = next((name for name in names if is_suite(root, name)), None)
    if suite is not None:
        if len(names) > 1 or results is not None:
            raise UserError(f"report: {suite} is a suite, which has a report of its own: name it alone, or its members")
        publish_suite(suite, root, out)
        return
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
        _track(place, folder)


def publish_suite(name: str, root: Path, out: Path | None = None) -> None:
    """Write the reports of a suite's members, and a page that sets them side by side, and print where that is.

    It is in `out`, or in the suite's own folder, and each member's in a folder below. Raises `UserError` where no
    member has anything to report; what others lack is said on the page.
    """
    from study.reporting import files, findings, pooled_doses, pooling, suite_page, write

    suite = find(root, name)
    folder, found = out or suite.place.report, {}
    for member in suite.members.values():
        try:
            found[member.name] = findings.find(from_ledger(member.place.name, root))
        except UserError as error:
            print(f"{member.name}: no report, {error}", file=sys.stderr)
            continue
        write([found[member.name]], folder / member.name)
    if not found:
        raise UserError(f"{name}: no member has anything to report")
    page = folder / "report.html"
    answers, doses = (each.together(found, suite.config.suite.endpoint) for each in (pooling, pooled_doses))
    files.replace_text(page, suite_page.written(suite, found, {m: f"{m}/report.html" for m in found}, answers, doses))
    files.write_suite(found, answers, doses, folder)
    print(page)
    for member_name in found:
        _track(suite.members[member_name].place, folder / member_name)


def _track(place: Place, folder: Path) -> None:
    """A report to the artifacts of its study's runs; without MLflow that is one warning."""
    try:
        log_artifacts(place, [folder])
    except UserError as error:
        print(f"not stored in MLflow: {error}", file=sys.stderr)
