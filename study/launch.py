"""Starting and resuming a study from the command line: what is refused, what is shown meanwhile and at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.planning import doctor, needs, preflight
from study.question.config import StudyConfig
from study.record import roots
from study.record.lines import Reading, begun_as
from study.record.place import Place
from study.record.record import StudyRecord
from study.views import layout, tables
from study.views.found import Study, find
from study.views.progress import Mode, watched
from study.views.values import first_value
from trainables.errors import UserError, shown

NO_PART_OF_A_STUDY = ("search.max_failures", "search.left_out", "measured", "reference")
"""Keys that are no choice of a result: an option of a command, or a later recipe, may have changed them, they follow
from the rest, or from what the machine had where the study began."""

ONCE_NO_CHOICE = ("trial.task.words",)
"""Keys that are none in studies from before there was a choice: those go on with what they had."""


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what."""

    root: Path
    mode: Mode = "auto"
    address: str | None = None
    max_failures: int | None = None
    take_over: bool = False


def run(config: StudyConfig, options: Options, learn_from: Sequence[str] = ()) -> int:
    """Run a new study and print its result; a finished one of the same configuration only prints it.

    `learn_from` names studies under the same root whose ended trials become history to the sampler.
    Returns the exit status: 0 done, 1 failed. Raises `UserError` for anything that forbids to start.
    """
    existing = begun(config, options)
    if existing is not None:
        if existing.condition != "finished":
            raise UserError(_how_to_go_on(existing))
        return _conclude(options, existing)
    preflight.check(config, options.root, options.address)
    place = roots.place(options.root, config.name)
    others = [find(options.root, n).record for n in learn_from]
    return _execute(config, place, options, Reading(place.ledger), learn_from=others)


def begun(config: StudyConfig, options: Options) -> Study | None:
    """The study of this name where there is one. Raises `UserError` where it is another one than `config`."""
    roots.refresh(options.root, config.name)
    if begun_as(roots.place(options.root, config.name).ledger) is None:
        return None
    existing = find(options.root, config.name)
    same_configuration(config, existing)
    return existing


def resume(name: str, options: Options, known: Study | None = None) -> int:
    """Go on with an unfinished study, `known` if it was read already, under its own configuration; then as `run`."""
    existing = known or find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    if existing.condition == "finished":
        return _conclude(options, existing)
    preflight.check(existing.config, options.root, options.address)
    return _execute(existing.config, existing.place, options, existing.reading)


def confirm(name: str, options: Options, runners_up: int = 0, again: bool = False) -> int:
    """Confirm a finished study, or go on with its confirmation, and print what the test split says."""
    existing = find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    preflight.check(existing.config, options.root, options.address)
    return _confirm(existing, options, runners_up=runners_up, again=again)


def retry(name: str, options: Options, numbers: Sequence[int] = (), force: bool = False) -> int:
    """Run failed trials of a study again, `numbers` or all, and go on with what else is left of it; then as `run`.

    `force`: those too that failed by their own fault. Nothing is written where one of them may not.
    """
    from study.execution.retry import check_failures, choose

    existing = find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    config = existing.config
    chosen = choose(name, existing.record, numbers, force)
    check_failures(options.max_failures or config.search.max_failures, existing.record, chosen.numbers)
    preflight.check(config, options.root, options.address)
    if chosen.left:
        print(f"not retried: {chosen.left}", file=sys.stderr, flush=True)
    if chosen.phase == "confirm":
        return _confirm(existing, options, retry=chosen.numbers)
    return _execute(config, existing.place, options, existing.reading, retry=chosen.numbers)


def _confirm(existing: Study, options: Options, **what: Any) -> int:
    """Run trials of `confirm` and print what the test split says; `what`: see `study.execution.confirm`."""
    name, score = existing.name, first_value(existing.config)
    log, earlier = existing.place.log, existing.record.copied("confirm")
    _announce(existing.config, options)
    with (
        resumable(f"study confirm {name}", options.root),
        watched(existing.config, 0, score, log, options.mode, earlier) as events,
    ):
        from study.execution.confirm import confirm_study

        what |= {"reading": existing.reading, "take_over": options.take_over, "address": options.address}
        confirm_study(existing.place, events=events, **what)
    return _conclude(options, find(options.root, name, existing.reading))


def _execute(
    config: StudyConfig,
    place: Place,
    options: Options,
    reading: Reading,
    learn_from: Sequence[StudyRecord] = (),
    retry: Sequence[int] = (),
) -> int:
    from study.proposals.arms import run_arms

    planned, score = sum(arm.proposer.remaining() for arm in run_arms(config)), first_value(config)
    _announce(config, options)
    try:
        with (
            resumable(f"study resume {config.name}", options.root),
            watched(config, planned, score, place.log, options.mode, reading.record.copied()) as events,
        ):
            from study.execution.runner import run_study

            run_study(
                config,
                place,
                reading=reading,
                take_over=options.take_over,
                events=events,
                address=options.address,
                max_failures=options.max_failures,
                learn_from=learn_from,
                retry=retry,
            )
    finally:
        _remove_if_nothing_began(place)
    register(config, options, reading)
    return _conclude(options, find(options.root, config.name, reading))


def register(config: StudyConfig, options: Options, reading: Reading) -> None:
    """The chosen model to MLflow's registry at the study's end, where that is asked for."""
    if config.tracking.register_model:
        from study.models import models

        models.register_chosen(config.name, options.root, reading)


def _announce(config: StudyConfig, options: Options) -> None:
    """Say what this machine lacks, and what the checkpoints will take: on a cluster that depends on what it holds."""
    if options.mode not in ("auto", "plain"):
        return
    for line in doctor.brief(config, options.address):
        print(line, file=sys.stderr, flush=True)
    if options.address is None:
        print(f"disk: {needs.disk(config, options.root)}", flush=True)


@contextmanager
def resumable(command: str, root: Path) -> Iterator[None]:
    """Say how to go on after an interruption."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted; go on with {command}{shown_root(root)}", file=sys.stderr)
        raise


def _conclude(options: Options, study: Study) -> int:
    """Print a study's result; the exit status that it deserves."""
    if study.condition != "running":
        roots.settle(study.place)
    if options.mode != "json":
        print(tables.result(study, room=layout.width()))
        if study.condition == "finished":
            print(f"\nThe same in MLflow: study mlflow{shown_root(options.root)}")
    return 0 if study.condition == "finished" and any(t.state == "COMPLETE" for t in study.trials) else 1


def same_configuration(config: StudyConfig, existing: Study) -> None:
    """Raise `UserError` with what differs where an existing study of the same name is another one."""
    different = differences(existing.config, config)
    if different:
        raise UserError(
            *different,
            f"name: {config.name} is the name of a study with another configuration; choose another with name=…",
        )


def differences(existing: StudyConfig, config: StudyConfig, whose: str = "") -> list[str]:
    """What a study asks for that an existing one does not: a line each, which begins with `whose`."""
    return [f"{whose}{line}" for line in _differences(existing.model_dump(mode="json"), config.model_dump(mode="json"))]


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if f"{prefix}{key}" in NO_PART_OF_A_STUDY:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif before is None and f"{prefix}{key}" in ONCE_NO_CHOICE:
            continue
        elif before != after:
            yield f"{prefix}{key}: the existing study has {shown(before)} (got {shown(after)})"


def _how_to_go_on(existing: Study) -> str:
    if existing.condition == "running":
        return f"name: {existing.name} is being run by another process; watch it with study watch {existing.name}"
    return f"name: {existing.name} has begun and is not finished; go on with study resume {existing.name}"


def shown_root(root: Path) -> str:
    """How a command names a root, unless it is the usual one."""
    return "" if root == Path("studies") else f" --root {roots.shown(root)}"


def _remove_if_nothing_began(place: Place) -> None:
    """Where a start was refused there is nothing but the log: no trace is left."""
    if not place.ledger.exists():
        place.log.unlink(missing_ok=True)
        for path in (place.folder, place.root):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
