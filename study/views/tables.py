"""A study's record as text tables: what its end, `study show` and `study ls` print."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.proposals import ranking
from study.question import encoders, objectives, rules
from study.question.config import Objective, StudyConfig
from study.question.points import short
from study.record import faults, roots
from study.record.faults import last_line
from study.record.lines import begun_as
from study.record.record import TrialRecord
from study.views import layout
from study.views.found import Study, find, planned
from study.views.values import objective_values, selection_words
from trainables.errors import UserError
from trainables.scores import Evaluation

STATES = {
    "COMPLETE": "complete",
    "PRUNED": "stopped early",
    "FAIL": "failed",
    "running": "running",
    "interrupted": "interrupted",
    "asked": "waiting",
}
"""States of trials in words, in the order in which they are counted."""

MOST_ROWS = 30
"""Trials that a table shows unless all are asked for."""
MOST_FAILURES = 5
MOST_LANGUAGES = 5
"""Languages listed as gaining, and as losing, most."""

COMPARED = ("source", "target_mean", "low_resource_mean", "worst_language", "transfer_gap", "selection_mean")
"""Reductions of the comparison with the baseline, in its order."""

LISTED = ("study", "state", "trials", "best", "question")
"""Titles of a list of studies."""

SHORT = {
    "selection_mean": "selected",
    "target_mean": "target",
    "low_resource_mean": "low_res",
    "high_resource_mean": "high_res",
    "worst_language": "worst",
    "transfer_gap": "gap",
    "configuration": "config",
}
"""Heads of columns where there is little room."""


def text(root: Path, name: str, every_trial: bool = False) -> str:
    """The tables of a study, as wide as the terminal; with `every_trial` all trials and columns, however wide."""
    return result(find(root, name), every_trial, None if every_trial else layout.width())


def result(study: Study, every_trial: bool = False, room: int | None = None) -> str:
    """What the end of a study, and ``study show``, print; no line is longer than `room`, if that is given."""
    parts = [_heading(study), _trial_table(study, every_trial, room), selection_words(study.config)]
    choice = study.choice
    if choice is not None:
        parts += list(_comparison(study, choice, room))
    parts += [_confirmed(study, room), _failures(study), warning(study.trials), _next_step(study)]
    return "\n\n".join(layout.wrapped(part, room) for part in parts if part)


def entry(root: Path, name: str) -> list[str]:
    """A study's row in a list; one says so that is damaged, or of which there is no more than an opened ledger."""
    try:
        if begun_as(roots.place(root, name).ledger) is None:
            return [name, "not begun", "", "", ""]
        return described(find(root, name))
    except UserError as error:
        return [name, "damaged", "", "", str(error)]


def described(study: Study) -> list[str]:
    """A study's row in a list."""
    choice = study.choice
    best = f"{choice.winner.value:.4f} (trial {choice.winner.numbers[0]})" if choice else ""
    ended = f"{sum(t.ended for t in study.trials)} of {max(len(study.trials), planned(study.config))}"
    return [study.name, study.condition, ended, best, study.config.question]


def _heading(study: Study) -> str:
    config, states = study.config, [state_words(study, t) for t in study.trials]
    done = ", ".join(f"{states.count(words)} {words}" for words in STATES.values() if words in states)
    task, names = config.trial.task, ", ".join(encoders.labels(config))
    return "\n".join(
        [
            f"study {study.name}: {config.question}".rstrip(": "),
            f"task {task.title}, source language {task.source_language} · encoder {names} · "
            f"{study.condition}, {len(states)} trials: {done or 'none asked yet'}",
        ]
    )


def state_words(study: Study, trial: TrialRecord) -> str:
    """A trial's state in words: what nobody runs any more was interrupted."""
    is_left = trial.state == "running" and study.condition != "running"
    return "interrupted" if is_left else STATES[trial.state]


def _trial_table(study: Study, every_trial: bool, room: int | None) -> str:
    config = study.config
    trials = [t for t in study.trials if t.phase == "run"]
    if not trials:
        return ""
    choice = study.choice
    ranked = [n for r in (choice.winner, *choice.runners_up) for n in r.numbers] if choice else []
    order = {number: rank for rank, number in enumerate(ranked)}
    by_rank = sorted(trials, key=lambda t: (t.kind != "baseline", order.get(t.number, len(order)), t.number))
    shown = trials if every_trial else sorted(by_rank[:MOST_ROWS], key=lambda t: t.number)
    paths = varied([t for t in shown if t.kind != "baseline"])
    titles = ["trial", *short(paths), *(o.name for o in config.search.objectives), *COMPARED[:-1], "step"]
    titles = list(dict.fromkeys(titles))
    rows = [titles, *(_trial_row(study, t, paths, titles, ranked[:1]) for t in shown)]
    hidden = len(trials) - len(shown)
    notes = [f"… and {hidden} more trials (--all)"] if hidden else []
    metric = next((r.evaluation.metric for t in trials for r in t.reports), "score")
    notes.append(f"Validation {metric}, fractions; * ranks first among the trials other than the baseline.")
    notes += _constraint_lines(config, trials)
    if front := ranking.tradeoffs(config, study.record):
        names = " and ".join(o.name for o in config.search.optimised)
        notes.append(f"Pareto front of {names}: {_trials(front)}.")
    first, *further = [o.name for o in config.search.objectives]
    *compared, claimed = _least(config)
    least = [*compared, *reversed(short(paths)[1:]), *reversed(further), claimed]
    droppable = [n for n in dict.fromkeys(least) if n in titles and n != first]
    table, left_out, called = layout.fit(rows, room, droppable, SHORT)
    return "\n".join([table, *_changes(left_out, called), *notes])


def _least(config: StudyConfig) -> list[str]:
    """The compared reductions, the least first: what is claimed is the last to go."""
    endpoint = config.protocol.endpoint
    return [*(name for name in reversed(COMPARED) if name != endpoint), endpoint]


def _changes(left_out: Sequence[str], called: Mapping[str, str]) -> Iterator[str]:
    """What a narrow terminal has changed."""
    if called:
        yield f"Short for {', '.join(f'{title} ({name})' for name, title in called.items())}."
    if left_out:
        yield f"Left out for want of room: {', '.join(left_out)} (--all and --json have them)."


def _constraint_lines(config: StudyConfig, trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Which complete trials miss which threshold; they are not ranked."""
    outcomes = {t.number: t.result(config.trial) for t in trials if t.state == "COMPLETE"}
    for bound in config.search.constraints:
        missing = [n for n, found in outcomes.items() if found is not None and not _meets(config, bound, found)]
        those = f"missed by {_trials(missing)}, not ranked" if missing else "met by all"
        yield f"Constraint {objectives.words(bound)}: {those}."


def _meets(config: StudyConfig, bound: Objective, evaluation: Evaluation) -> bool:
    try:
        value = objectives.value(bound, rules.visible(evaluation, config), config)
    except objectives.UnscoredError:
        return False
    return objectives.violation(bound, value) <= 0


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def varied(trials: Sequence[TrialRecord]) -> list[str]:
    """Paths of points in which these trials differ; all of them where there is only one trial."""
    paths = list(dict.fromkeys(path for t in trials for path in t.point))
    if len(trials) < 2:
        return paths
    return [path for path in paths if len({json.dumps(t.point.get(path)) for t in trials}) > 1]


def _trial_row(
    study: Study, trial: TrialRecord, paths: Sequence[str], titles: Sequence[str], best: Sequence[int]
) -> list[str]:
    config = study.config
    name = f"{trial.number} {trial.called}".rstrip()
    cells = {"trial": name + (" *" if trial.number in best else "")}
    cells |= dict(zip(short(paths), (cell(trial.point.get(path)) for path in paths), strict=True))
    outcome = trial.result(config.trial) or trial.evaluation()
    if outcome is not None:
        values = objectives.summary(outcome, config) | objective_values(config, outcome)
        cells |= {k: f"{v:.4f}" for k, v in values.items()} | {"step": str(outcome.step)}
    if trial.state != "COMPLETE":
        cells["step"] = f"{cells.get('step', '')} {state_words(study, trial)}".strip()
    return [cells.get(title, "–") for title in titles]


def _comparison(study: Study, choice: ranking.Choice, room: int | None) -> Iterator[str]:
    """The best trial against the baseline: reductions, then the languages that gained and lost most."""
    config, best = study.config, study.record.trials[choice.winner.numbers[0]]
    baseline = next(iter(ranking.baselines(config, study.record, choice.winner.point)), None)
    after = best.result(config.trial)
    before = baseline.result(config.trial) if baseline is not None and baseline.state == "COMPLETE" else None
    assert after is not None, "a ranked trial has a result"
    if before is None or baseline is None:
        yield f"Best: trial {best.number}. There is no complete baseline{_of_encoder(config, best)} to compare it with."
        return
    higher = "; the baseline itself ranks higher" if choice.baseline_ranks_higher else ""
    replicates = f" (one of {len(choice.winner.numbers)} seeds)" if len(choice.winner.numbers) > 1 else ""
    against = f"the unperturbed baseline{_of_encoder(config, best)} (trial {baseline.number})"
    title = f"Best trial {best.number}{replicates} against {against}{higher}:"
    rows = [["", "baseline", f"trial {best.number}", "difference", "languages", "examples"]]
    old, new = objectives.summary(before, config), objectives.summary(after, config)
    rows += [_compared(name, config, after, old[name], new[name]) for name in COMPARED if name in old and name in new]
    members = [objectives.membership(row[0], after.primary.languages, config) for row in rows[1:]]
    table, left_out, _ = layout.fit(rows, room, ["languages", "examples"])
    yield "\n".join([title, table, *_changes(left_out, {}), *filter(None, members)])
    yield _certified(config, after)
    yield _movers(config, before, after)


def _of_encoder(config: StudyConfig, trial: TrialRecord) -> str:
    """Whose baseline it is, where a study has several encoders."""
    several = len(encoders.settings(config)) > 1
    return f" of {encoders.label(ranking.trial_config(config, trial))}" if several else ""


def _compared(name: str, config: StudyConfig, evaluation: Evaluation, old: float, new: float) -> list[str]:
    scores = evaluation.primary
    members = objectives.members_of(name, scores.languages, config)
    examples = sum(scores.counts[k] for k in members)
    return [name, f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}", str(len(members)), str(examples)]


def _certified(config: StudyConfig, evaluation: Evaluation) -> str:
    """How far the smoothed classifier is sure, beside how far another word is; empty where nothing was certified."""
    names = ("certified_accuracy", "certified_radius", "certified_word_distance")
    try:
        right, radius, word = (objectives.reduce("target_mean", evaluation, config, name) for name in names)
    except objectives.UnscoredError:
        return ""
    return (
        f"Certified, means over target languages: {right:.4f} right, within a radius of {radius:.4f}; "
        f"the nearest other word is {word:.4f} away (unit: the length of a word's embedding)."
    )


def _movers(config: StudyConfig, before: Evaluation, after: Evaluation) -> str:
    """Target languages that gained and lost most, with the examples behind each score."""
    old, new = before.primary, after.primary
    common = (set(old.languages) & set(new.languages)) - objectives.sources(config)
    change = {k: new[k] - old[k] for k in common}
    ordered = sorted(change, key=lambda k: (-change[k], k))
    gained = [k for k in ordered if change[k] > 0][:MOST_LANGUAGES]
    lost = [k for k in reversed(ordered) if change[k] < 0][:MOST_LANGUAGES]

    def words(languages: Sequence[str]) -> str:
        return ", ".join(f"{k} {change[k]:+.3f} (n = {new.counts[k]})" for k in languages) or "none"

    up, down = sum(c > 0 for c in change.values()), sum(c < 0 for c in change.values())
    return (
        f"Of {len(change)} target languages {up} gained, {down} lost.\n"
        f"Gained most: {words(gained)}\n"
        f"Lost most:   {words(lost)}\n"
        "One seed and few examples stand behind each language: a list of candidates, no finding."
    )


def _confirmed(study: Study, room: int | None) -> str:
    """Phase `confirm`: means over the fresh seeds on the test split, per configuration."""
    groups: dict[str, list[Evaluation]] = {}
    planned: Counter[str] = Counter()
    for trial in (t for t in study.trials if t.phase == "confirm"):
        name = str(trial.attributes.get("configuration", trial.kind))
        planned[name] += 1
        if trial.state == "COMPLETE" and (scored := trial.evaluation("test")) is not None:
            groups.setdefault(name, []).append(scored)
    if not groups:
        return ""
    endpoint = study.config.protocol.endpoint
    titles = list(dict.fromkeys([endpoint, *COMPARED[:-1]]))
    rows = [["configuration", "seeds", *titles]]
    for name, evaluations in groups.items():
        summaries = [{**objectives.summary(e, study.config), **_endpoint(study.config, e)} for e in evaluations]
        means = (_mean([s[title] for s in summaries if title in s]) for title in titles)
        lost = f" of {planned[name]}" if len(evaluations) < planned[name] else ""
        rows.append([name, f"{len(evaluations)}{lost}", *means])
    opened = len(study.record.openings)
    table, left_out, called = layout.fit(rows, room, [t for t in _least(study.config)[:-1] if t in titles], SHORT)
    title = (
        f"Confirmed on the test split (opened {opened} time{'s' if opened != 1 else ''}), means over fresh seeds; "
        f"primary endpoint {endpoint}:"
    )
    intervals = f"Differences with their intervals: study report {study.name}"
    return "\n".join([title, table, *_changes(left_out, called), intervals])


def _endpoint(config: StudyConfig, evaluation: Evaluation) -> dict[str, float]:
    try:
        return {config.protocol.endpoint: objectives.endpoint(evaluation, config)}
    except objectives.UnscoredError:
        return {}


def _mean(values: Sequence[float]) -> str:
    return f"{math.fsum(values) / len(values):.4f}" if values else "–"


def _failures(study: Study) -> str:
    """What went wrong, one line per failed trial."""
    failed = [t for t in study.trials if t.state == "FAIL"]
    lines = [f"trial {t.number} failed: {last_line(t.error or '') or 'for an unknown reason'}" for t in failed]
    more = [f"… and {len(lines) - MOST_FAILURES} more"] if len(lines) > MOST_FAILURES else []
    return "\n".join([*lines[:MOST_FAILURES], *more, *_retriable(study, failed)])


def _retriable(study: Study, failed: Sequence[TrialRecord]) -> list[str]:
    """Which of them are worth another try."""
    found = [t.number for t in failed if t.phase == study.record.phase and not faults.own(t.error)]
    if not found or study.condition == "running":
        return []
    return [f"By no fault of {'their' if len(found) > 1 else 'its'} own: {_trials(found)}; study retry {study.name}"]


def warning(trials: Sequence[TrialRecord]) -> str:
    """One line on the trials whose ascent raised nothing, which are broken (docs/methods.md); empty without any."""
    found = [t.number for t in trials if t.fruitless is not None]
    if not found:
        return ""
    return f"Warning: the ascent of {_trials(found)} raised nothing: broken, or its magnitude is far off."


def _next_step(study: Study) -> str:
    if study.condition == "unfinished":
        return f"Not finished: study resume {study.name}"
    if is_confirming(study) and study.condition != "running":
        return f"Not confirmed yet: study confirm {study.name}"
    return ""


def is_confirming(study: Study) -> bool:
    """Whether a confirmation has begun, and is not at its end: trials are left, or a look that may ask for more."""
    looks = study.record.looks
    is_open = study.record.agreed is not None and (not looks or looks[-1]["verdict"] == "go on")
    return is_open or any(t.phase == "confirm" and not t.ended for t in study.trials)


def cell(value: Any) -> str:
    """A value of a point in a table."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
