"""Another order of a study's trials than its own: by any reduction of their validation scores, exploratory.

What the selection rule may not read is read here, so that nothing may be chosen by it: the ranks are shown beside the
study's own, and are stored nowhere. `as_json` gives (``study rank NAME --by … --json``):

=================== ==================================================================================================
schema              1; raised when a field changes its meaning, not when one is added
name, state         of the study, as in ``study show --json``
exploratory         true
by, metric, direction   what is ranked by; `metric` null stands for the task's primary one
reads               languages whose validation labels that reads
beyond_rule         those of them that the study's selection rule may not read
selection           {rule, words}: who selects
ranking             best first: {rank, own_rank, trials, value, own_value, parameters}; `own_rank` is that under the
                    study's rule, null where a constraint is missed; with replicates `trials` are several
baseline            value of the unperturbed baseline of the first one's encoder, or null
=================== ==================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.proposals import ranking
from study.proposals.ranking import Ranked
from study.question import objectives, rules
from study.question.config import Objective, StudyConfig
from study.question.points import short
from study.views import layout
from study.views.found import Study, find
from study.views.tables import MOST_ROWS, cell, varied
from study.views.values import selection_words
from trainables import languages
from trainables.errors import UserError, suggestion
from trainables.loading import validate
from trainables.scores import Evaluation

SCHEMA = 1


@dataclass(frozen=True)
class Explored:
    """A study's configurations in the order of another objective."""

    study: Study
    by: Objective
    metric: str
    ranked: tuple[Ranked, ...]
    own: dict[tuple[int, ...], tuple[int, float]]
    """Trials of a configuration -> its rank and value under the study's rule."""
    baseline: float | None
    reads: tuple[str, ...]
    """Languages whose labels the order depends on."""
    beyond: tuple[str, ...]
    """Those of them that the study's rule may not read."""


def explore(root: Path, name: str, by: str, metric: str | None = None, direction: str | None = None) -> Explored:
    """Rank the complete trials of a study. Raises `UserError` for a reduction or metric that nothing has."""
    study = find(root, name)
    config, record = study.config, study.record
    objective = _objective(by, metric, direction, config)
    results = [t.result(config.trial) for t in study.trials if t.phase == "run" and t.state == "COMPLETE"]
    known = [each for each in results if each is not None]
    if not known:
        raise UserError(f"{name}: no trial is complete yet")
    _check_scored(objective, known, config)
    own = {r.numbers: (at, r.value) for at, r in enumerate(ranking.ranking(config, record), 1)}
    ranked = tuple(ranking.ranking(config, record, by=objective))
    baselines = ranking.baselines(config, record, ranked[0].point if ranked else {})
    values = [v for t in baselines if (v := ranking.explored(config, t, objective)) is not None]
    available = sorted({k for each in known for k in each.scores[metric or each.metric].languages})
    reads = objectives.members_of(by, available, config)
    allowed = rules.selectors(config)
    return Explored(
        study,
        objective,
        metric or known[0].metric,
        ranked,
        own,
        math.fsum(values) / len(values) if values else None,
        reads,
        () if allowed is None else tuple(k for k in reads if k not in allowed),
    )


def _objective(by: str, metric: str | None, direction: str | None, config: StudyConfig) -> Objective:
    kind, _, argument = by.partition(":")
    if (problem := objectives.name_problem(by, config)) is not None:
        known: Sequence[str] = objectives.KNOWN
        if kind == "group":
            known = (*config.protocol.groups, *languages.GROUPS, *languages.PATTERNS)
            problem = f"unknown group of languages{suggestion(argument, known)}"
        listed = "" if "known: " in problem else f"; known: {', '.join(known)}"
        raise UserError(f"--by: {problem}{listed} (got {by!r})")
    usual = "minimize" if objectives.is_lower_better(by, metric) else "maximize"
    return validate(Objective, {"reduce": by, "metric": metric, "direction": direction or usual})


def _check_scored(objective: Objective, results: Sequence[Evaluation], config: StudyConfig) -> None:
    """Raise `UserError` where no result has what is reduced."""
    metrics = list(dict.fromkeys(metric for each in results for metric in each.scores))
    if objective.metric is not None and objective.metric not in metrics:
        near = suggestion(objective.metric, metrics)
        raise UserError(f"--metric: was not evaluated{near}; there are {', '.join(metrics)} (got {objective.metric!r})")
    for each in results:
        try:
            objectives.value(objective, each, config)
        except objectives.UnscoredError as error:
            problem = str(error)
        else:
            return
    kind, _, code = objective.reduce.partition(":")
    scored = results[0].primary.languages
    known = (
        f"{languages.suggested([code], scored, config.trial.task.own)}; there are {', '.join(scored)}"
        if kind == "language"
        else ""
    )
    raise UserError(f"--by: {problem}{known} (got {objective.reduce!r})")


def text(explored: Explored, every: bool = False) -> str:
    """The ranking as a table, with what it may and may not be used for."""
    study, by = explored.study, explored.by
    shown = explored.ranked if every else explored.ranked[:MOST_ROWS]
    paths = varied([study.record.trials[r.numbers[0]] for r in shown])
    paths = [path for path in paths if any(path in r.point for r in shown)]
    own = study.config.search.optimised[0].name
    rows = [["rank", "own rank", "trial", by.name, f"own {own}", *short(paths)]]
    rows += [_row(explored, at, ranked, paths) for at, ranked in enumerate(shown, 1)]
    if explored.baseline is not None:
        rows.append(["–", "–", "baseline", f"{explored.baseline:.4f}", *["–"] * (len(rows[0]) - 4)])
    hidden = len(explored.ranked) - len(shown)
    least = [*reversed(rows[0][5:]), rows[0][4]]
    table, gone, _ = layout.fit(rows, None if every else layout.width(), least)
    better = "higher" if by.direction == "maximize" else "lower"
    parts = [
        f"study {study.name}, {study.condition}: {len(explored.ranked)} configurations by validation {by.name} "
        f"({explored.metric}, {better} is better)",
        table,
        *([f"left out: {', '.join(gone)} (--all)"] if gone else []),
        *([f"… and {hidden} more (--all)"] if hidden else []),
        f"\n{selection_words(study.config)}",
        _caution(explored),
    ]
    return "\n".join(parts)


def _row(explored: Explored, at: int, ranked: Ranked, paths: Sequence[str]) -> list[str]:
    rank, value = explored.own.get(ranked.numbers, (None, None))
    own = ["–" if rank is None else str(rank), ", ".join(map(str, ranked.numbers))]
    values = [f"{ranked.value:.4f}", "–" if value is None else f"{value:.4f}"]
    return [str(at), *own, *values, *(cell(ranked.point.get(path)) for path in paths)]


def _caution(explored: Explored) -> str:
    """What this order reads, and that it selects nothing."""
    beyond = explored.beyond
    if beyond:
        few = ", ".join([*beyond[:12], *(["…"] if len(beyond) > 12 else [])])
        what = f"reads validation labels that the rule may not, of {len(beyond)} languages ({few})"
    elif explored.reads:
        what = "reads no labels but those that the rule may read"
    else:
        what = "reads no labels"
    return f"Exploratory: {explored.by.name} {what}; not a selection. The study's own rank stands beside it."


def document(explored: Explored) -> str:
    """The ranking as JSON text."""
    return json.dumps(as_json(explored), ensure_ascii=False, allow_nan=False, indent=1)


def as_json(explored: Explored) -> dict[str, Any]:
    """The documented form (see the module)."""
    study, by = explored.study, explored.by
    ranked = []
    for at, each in enumerate(explored.ranked, 1):
        rank, value = explored.own.get(each.numbers, (None, None))
        row = {"rank": at, "own_rank": rank, "trials": list(each.numbers), "value": each.value, "own_value": value}
        ranked.append({**row, "parameters": each.point})
    return {
        "schema": SCHEMA,
        "name": study.name,
        "state": study.condition,
        "exploratory": True,
        "by": by.reduce,
        "metric": by.metric,
        "direction": by.direction,
        "reads": list(explored.reads),
        "beyond_rule": list(explored.beyond),
        "selection": {"rule": study.config.protocol.selection, "words": selection_words(study.config)},
        "ranking": ranked,
        "baseline": explored.baseline,
    }
