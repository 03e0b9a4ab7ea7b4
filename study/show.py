"""A study's record as text tables, and as one JSON document.

`as_json` gives (``study show NAME --json``; times are unix seconds, scores fractions; no finite number, null):

======================= ==============================================================================================
schema                  1; raised when a field changes its meaning, not when one is added
name, question, uuid    of the study
state                   ``running`` (a driver holds it), ``finished`` or ``unfinished``
code_version, protocol_hash, fingerprints   what it was made by and from
selection               {rule, languages, words}: who selects; `languages` null stands for all
config                  the resolved configuration
best                    number of the trial that ranks first among those other than the baseline, or null
baseline_ranks_higher   whether the unperturbed baseline is better by the first objective, or null
test_openings           one {time, reason, protocol_hash} for each time that the test split was opened
trials                  one entry per trial, in the order they were asked:
  number, phase, kind, control, state   state: asked, running, COMPLETE, PRUNED, FAIL
  attempts              executions so far
  parameters            {dotted path: value}, laid over `config.trial`
  asked, started, finished   times or null
  objectives            {reduction: value} of the trial's result, in the order of the configuration; null without one
  result_step           step of the checkpoint that is the trial's result, or null
  error                 traceback or null
  warning               what is wrong with a trial that did not fail, or null
  reports               one entry per evaluation: attempt, step, split, time, final, training, cost,
                        scores {metric: {language: {score, examples}}}, summary {reduction: value}
======================= ==============================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from study import objectives, protocol, roots
from study.config import Objective, StudyConfig
from study.ledger import LEDGER, read_study
from study.record import Report, StudyRecord, TrialRecord
from trainables.loading import UserError, suggestion, validate
from trainables.scores import Evaluation

SCHEMA = 1
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

Condition = Literal["running", "finished", "unfinished"]


@dataclass(frozen=True)
class Study:
    """A study as it was found on disk."""

    name: str
    config: StudyConfig
    record: StudyRecord
    condition: Condition

    @property
    def trials(self) -> list[TrialRecord]:
        """In the order they were asked."""
        return list(self.record.trials.values())

    @cached_property
    def choice(self) -> protocol.Choice | None:
        """What ranks first by the selection rule; None where no trial beside the baseline is complete."""
        try:
            return protocol.choose(self.config, self.record)
        except UserError:
            return None


def find(root: Path, name: str) -> Study:
    """The study `name` under `root`. Raises `UserError`, with the near name, where there is none."""
    folder = root / name
    roots.refresh(root, name)
    if not (folder / LEDGER).is_file():
        roots.refresh(root)
        known = roots.names(root)
        near = suggestion(name, known) or f", known: {', '.join(known) or 'none'}"
        raise UserError(f"{name}: no such study under {roots.shown(root)}{near}")
    record = read_study(folder / LEDGER)
    if not record.config:
        raise UserError(f"{folder}: its ledger has no study in it yet")
    config = validate(StudyConfig, record.config)
    condition: Condition = (
        "running" if roots.is_owned(root, name) else "finished" if is_finished(config, record) else "unfinished"
    )
    return Study(name, config, record, condition)


def is_finished(config: StudyConfig, record: StudyRecord) -> bool:
    """Whether phase `run` has met its budget and nothing of it is left under way."""
    trials = [t for t in record.trials.values() if t.phase == "run"]
    asked = sum(t.control is None for t in trials)
    # The points of a design are all asked before the first trial starts, however many they are.
    enough = asked >= planned(config) or (config.search.mode == "design" and asked > 0)
    return all(t.ended for t in trials) and (enough or (asked > 0 and _is_spent(config, record)))


def _is_spent(config: StudyConfig, record: StudyRecord) -> bool:
    """Whether another budget than the number of trials ended the search."""
    search = config.search
    if search.max_hours is None and search.max_forward_equivalents is None and search.patience is None:
        return False
    from study.spending import Spending  # these need Optuna, which nothing else here does
    from study.trials import told

    spending = Spending(config, record.active_seconds)
    trials = [t for t in record.trials.values() if t.phase == "run" and t.control is None]
    for trial in sorted(trials, key=lambda t: t.finished or 0.0):
        if trial.reports:
            spending.report(trial.number, trial.reports[-1].evaluation)
        if trial.kind != "baseline":
            spending.end(told(config, trial))
    return spending.cause() is not None


def planned(config: StudyConfig) -> int:
    """Trials that the configuration asks for, control (b)'s own search apart; a grid may turn out to have more."""
    if config.search.space is not None:
        return config.search.trials
    return 1 if protocol.unperturbed(config.trial) == config.trial else 2


# JSON


def document(root: Path, name: str) -> str:
    """The JSON document of a study."""
    return json.dumps(as_json(find(root, name)), ensure_ascii=False, allow_nan=False, indent=1)


def as_json(study: Study) -> dict[str, Any]:
    """The documented form (see the module)."""
    config, record = study.config, study.record
    choice = study.choice
    selectors = protocol.selectors(config)
    document = {
        "schema": SCHEMA,
        "name": study.name,
        "question": config.question,
        "uuid": record.uuid,
        "state": study.condition,
        "code_version": record.code_version,
        "protocol_hash": record.protocol_hash,
        "fingerprints": record.fingerprints,
        "selection": {
            "rule": config.protocol.selection,
            "languages": None if selectors is None else sorted(selectors),
            "words": selection_words(config),
        },
        "config": record.config,
        "best": choice.winner.numbers[0] if choice else None,
        "baseline_ranks_higher": choice.baseline_ranks_higher if choice and choice.baseline is not None else None,
        "test_openings": [{k: e.get(k) for k in ("time", "reason", "protocol_hash")} for e in record.openings],
        "trials": [_trial_json(config, trial) for trial in study.trials],
    }
    plain: dict[str, Any] = _finite(document)
    return plain


def _trial_json(config: StudyConfig, trial: TrialRecord) -> dict[str, Any]:
    outcome = protocol.outcome_of(config, trial)
    return {
        "number": trial.number,
        "phase": trial.phase,
        "kind": trial.kind,
        "control": trial.control,
        "state": trial.state,
        "attempts": trial.attempts,
        "parameters": trial.point,
        "asked": trial.asked,
        "started": trial.started,
        "finished": trial.finished,
        "objectives": None if outcome is None else objective_values(config, outcome),
        "result_step": None if outcome is None else outcome.step,
        "error": trial.error,
        "warning": warning([trial]) or None,
        "reports": [_report_json(config, report) for report in trial.reports],
    }


def _report_json(config: StudyConfig, report: Report) -> dict[str, Any]:
    evaluation = report.evaluation
    return {
        "attempt": report.attempt,
        "step": report.step,
        "split": report.split,
        "time": report.time,
        "final": evaluation.final,
        "scores": {
            metric: {k: {"score": scores[k], "examples": scores.counts[k]} for k in scores.languages}
            for metric, scores in evaluation.scores.items()
        },
        "summary": objectives.summary(evaluation, config),
        "training": dict(evaluation.training),
        "cost": dict(evaluation.cost),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


# Values


def objective_values(config: StudyConfig, evaluation: Evaluation) -> dict[str, float]:
    """Every objective of an evaluation, by what the selection rule may read; those without a value are left out."""
    found = {}
    for objective in config.search.objectives:
        try:
            found[objective.reduce] = objectives.value(objective, protocol.visible(evaluation, config), config)
        except objectives.UnscoredError:
            continue
    return found


def first_value(config: StudyConfig) -> Callable[[Evaluation], float | None]:
    """The value of the objective that ranks trials, as a function of an evaluation; None where it has none."""
    name = next(o.reduce for o in config.search.objectives if o.threshold is None)

    def value(evaluation: Evaluation) -> float | None:
        found = objective_values(config, evaluation).get(name, math.nan)
        return found if math.isfinite(found) else None

    return value


def selection_words(config: StudyConfig) -> str:
    """What is selected on, and what that means for the other languages."""
    source = config.trial.task.source_language
    match config.protocol.selection:
        case "source_validation":
            return f"Selected on: validation in the source language ({source}); no target label is read by any choice."
        case "pivot_validation":
            pivots = [k for k in config.protocol.pivots if k != source]
            return (
                f"Selected on: validation in the {len(pivots)} pivot languages ({', '.join(pivots)}); "
                "the scores of the other languages are read by no choice."
            )
        case "target_validation":
            return "Selected on: validation in all target languages (oracle selection, uses target labels)."


# Text


def text(root: Path, name: str, every_trial: bool = False) -> str:
    """The tables of a study."""
    return result(find(root, name), every_trial)


def result(study: Study, every_trial: bool = False) -> str:
    """What the end of a study, and ``study show``, print."""
    parts = [_heading(study), _trial_table(study, every_trial), selection_words(study.config)]
    choice = study.choice
    if choice is not None:
        parts += list(_comparison(study, choice))
    parts += [_confirmed(study), _failures(study), warning(study.trials), _next_step(study)]
    return "\n\n".join(part for part in parts if part)


def listing(root: Path) -> str:
    """One line per study under `root`."""
    rows = [["study", "state", "trials", "best", "question"]]
    roots.refresh(root)
    for name in roots.names(root):
        try:
            study = find(root, name)
        except UserError as error:
            rows.append([name, "damaged", "", "", str(error)])
            continue
        choice = study.choice
        best = f"{choice.winner.value:.4f} (trial {choice.winner.numbers[0]})" if choice else ""
        ended = f"{sum(t.ended for t in study.trials)} of {max(len(study.trials), planned(study.config))}"
        rows.append([study.name, study.condition, ended, best, study.config.question])
    return columns(rows, right=()) if len(rows) > 1 else f"no studies under {roots.shown(root)}"


def columns(rows: Sequence[Sequence[str]], right: Iterable[int] | None = None) -> str:
    """Rows of cells in aligned columns, two spaces apart; all but the first are set right unless `right` names them."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    to_right = set(range(1, len(widths)) if right is None else right)
    return "\n".join(
        "  ".join(c.rjust(w) if i in to_right else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
        .rstrip()
        for r in rows
    )  # fmt: skip


def _heading(study: Study) -> str:
    config, states = study.config, [_state(study, t) for t in study.trials]
    done = ", ".join(f"{states.count(words)} {words}" for words in STATES.values() if words in states)
    task, encoder = config.trial.task, config.trial.encoder
    return "\n".join(
        [
            f"study {study.name}: {config.question}".rstrip(": "),
            f"task {task.name}, source language {task.source_language} · encoder {encoder.name_or_path} · "
            f"{study.condition}, {len(states)} trials: {done or 'none asked yet'}",
        ]
    )


def _state(study: Study, trial: TrialRecord) -> str:
    """A trial's state in words: what nobody runs any more was interrupted."""
    is_left = trial.state == "running" and study.condition != "running"
    return "interrupted" if is_left else STATES[trial.state]


def _trial_table(study: Study, every_trial: bool) -> str:
    config = study.config
    trials = [t for t in study.trials if t.phase == "run"]
    if not trials:
        return ""
    choice = study.choice
    ranked = [n for r in (choice.winner, *choice.runners_up) for n in r.numbers] if choice else []
    order = {number: rank for rank, number in enumerate(ranked)}
    by_rank = sorted(trials, key=lambda t: (t.kind != "baseline", order.get(t.number, len(order)), t.number))
    shown = trials if every_trial else sorted(by_rank[:MOST_ROWS], key=lambda t: t.number)
    paths = _varied([t for t in shown if t.kind != "baseline"])
    titles = ["trial", *short(paths), *(o.reduce for o in config.search.objectives), *COMPARED[:-1], "step"]
    titles = list(dict.fromkeys(titles))
    rows = [titles, *(_trial_row(study, t, paths, titles, ranked[:1]) for t in shown)]
    hidden = len(trials) - len(shown)
    notes = [f"… and {hidden} more trials (--all)"] if hidden else []
    metric = next((r.evaluation.metric for t in trials for r in t.reports), "score")
    notes.append(f"Validation {metric}, fractions; * ranks first among the trials other than the baseline.")
    notes += _constraint_lines(config, trials)
    if front := protocol.tradeoffs(config, study.record):
        names = " and ".join(o.reduce for o in config.search.objectives if o.threshold is None)
        notes.append(f"Pareto front of {names}: {_trials(front)}.")
    return "\n".join([columns(rows), *notes])


def _constraint_lines(config: StudyConfig, trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Which complete trials miss which threshold; they are not ranked."""
    outcomes = {t.number: protocol.outcome_of(config, t) for t in trials if t.state == "COMPLETE"}
    for bound in (o for o in config.search.objectives if o.threshold is not None):
        missing = [n for n, found in outcomes.items() if found is not None and not _meets(config, bound, found)]
        those = f"missed by {_trials(missing)}, not ranked" if missing else "met by all"
        yield f"Constraint {objectives.words(bound)}: {those}."


def _meets(config: StudyConfig, bound: Objective, evaluation: Evaluation) -> bool:
    try:
        value = objectives.value(bound, protocol.visible(evaluation, config), config)
    except objectives.UnscoredError:
        return False
    return objectives.violation(bound, value) <= 0


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _varied(trials: Sequence[TrialRecord]) -> list[str]:
    """Paths of points in which these trials differ; all of them where there is only one trial."""
    paths = list(dict.fromkeys(path for t in trials for path in t.point))
    if len(trials) < 2:
        return paths
    return [path for path in paths if len({json.dumps(t.point.get(path)) for t in trials}) > 1]


def _trial_row(
    study: Study, trial: TrialRecord, paths: Sequence[str], titles: Sequence[str], best: Sequence[int]
) -> list[str]:
    config = study.config
    name = f"{trial.number} {trial.kind}" if trial.kind in ("baseline", "enqueued") else str(trial.number)
    cells = {"trial": name + (" *" if trial.number in best else "")}
    cells |= dict(zip(short(paths), (_shown(trial.point.get(path)) for path in paths), strict=True))
    outcome = protocol.outcome_of(config, trial) or trial.evaluation()
    if outcome is not None:
        values = objectives.summary(outcome, config) | objective_values(config, outcome)
        cells |= {k: f"{v:.4f}" for k, v in values.items()} | {"step": str(outcome.step)}
    if trial.state != "COMPLETE":
        cells["step"] = f"{cells.get('step', '')} {_state(study, trial)}".strip()
    return [cells.get(title, "–") for title in titles]


def _comparison(study: Study, choice: protocol.Choice) -> Iterator[str]:
    """The best trial against the baseline: reductions, then the languages that gained and lost most."""
    config, best = study.config, study.record.trials[choice.winner.numbers[0]]
    baseline = next((t for t in study.trials if t.kind == "baseline" and t.phase == "run"), None)
    after = protocol.outcome_of(config, best)
    before = protocol.outcome_of(config, baseline) if baseline is not None and baseline.state == "COMPLETE" else None
    assert after is not None, "a ranked trial has a result"
    if before is None or baseline is None:
        yield f"Best: trial {best.number}. There is no complete baseline to compare it with."
        return
    higher = "; the baseline itself ranks higher" if choice.baseline_ranks_higher else ""
    replicates = f" (one of {len(choice.winner.numbers)} seeds)" if len(choice.winner.numbers) > 1 else ""
    title = f"Best trial {best.number}{replicates} against the unperturbed baseline (trial {baseline.number}){higher}:"
    rows = [["", "baseline", f"trial {best.number}", "difference", "languages", "examples"]]
    old, new = objectives.summary(before, config), objectives.summary(after, config)
    rows += [_compared(name, config, after, old[name], new[name]) for name in COMPARED if name in old and name in new]
    yield f"{title}\n{columns(rows)}"
    yield _movers(config, before, after)


def _compared(name: str, config: StudyConfig, evaluation: Evaluation, old: float, new: float) -> list[str]:
    scores = evaluation.primary
    members = objectives.members_of(name, scores.languages, config)
    examples = sum(scores.counts[k] for k in members)
    return [name, f"{old:.4f}", f"{new:.4f}", f"{new - old:+.4f}", str(len(members)), str(examples)]


def _movers(config: StudyConfig, before: Evaluation, after: Evaluation) -> str:
    """Target languages that gained and lost most, with the examples behind each score."""
    old, new = before.primary, after.primary
    common = (set(old.languages) & set(new.languages)) - {config.trial.task.source_language}
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


def _confirmed(study: Study) -> str:
    """Phase `confirm`: means over the fresh seeds on the test split, per configuration."""
    groups: dict[str, list[Evaluation]] = {}
    for trial in study.trials:
        if trial.phase == "confirm" and trial.state == "COMPLETE" and (scored := trial.evaluation("test")) is not None:
            name = str(trial.attributes.get("configuration", trial.kind))
            groups.setdefault(name, []).append(scored)
    if not groups:
        return ""
    endpoint = study.config.protocol.primary_endpoint
    titles = list(dict.fromkeys([endpoint, *COMPARED[:-1]]))
    rows = [["configuration", "seeds", *titles]]
    for name, evaluations in groups.items():
        summaries = [{**objectives.summary(e, study.config), **_endpoint(study.config, e)} for e in evaluations]
        means = (_mean([s[title] for s in summaries if title in s]) for title in titles)
        rows.append([name, str(len(evaluations)), *means])
    opened = len(study.record.openings)
    return (
        f"Confirmed on the test split (opened {opened} time{'s' if opened != 1 else ''}), means over fresh seeds; "
        f"primary endpoint {endpoint}:\n{columns(rows)}\nDifferences with their intervals: study report {study.name}"
    )


def _endpoint(config: StudyConfig, evaluation: Evaluation) -> dict[str, float]:
    name = config.protocol.primary_endpoint
    try:
        return {name: objectives.reduce(name, evaluation, config)}
    except objectives.UnscoredError:
        return {}


def _mean(values: Sequence[float]) -> str:
    return f"{math.fsum(values) / len(values):.4f}" if values else "–"


def _failures(study: Study) -> str:
    """What went wrong, one line per failed trial."""
    failed = [t for t in study.trials if t.state == "FAIL"]
    lines = [f"trial {t.number} failed: {last_line(t.error or '') or 'for an unknown reason'}" for t in failed]
    more = [f"… and {len(lines) - MOST_FAILURES} more"] if len(lines) > MOST_FAILURES else []
    return "\n".join([*lines[:MOST_FAILURES], *more])


def warning(trials: Sequence[TrialRecord]) -> str:
    """One line on the trials whose ascent raised nothing, which are broken (docs/methods.md); empty without any."""
    found = [t.number for t in trials if t.fruitless is not None]
    if not found:
        return ""
    return f"Warning: the ascent of {_trials(found)} raised nothing: broken, or its magnitude is far off."


def _next_step(study: Study) -> str:
    if study.condition == "unfinished":
        return f"Not finished: study resume {study.name}"
    if any(t.phase == "confirm" and not t.ended for t in study.trials) and study.condition != "running":
        return f"Not confirmed yet: study confirm {study.name}"
    return ""


def last_line(text: str) -> str:
    """The line of a traceback that says what happened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def short(paths: Sequence[str]) -> list[str]:
    """The last part of each path, or all of it where that would be ambiguous."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return [name if last.count(name) == 1 else path for name, path in zip(last, paths, strict=True)]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
