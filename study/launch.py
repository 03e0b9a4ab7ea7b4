"""Starting and resuming a study from the command line: what is refused, what is shown meanwhile and at the end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import preflight, show
from study.config import StudyConfig, study_directory
from study.ledger import LEDGER, read_events
from study.progress import Mode, watched
from trainables.loading import UserError, shown

LOG = "log.txt"
"""Beside the ledger: what Ray, transformers and others have to say."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what."""

    root: Path
    mode: Mode = "auto"
    address: str | None = None
    max_failures: int | None = None
    take_over: bool = False


def run(config: StudyConfig, options: Options) -> int:
    """Run a new study and print its result; a finished one of the same configuration only prints it.

    Returns the exit status: 0 done, 1 failed. Raises `UserError` for anything that forbids to start.
    """
    if (study_directory(options.root, config.name) / LEDGER).exists():
        existing = show.find(options.root, config.name)
        _same_configuration(config, existing)
        if existing.condition != "finished":
            raise UserError(_how_to_go_on(existing))
        return _conclude(options, config.name)
    preflight.check(config, options.root, options.address)
    return _execute(config, options, resume=False)


def resume(name: str, options: Options) -> int:
    """Go on with an unfinished study under its own configuration, then as `run`."""
    existing = show.find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    if existing.condition == "finished":
        return _conclude(options, name)
    preflight.check(existing.config, options.root, options.address)
    return _execute(existing.config, options, resume=True)


def _execute(config: StudyConfig, options: Options, resume: bool) -> int:
    folder = study_directory(options.root, config.name)
    earlier = read_events(folder / LEDGER) if resume else []
    try:
        planned, score = show.planned(config), show.first_value(config)
        with watched(config, planned, score, folder / LOG, options.mode, earlier) as events:
            from study.runner import run_study

            run_study(
                config,
                options.root,
                resume=resume,
                take_over=options.take_over,
                events=events,
                address=options.address,
                max_failures=options.max_failures,
            )
    except KeyboardInterrupt:
        print(f"interrupted; go on with study resume {config.name}{_root(options.root)}", file=sys.stderr)
        raise
    finally:
        _remove_if_nothing_began(folder)
    return _conclude(options, config.name)


def _conclude(options: Options, name: str) -> int:
    study = show.find(options.root, name)
    if options.mode != "json":
        print(show.result(study))
        if study.condition == "finished":
            print(f"\nThe same in MLflow: study mlflow{_root(options.root)}")
    return 0 if study.condition == "finished" and any(t.state == "COMPLETE" for t in study.trials) else 1


def _same_configuration(config: StudyConfig, existing: show.Study) -> None:
    different = list(_differences(existing.config.model_dump(mode="json"), config.model_dump(mode="json")))
    if different:
        raise UserError(
            *different,
            f"name: {config.name} is the name of a study with another configuration; choose another with name=…",
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: the existing study has {shown(before)} (got {shown(after)})")
    return lines


def _how_to_go_on(existing: show.Study) -> str:
    if existing.condition == "running":
        return f"name: {existing.name} is being run by another process; watch it with study show {existing.name}"
    return f"name: {existing.name} has begun and is not finished; go on with study resume {existing.name}"


def _root(root: Path) -> str:
    return "" if root == Path("studies") else f" --root {root}"


def _remove_if_nothing_began(folder: Path) -> None:
    """Where a start was refused there is nothing but the log: no trace is left."""
    if not (folder / LEDGER).exists():
        (folder / LOG).unlink(missing_ok=True)
        for path in (folder, folder.parent):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
