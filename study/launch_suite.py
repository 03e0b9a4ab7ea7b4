"""Starting, resuming and confirming a suite from the command line: as `launch`, of several studies in one pool."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from study import launch
from study.launch import Options
from study.planning import doctor, needs, preflight
from study.question import suites
from study.question.config import StudyConfig, SuiteConfig
from study.record import manifest, roots
from study.record.lines import Reading, begun_as
from study.suite import tables
from study.suite.found import FoundSuite, Member, begun_members, find
from study.views import found as studies
from study.views import layout, progress
from study.views.chatter import Listener
from study.views.picture import View
from study.views.suite_picture import SuiteView
from study.views.values import first_value
from trainables.errors import UserError, shown

if TYPE_CHECKING:
    from study.execution.suite import Joining

NOT_FINISHED = 1


def run(config: SuiteConfig, options: Options) -> int:
    """Run a new suite and print its result; a finished one that asks for the same only prints it.

    Returns the exit status: 0 done, 1 if a member failed or is not finished. Raises `UserError` for anything that
    forbids to start, with every mistake of every member; then nothing was written.
    """
    name, members = config.suite.name, suites.expand(config)
    existing = begun(config, options)
    if existing is not None:
        if existing.condition != "finished":
            raise UserError(_how_to_go_on(existing))
        return _conclude(options, existing)
    _take_on(members, options)
    preflight.check_together(members, options.root, options.address)
    manifest.write(roots.place(options.root, name), config.model_dump(mode="json"))
    return _run(find(options.root, name), options, {})


def begun(config: SuiteConfig, options: Options) -> FoundSuite | None:
    """The suite of this name where there is one. Raises `UserError` where it asks for something else than `config`."""
    name = config.suite.name
    roots.refresh(options.root, name)
    place = roots.place(options.root, name)
    if place.ledger.exists():
        raise UserError(f"suite.name: {name} is the name of a study; choose another with suite.name=… (got {name!r})")
    if not place.manifest.exists():
        return None
    existing = find(options.root, name)
    _same_suite(config, suites.expand(config), existing)
    return existing


def resume(name: str, options: Options) -> int:
    """Go on with an unfinished suite: its finished members are left as they are. Then as `run`."""
    existing = find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    if existing.condition == "finished":
        return _conclude(options, existing)
    done = [member.name for member in existing.members.values() if member.done]
    return _run(existing, options, _unfit(existing, options, done))


def confirm(name: str, options: Options, runners_up: int = 0, again: bool = False) -> int:
    """Confirm the members that are finished, or go on with it; those that are not are said."""
    existing = find(options.root, name)
    if existing.condition == "running" and not options.take_over:
        raise UserError(_how_to_go_on(existing))
    refused = {
        member.name: tables.cause(member) + ("" if member.done or member.problem else f"; study resume {name}")
        for member in existing.members.values()
        if not member.done or member.failed
    }
    refused |= _unfit(existing, options, refused)
    joining = [member for member in existing.members.values() if member.name not in refused]
    if not joining:
        raise UserError(*(f"{member}: not confirmed, {why}" for member, why in refused.items()))
    with _watched("confirm", existing, joining, options) as events:
        from study.execution.suite import confirm_suite

        how: dict[str, Any] = {"runners_up": runners_up, "again": again}
        how |= {"take_over": options.take_over, "address": options.address}
        refused |= confirm_suite(name, _joining(joining), events, **how)
    return _conclude(options, find(options.root, name), refused)


def retry(name: str, options: Options, force: bool = False) -> int:
    """Run failed trials of a suite's members again, member by member, as `launch.retry` does of a study.

    Returns the exit status: 0 if all members end well. Raises `UserError` where no member has a trial to retry; nothing
    is written then.
    """
    from study.execution.retry import choose

    suite, open_to_it, refused = find(options.root, name), [], {}
    for member in begun_members(suite):
        assert member.study is not None, "it has begun"
        try:
            choose(member.place.name, member.study.record, (), force)
        except UserError as error:
            refused[member.name] = str(error)
        else:
            open_to_it.append(member)
    if not open_to_it:
        raise UserError(*refused.values())
    codes = [launch.retry(member.place.name, options, (), force) for member in open_to_it]
    return max(codes)


def _run(suite: FoundSuite, options: Options, refused: Mapping[str, str]) -> int:
    """Run what is left of a suite; `refused`: members that cannot, and why."""
    joining = [m for m in suite.members.values() if not m.done and m.name not in refused]
    _announce(joining, options)
    with _watched("resume", suite, joining, options) as events:
        from study.execution.suite import run_suite

        how: dict[str, Any] = {"take_over": options.take_over, "address": options.address}
        left_out = run_suite(suite.name, _joining(joining), events, max_failures=options.max_failures, **how)
    ended = find(options.root, suite.name)
    for member in joining:
        if (study := ended.members[member.name].study) is not None and study.condition == "finished":
            launch.register(study.config, options, study.reading)
    return _conclude(options, ended, {**refused, **left_out})


def _announce(members: Iterable[Member], options: Options) -> None:
    """Say what this machine lacks, and what the checkpoints will take, as of a study."""
    configs = [member.config for member in members if member.config is not None]
    if not configs or options.mode not in ("auto", "plain"):
        return
    for line in dict.fromkeys(line for config in configs for line in doctor.brief(config, options.address)):
        print(line, file=sys.stderr, flush=True)
    most = needs.together(configs)
    if options.address is None and most is not None:
        print(f"disk: at most {needs.size(most)} of checkpoints under {roots.shown(options.root)}", flush=True)


def _joining(members: Iterable[Member]) -> list[Joining]:
    from study.execution.suite import Joining

    readings = {m.name: m.study.reading if m.study is not None else Reading(m.place.ledger) for m in members}
    return [Joining(m.how, m.config, m.place, readings[m.name]) for m in members if m.config is not None]


@contextmanager
def _watched(verb: str, suite: FoundSuite, members: Iterable[Member], options: Options) -> Iterator[Listener]:
    """Show these members while they run, or are confirmed; ``study VERB`` goes on after an interruption."""
    from study.proposals.arms import run_arms

    views = {}
    for member in members:
        assert member.config is not None, "what has none is refused"
        run = verb == "resume"
        planned = sum(arm.proposer.remaining() for arm in run_arms(member.config)) if run else 0
        views[member.name] = View(member.config, planned, first_value(member.config))
        if member.study is not None:
            views[member.name].take_up(member.study.record.copied(None if run else "confirm"))
    view, log = SuiteView(suite.name, views), suite.place.log
    with (
        launch.resumable(f"study {verb} {suite.name}", options.root),
        progress.shown(view, log, options.mode) as events,
    ):
        yield events


def _unfit(suite: FoundSuite, options: Options, known: Collection[str] = ()) -> dict[str, str]:
    """Members beside those `known` that cannot go on although others can, and why.

    Raises `UserError` for what concerns them all.
    """
    refused: dict[str, str] = {}
    fit: list[StudyConfig] = []
    for member in suite.members.values():
        if member.name in known or member.config is None:
            refused |= {} if member.name in known else {member.name: member.problem}
        elif lines := preflight.own_problems(member.config, options.root):
            refused[member.name] = "; ".join(lines)
        else:
            fit.append(member.config)
    need = preflight.disk(fit, options.root, options.address) if fit else None
    problems = preflight.shared_problems(suite.config.scaling, options.root, need, options.address)
    if problems:
        raise UserError(*problems)
    return refused


def _take_on(members: Mapping[str, StudyConfig], options: Options) -> None:
    """Studies that have a member's name already are members, if they ask for the same. Raises `UserError`."""
    problems: list[str] = []
    for name, config in members.items():
        roots.refresh(options.root, config.name)
        if begun_as(roots.place(options.root, config.name).ledger) is not None:
            existing = studies.find(options.root, config.name)
            problems += launch.differences(existing.config, config, f"{name}: ")
            if existing.condition == "running":
                problems.append(f"{name}: {config.name} is being run by another process")
    if problems:
        raise UserError(*problems)


def _same_suite(config: SuiteConfig, members: Mapping[str, StudyConfig], existing: FoundSuite) -> None:
    """Raise `UserError` with what differs where an existing suite of the same name is another one."""
    before, after = _by_itself(existing.config), _by_itself(config)
    problems = [
        f"{key}: the existing suite has {shown(before[key])} (got {shown(value)})"
        for key, value in after.items()
        if before.get(key, value) != value
    ]
    for name, study in members.items():
        member = existing.members.get(name)
        if member is not None and member.config is not None:
            problems += launch.differences(member.config, study, f"{name}: ")
    if problems:
        raise UserError(
            *problems,
            f"suite.name: {existing.name} is the name of a suite that asks for something else; choose another with "
            "suite.name=…",
        )


def _by_itself(config: SuiteConfig) -> dict[str, Any]:
    """What a suite asks for that no configuration of a member has in it."""
    suite = config.suite
    own: dict[str, Any] = {
        "suite.members": [member.name for member in suite.members],
        "suite.endpoint": suite.endpoint,
        "suite.footing": suite.footing,
    }
    for member in suite.members:
        own |= {f"{member.name}: {key}": getattr(member, key) for key in ("priority", "at_once")}
    return own


def _how_to_go_on(existing: FoundSuite) -> str:
    if existing.condition == "running":
        return f"suite.name: {existing.name} is being run by another process"
    return f"suite.name: {existing.name} has begun and is not finished; go on with study resume {existing.name}"


def _conclude(options: Options, suite: FoundSuite, refused: Mapping[str, str] | None = None) -> int:
    """Print a suite's result and which members are out of it; the exit status that it deserves."""
    for member in suite.members.values():
        if member.study is not None and member.condition != "running":
            roots.settle(member.place)
    if options.mode != "json":
        print(tables.result(suite, layout.width()))
        if suite.condition == "finished":
            print(f"\nThe same in MLflow, member by member: study mlflow{launch.shown_root(options.root)}")
    failed = dict(refused or {})
    for member in suite.members.values():
        if member.name not in failed and (member.condition != "finished" or member.failed):
            failed[member.name] = tables.cause(member)
    for name, why in failed.items():
        print(f"{name}: {why}", file=sys.stderr, flush=True)
    return NOT_FINISHED if failed else 0
