"""A suite as a benchmark's own table has it: tasks by score, languages by task. What is missing is shown as missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from study.analysis import intervals
from study.analysis.frames import language_scores, reduce_seeds, seed_table
from study.analysis.intervals import Interval
from study.question.objectives import UnscoredError
from study.reporting import words
from study.reporting.findings import Findings
from study.reporting.pooling import sides
from study.reporting.table import Table

SCORE = "mean_with_source"
"""A task's score: the mean over its languages, the source counted, as XTREME's and XGLUE's tables have it."""

HEADLINE = "headline"
MISSING = "–"


def tables(found: Mapping[str, Findings], members: Sequence[str]) -> Iterator[Table]:
    """Of the confirmed members; nothing where there is none."""
    if any(each.confirmed is not None for each in found.values()):
        yield _scores(found, members)
        yield _languages(found, members)


def _scores(found: Mapping[str, Findings], members: Sequence[str]) -> Table:
    """Configuration × task, with the average of those that have a score in every task."""
    per_seed = {member: dict(_by_role(found[member])) for member in members if member in found}
    roles = sorted({role for each in per_seed.values() for role in each}, key=lambda role: (role != HEADLINE, role))
    rows = []
    for role in roles:
        seeds = [per_seed.get(member, {}).get(role) for member in members]
        known = [values for values in seeds if values is not None]
        cells = (MISSING if v is None else _cell(float(v.mean()), intervals.of_mean(v)) for v in seeds)
        rows.append((role, *cells, _average(known) if len(known) == len(members) else MISSING))
    caption = (
        "The benchmark's own table: test scores in percent, of each task the mean over its languages, the source "
        "counted (primary metric), with 95 % intervals over seeds. Headlines are each task's own: what they are is in "
        f"the members' reports. {MISSING}: no score there; an average is over all {len(members)} tasks, or is none."
    )
    return Table("benchmark", caption, ("configuration", *members, "average"), tuple(rows))


def _by_role(findings: Findings) -> Iterator[tuple[str, pd.Series[float]]]:
    """Headline and controls, with a task's score under each seed."""
    source, confirmed, results = findings.source, findings.confirmed, findings.source.of_the_task
    if confirmed is None or results is None:
        return
    scores = language_scores(results[results["split"] == "test"])
    letters = scores.drop_duplicates("configuration").set_index("configuration")["control"]
    for name, letter in letters.items():
        if letter or name == confirmed.headline:
            try:
                values = reduce_seeds(seed_table(scores, str(name)), source.reduction(SCORE))
            except UnscoredError:
                continue
            yield (f"control {letter}" if letter else HEADLINE), values


def _average(known: Sequence[pd.Series[float]]) -> str:
    """Of all tasks; over seeds, whose variance is pooled over them, since they are few in each."""
    count, free = len(known), sum(len(v) - 1 for v in known)
    mean = math.fsum(float(v.mean()) for v in known) / count
    if free == 0:
        return _cell(mean, intervals.UNKNOWN)
    pooled = math.fsum((len(v) - 1) * float(v.var(ddof=1)) for v in known if len(v) > 1) / free
    error = math.sqrt(math.fsum(pooled / len(v) for v in known)) / count
    return _cell(mean, intervals.around(mean, error, free))


def _cell(value: float, interval: Interval) -> str:
    band = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval.known else ""
    return f"{100 * value:.1f}{band}"


def _languages(found: Mapping[str, Findings], members: Sequence[str]) -> Table:
    """Language × task: gain of the headline over the strongest control, mean over seeds."""
    gains: dict[str, pd.Series[float]] = {}
    for member in members:
        if member in found and (confirmed := found[member].confirmed) is not None:
            treated, control = sides(found[member], confirmed)
            gains[member] = (treated - control).mean()
    every = sorted({str(language) for each in gains.values() for language in each.index})
    rows = [
        (language, *(words.points(float(g[language])) if g is not None and language in g.index else MISSING
                     for g in map(gains.get, members)))
        for language in every
    ]  # fmt: skip
    caption = (
        "Gain of each task's headline over its strongest control by language, in points of its primary metric on test, "
        f"means over seeds. {MISSING}: the task does not have the language, or no scores."
    )
    return Table("benchmark_languages", caption, ("language", *members), tuple(rows))
