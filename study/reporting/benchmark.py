"""A suite as a benchmark's own table has it: tasks by score, languages by task. What is missing is shown as missing.

Below our scores stand published averages of the same task, encoder and metric, and what ours differ from them by over
the very languages that theirs are over; where ours lack one of these, nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from study.analysis import intervals
from study.analysis.frames import language_scores, reduce_seeds, seed_table
from study.analysis.intervals import Interval
from study.question.objectives import UnscoredError
from study.reporting import words
from study.reporting.beside import UNPERTURBED, Beside
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
    theirs = _theirs(found, members)
    rows += _beside(theirs, members)
    caption = (
        "The benchmark's own table: test scores in percent, of each task the mean over its languages, the source "
        "counted (primary metric), with 95 % intervals over seeds. Headlines are each task's own: what they are is in "
        f"the members' reports. {MISSING}: no score there; an average is over all {len(members)} tasks, or is none."
    )
    if theirs:
        caption += (
            " Published: averages as others have them, over the languages whose number stands beside; ours − theirs in "
            "points over these languages, with the interval of ours, since theirs has none; not over one fewer. "
            f"{_sets(theirs)}. Whose they are and what is otherwise there: below, beside published scores."
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


Theirs = Mapping[str, Mapping[str, Mapping[str, Beside]]]
"""Publication -> member -> role of ours -> both."""


def _theirs(found: Mapping[str, Findings], members: Sequence[str]) -> Theirs:
    """What is published of the members' tasks in the metric of this table."""
    known: dict[str, dict[str, dict[str, Beside]]] = {}
    for member in filter(found.__contains__, members):
        findings = found[member]
        for each in findings.published:
            if each.metric == findings.source.metric:
                role = HEADLINE if each.configuration == findings.source.headline else f"control {UNPERTURBED}"
                known.setdefault(each.row.name, {}).setdefault(member, {})[role] = each
    return known


def _beside(theirs: Theirs, members: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Rows of each publication: its averages, and what ours differ from them by."""
    for name, of_members in theirs.items():
        rows = {member: next(iter(roles.values())).row for member, roles in of_members.items()}
        printed = (f"{rows[m].mean:.1f} ({len(rows[m].mean_over)})" if m in rows else MISSING for m in members)
        yield (f"{name}, published", *printed, MISSING)
        for role in dict.fromkeys(role for roles in of_members.values() for role in roles):
            ours = (_difference(of_members.get(member, {}).get(role)) for member in members)
            yield (f"{role} − {name}", *ours, MISSING)


def _difference(both: Beside | None) -> str:
    if both is None or not both.alike:
        return MISSING
    mean = both.mean
    interval = Interval(mean["difference_low"], mean["difference_high"])
    band = f" [{words.points(interval.low)}, {words.points(interval.high)}]" if interval.known else ""
    return f"{words.points(mean['difference'])}{band}"


def _sets(theirs: Theirs) -> str:
    """Over which languages the averages are, and how that is with ours."""
    told: dict[str, list[str]] = {}
    for name, of_members in theirs.items():
        for member, roles in of_members.items():
            both = next(iter(roles.values()))
            codes = both.row.mean_over
            text = f"{member}, {len(codes)} languages ({' '.join(sorted(codes))})"
            if both.theirs_alone:
                text += f", not subtracted since ours lack {' '.join(both.theirs_alone)}"
            elif both.ours_alone:
                text += f", of ours not in the difference: {' '.join(both.ours_alone)}"
            else:
                text += ", as ours"
            told.setdefault(text, []).append(name)
    return ". ".join(f"{' and '.join(names)}: {text}" for text, names in told.items())


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
