"""A suite as text tables: its members, how far each is, what is best of each, and what is claimed over all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from study.question import objectives
from study.record import manifest, roots
from study.suite.found import FoundSuite, Member, find
from study.views import layout, tables
from study.views.found import Study, planned
from trainables.errors import UserError

EMPTY = "–"


def text(root: Path, name: str) -> str:
    """The tables of a suite, as wide as the terminal."""
    return result(find(root, name), layout.width())


def result(suite: FoundSuite, room: int | None = None) -> str:
    """What the end of a suite, and ``study show``, print; no line is longer than `room`, if that is given."""
    parts = [_heading(suite), _members(suite, room), _confirmed(suite, room), *_footing(suite), *_problems(suite)]
    return "\n\n".join(layout.wrapped(part, room) for part in [*parts, _next_step(suite)] if part)


def listing(root: Path) -> str:
    """One entry per suite and study under `root`, a suite's members below it, as wide as the terminal.

    Raises `UserError` where the root is a folder that is not there: the wrong one, most likely.
    """
    if absent := roots.absent(root):
        raise UserError(f"--root: {absent} (got {root})")
    roots.refresh(root)
    rows, members = [list(tables.LISTED)], set[str]()
    for each in manifest.names(root):
        try:
            suite = find(root, each)
        except UserError as error:
            rows.append([each, "damaged", "", "", str(error)])
            continue
        ended = sum(t.ended for m in suite.members.values() if m.study for t in m.study.trials)
        total = sum(_total(member) for member in suite.members.values())
        rows.append(
            [each, suite.condition, f"{ended} of {total}", f"suite of {len(suite.members)}", suite.config.question]
        )
        for member in suite.members.values():
            members.add(member.place.name)
            rows.append(_entry(member))
    rows += [tables.entry(root, name) for name in roots.names(root) if name not in members]
    return layout.listed(rows, layout.width()) if len(rows) > 1 else f"no studies under {roots.shown(root)}"


def _entry(member: Member) -> list[str]:
    """A member's line in a list; its question is the suite's."""
    name = f"  {member.place.name}"
    if member.study is None:
        return [name, member.state, "", "", member.problem]
    return [name, *tables.described(member.study)[1:-1], ""]


def _total(member: Member) -> int:
    asked = len(member.study.trials) if member.study is not None else 0
    return max(asked, planned(member.config) if member.config is not None else 0)


def _heading(suite: FoundSuite) -> str:
    states = [member.state for member in suite.members.values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return "\n".join(
        [
            f"suite {suite.name}: {suite.config.question}".rstrip(": "),
            f"{suite.condition}, {len(states)} members: {counted}",
        ]
    )


def _members(suite: FoundSuite, room: int | None) -> str:
    rows = [["member", "task", "source", "selection", "state", "trials", "failed", "best", "value", "baseline"]]
    rows += [_row(member) for member in suite.members.values()]
    table, left_out, _ = layout.fit(rows, room, ["failed", "source", "baseline", "selection", "task"])
    notes = [f"Left out for want of room: {', '.join(left_out)}."] if left_out else []
    more = f"study show {suite.name} --member NAME has the rest"
    notes.append(f"Validation values of each member's first objective, and of its baseline; {more}.")
    return "\n".join([table, *notes])


def _row(member: Member) -> list[str]:
    study, config = member.study, member.config
    task = config.trial.task if config is not None else None
    trials = [t for t in study.trials if t.phase == "run"] if study is not None else []
    choice = study.choice if study is not None else None
    ended = f"{sum(t.ended for t in trials)} of {max(len(trials), planned(config) if config else 0)}"
    return [
        member.name,
        task.title if task else EMPTY,
        task.source_language if task else EMPTY,
        config.protocol.selection if config else EMPTY,
        member.state,
        ended,
        str(sum(t.state == "FAIL" for t in trials)),
        f"trial {choice.winner.numbers[0]}" if choice else EMPTY,
        f"{choice.winner.value:.4f}" if choice else EMPTY,
        f"{choice.baseline:.4f}" if choice and choice.baseline is not None else EMPTY,
    ]


def _confirmed(suite: FoundSuite, room: int | None) -> str:
    """Members × configurations: the endpoint on the test split, means over fresh seeds; what is missing shows."""
    found = {name: _endpoint(member.study) for name, member in suite.members.items() if member.study is not None}
    names = list(dict.fromkeys(configuration for means in found.values() for configuration in means))
    if not names:
        return ""
    rows = [["member", "endpoint", *names]]
    for name, member in suite.members.items():
        endpoint = member.config.protocol.endpoint if member.config else EMPTY
        cells = found.get(name, {})
        rows.append([name, endpoint, *(f"{cells[n]:.4f}" if n in cells else EMPTY for n in names)])
    table, _, _ = layout.fit(rows, room, ["endpoint"])
    missing = [name for name in suite.members if not found.get(name)]
    lines = ["Confirmed on the test split, means over fresh seeds:", table]
    if missing:
        lines.append(f"Not confirmed, and part of no mean: {', '.join(missing)}.")
    return "\n".join(lines)


def _endpoint(study: Study) -> dict[str, float]:
    """Configuration -> mean of the member's endpoint over the fresh seeds; the winner has one name in all members."""
    values: dict[str, list[float]] = {}
    for trial in study.trials:
        scored = trial.evaluation("test") if trial.phase == "confirm" and trial.state == "COMPLETE" else None
        if scored is None:
            continue
        name = trial.kind if trial.kind == "winner" else str(trial.attributes.get("configuration", trial.kind))
        try:
            value = objectives.endpoint(scored, study.config)
        except objectives.UnscoredError:
            continue
        values.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}


def _footing(suite: FoundSuite) -> Iterator[str]:
    endpoint = suite.config.suite.endpoint
    words = f"Endpoint over all members: {endpoint}" if endpoint else "No endpoint over all members was declared"
    yield f"{words}; {suite.label or 'members are selected by the same rules'}."


def _problems(suite: FoundSuite) -> Iterator[str]:
    """What went wrong with members, a line each."""
    lines = []
    for member in suite.members.values():
        if member.problem:
            lines.append(f"{member.name}: {member.problem}")
        elif member.study is not None and (failed := [t for t in member.study.trials if t.state == "FAIL"]):
            those = f"{len(failed)} trial{'s' * (len(failed) > 1)} failed"
            lines.append(f"{member.name}: {those}; study show {suite.name} --member {member.name}")
    if lines:
        yield "\n".join(lines)


def _next_step(suite: FoundSuite) -> str:
    if suite.condition == "unfinished":
        return f"Not finished: study resume {suite.name}"
    under_way = any(m.study is not None and tables.is_confirming(m.study) for m in suite.members.values())
    return f"Not confirmed yet: study confirm {suite.name}" if under_way and suite.condition != "running" else ""


def cause(member: Member) -> str:
    """Why a member is not done, in a few words."""
    if member.problem:
        return member.problem
    if member.study is None:
        return "it has not begun"
    if member.failed and member.study.trials and all(t.ended for t in member.study.trials):
        return "none of its trials is complete"
    return f"it is {member.state}" + (f", {stopped}" if (stopped := member.study.record.stopped) else "")
