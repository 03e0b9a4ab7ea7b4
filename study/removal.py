"""`study rm`: what a study holds, the question, and the removal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from study.planning.needs import size
from study.record import removal, roots
from study.record.place import Place
from study.suite import found as suites
from study.suite.found import is_suite
from study.tracking import removal as tracking
from study.tracking.server import default_uri, public
from study.views import layout
from study.views.found import Study, find
from trainables.errors import NAME_PATTERN, UserError

REMOVED, KEPT = 0, 1
"""What `remove` returns."""


def remove(root: Path, name: str, yes: bool = False, checkpoints_only: bool = False, take_over: bool = False) -> int:
    """Say what a study holds, ask, and remove it, or its checkpoints alone; `yes` answers the question.

    Returns 0 once it is removed, 1 if it is not to be. Raises `UserError` where there is no such study, a driver holds
    it (`take_over`: even so), or nobody can be asked.
    """
    if is_suite(root, name):
        return _remove_suite(root, name, yes, checkpoints_only, take_over)
    study, place = _found(root, name), roots.place(root, name)
    if study is not None and study.condition == "running" and not take_over:
        raise UserError(f"name: {name} is being run by another process; stop it first, or, if it is gone, --take-over")
    print("\n".join(_inventory(place, study)))
    if checkpoints_only:
        print(_without_checkpoints(study))
    what = f"the checkpoints of the study {name}" if checkpoints_only else f"the study {name} for good"
    if not (yes or agreed(f"Remove {what}? [y/N] ", "rm")):
        print("nothing was removed")
        return KEPT
    if checkpoints_only:
        removal.remove_checkpoints(place, take_over)
        print(f"removed the checkpoints of the study {name}")
        return REMOVED
    try:
        removal.remove(place, take_over, lambda: _discard_runs(root, name, study))
    except KeyboardInterrupt:
        print(f"interrupted; study rm {name} completes the removal", file=sys.stderr)
        raise
    print(f"removed the study {name}")
    return REMOVED


def _remove_suite(root: Path, name: str, yes: bool, checkpoints_only: bool, take_over: bool) -> int:
    """As `remove`, of all members of a suite; then of the suite itself, unless it is about checkpoints alone."""
    suite = suites.find(root, name)
    if suite.condition == "running" and not take_over:
        raise UserError(f"name: {name} is being run by another process; stop it first, or, if it is gone, --take-over")
    begun = [member.place.name for member in suite.members.values() if member.place.ledger.is_file()]
    for member in begun:
        print("\n".join(_inventory(roots.place(root, member), _found(root, member))))
    what = f"the {'checkpoints of all members of the ' * checkpoints_only}suite {name}"
    what += "" if checkpoints_only else f" for good, with its {len(begun)} studies"
    if not (yes or agreed(f"Remove {what}? [y/N] ", "rm")):
        print("nothing was removed")
        return KEPT
    for member in begun:
        remove(root, member, True, checkpoints_only, take_over)
    if not checkpoints_only:
        removal.remove(suite.place, take_over)
        print(f"removed the suite {name}")
    return REMOVED


def _found(root: Path, name: str) -> Study | None:
    """The study; None for one that is damaged, or of which an interrupted removal has left something."""
    if re.fullmatch(NAME_PATTERN, name) is None:  # a path may lead out of the root
        raise UserError(f"{name}: no such study under {roots.shown(root)}")
    try:
        return find(root, name)
    except UserError:
        if roots.place(root, name).ledger.is_file() or removal.is_pending(roots.place(root, name)):
            return None
        raise


def _inventory(place: Place, study: Study | None) -> Iterator[str]:
    for where, kinds in removal.contents(place).items():
        total = sum(kinds.values())
        yield f"{where}: {size(total)}"
        by_size = sorted(kinds.items(), key=lambda item: -item[1])
        yield layout.columns([[f"  {kind}", size(count)] for kind, count in by_size])
    if _is_tracked_here(place.root, study):
        count, weight = tracking.runs(place.root, place.name), tracking.artifact_bytes(place.root, place.name)
        yield f"MLflow: {count} runs, {size(weight)} of artifacts"


def _without_checkpoints(study: Study | None) -> str:
    """What is no longer possible then."""
    under_way = [] if study is None else [t for t in study.trials if t.state == "running"]
    begin = f"; the {len(under_way)} trials under way begin anew" if under_way else ""
    return (
        "Without checkpoints no trial goes on from where it was, neither resumed nor retried, and no trained model is "
        f"left to take out{begin}. Scores, tables and reports stay."
    )


def agreed(question: str, command: str) -> bool:
    """Whether the user of a command says yes. Raises `UserError` where there is no terminal to ask at."""
    if not sys.stdin.isatty():
        raise UserError(f"{command}: there is no terminal to ask at; --yes removes it without a question")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _is_tracked_here(root: Path, study: Study | None) -> bool:
    """Whether the study's runs are in the MLflow under its root, which is there."""
    is_own = study is not None and study.config.tracking.uri is None
    return is_own and (root / "mlflow.db").exists()


def _discard_runs(root: Path, name: str, study: Study | None) -> None:
    """Put the study's runs into MLflow's bin, and say where they are. Those on a server are left, and that is said."""
    if study is not None and study.config.tracking.uri is not None:
        print(f"MLflow at {public(study.config.tracking.uri)} keeps its runs")
    if not _is_tracked_here(root, study):
        return
    try:
        aside = tracking.discard(root, name)
    except UserError as error:
        print(f"{error}; it keeps the study's runs")
        return
    if aside is not None:
        command = f"mlflow gc --backend-store-uri {default_uri(root)}"
        print(f"MLflow has its runs in the bin, as {aside}; {command} frees them")
