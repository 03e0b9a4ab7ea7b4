"""Ours beside what others have published: by language, and the mean over the languages that both have.

A published score has no interval here (papers print means), so that an interval of a difference is that of ours, over
seeds, alone. A mean is over no other languages than both have: the mean that a paper prints is over its own. Where it
prints nothing else, ours is over the same languages, or there is no difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from study.analysis import intervals
from study.analysis.frames import language_scores, seed_table
from study.analysis.intervals import Interval
from study.question import objectives
from study.question.config import Published, StudyConfig
from study.reporting import words
from study.reporting.source import Source
from study.reporting.table import Table
from trainables.config import Budget

MEAN = "mean"
"""Stands for a language in the row of the mean over those that both have."""

UNPERTURBED = "a"
"""The control that a published score, of plain fine-tuning, is to be held against."""


@dataclass(frozen=True)
class Beside:
    """One published row and one configuration of ours."""

    row: Published
    metric: str
    configuration: str
    scores: pd.DataFrame
    """One row per language that both have, and MEAN over them: language, theirs, ours, low, high, difference,
    difference_low, difference_high (fractions), seeds. Of a row that is an average alone there is MEAN alone, over its
    own languages; ours is NaN where one of these is not scored here."""
    ours_alone: tuple[str, ...]
    """Languages that are not published."""
    theirs_alone: tuple[str, ...]
    """Languages that are published, and not scored here."""

    @property
    def languages(self) -> int:
        """How many both have."""
        return len(self.row.mean_over) - len(self.theirs_alone)

    @property
    def alike(self) -> bool:
        """Whether ours has all languages of theirs, so that `mean` is over the whole of these."""
        return not self.theirs_alone

    @property
    def mean(self) -> Mapping[str, float]:
        """The row of the mean."""
        return {str(k): v for k, v in self.scores.iloc[-1].items()}


def find(source: Source) -> tuple[Beside, ...]:
    """What of the published rows of a study can stand beside its test scores; nothing before it is confirmed."""
    return tuple(
        found
        for row in source.published
        for configuration in _configurations(source)
        if (found := _beside(source, row, configuration)) is not None
    )


def _configurations(source: Source) -> list[str]:
    """The unperturbed control first, then the headline."""
    if source.results is None:
        return []
    test = source.results[source.results["split"] == "test"]
    plain = test.loc[test["control"] == UNPERTURBED, "configuration"].unique()
    there = set(test["configuration"])
    return [name for name in dict.fromkeys([*map(str, plain), source.headline or ""]) if name in there]


def _beside(source: Source, row: Published, configuration: str) -> Beside | None:
    metric = row.metric or source.metric
    table = _seeds(source, metric, configuration)
    spelled = {code: objectives.spellings([code]) for code in row.mean_over}
    named = {code: str(ours) for code, known in spelled.items() for ours in table.columns if str(ours) in known}
    if not named or not len(table):
        return None
    lacking = tuple(sorted(code for code in row.mean_over if code not in named))
    ours = table[list(named.values())].mean(axis=1)
    if row.values:
        both = {mine: row.values[code] / 100 for code, mine in named.items()}
        rows = [_row(language, table[language], value) for language, value in sorted(both.items())]
        rows.append(_row(MEAN, ours, sum(both.values()) / len(both)))
    else:
        rows = [_row(MEAN, ours * math.nan if lacking else ours, row.mean / 100)]
    ours_alone = tuple(sorted(str(code) for code in table.columns if code not in named.values()))
    return Beside(row, metric, configuration, pd.DataFrame(rows), ours_alone, lacking)


def _seeds(source: Source, metric: str, configuration: str) -> pd.DataFrame:
    """Test scores by seed and language; of languages that every seed has."""
    if metric == source.claimed and source.results is not None:
        scores = language_scores(source.results[source.results["split"] == "test"])
    elif len(source.further):
        scores = source.further[source.further["metric"] == metric]
    else:
        return pd.DataFrame()
    return seed_table(scores, configuration).dropna(axis="columns")


def _row(language: str, ours: pd.Series[float], theirs: float) -> dict[str, str | float]:
    mean, span = float(ours.mean()), intervals.of_mean(ours)
    return {
        "language": language, "theirs": theirs, "ours": mean, "low": span.low, "high": span.high,
        "difference": mean - theirs, "difference_low": span.low - theirs, "difference_high": span.high - theirs,
        "seeds": len(ours),
    }  # fmt: skip


# In words


def sentences(found: Sequence[Beside]) -> Iterator[str]:
    """What each says of the mean over the languages that both have."""
    for each in found:
        if not each.row.values and not each.alike:
            yield _not_subtracted(each)
            continue
        mean = each.mean
        ours, theirs = (f"{100 * mean[whose]:.1f}" for whose in ("ours", "theirs"))
        yield (
            f"{each.row.name}, {each.metric.replace('_', ' ')}, mean over the {_counted(each)}: {each.configuration} "
            f"{ours} against {theirs} published, {words.points(mean['difference'])} points "
            f"(95 % interval {words.span(_interval(mean))}, of ours over {mean['seeds']:.0f} "
            f"seed{'' if mean['seeds'] == 1 else 's'} alone; {_seeds_words(each.row)})."
        )


def _not_subtracted(each: Beside) -> str:
    return (
        f"{each.row.name}, {each.metric.replace('_', ' ')}: {each.row.mean:.1f} published as a mean over "
        f"{len(each.row.mean_over)} languages, of which {each.configuration} has {each.languages}: not subtracted "
        f"(not scored: {' '.join(each.theirs_alone)})."
    )


def _counted(each: Beside) -> str:
    only = [
        f"{len(codes)} more {who}" for who, codes in (("here", each.ours_alone), ("there", each.theirs_alone)) if codes
    ]
    more = f" (not in it: {' and '.join(only)})" if only else ""
    return f"{each.languages} language{'s' * (each.languages != 1)} that both have{more}"


def _seeds_words(row: Published) -> str:
    """What is known of how sure the published one is.

    >>> _seeds_words(Published(name="a", where="b", values={"en": 80.0}, seeds=5))
    'theirs is a mean of 5 seeds, without an interval'
    """
    if row.seeds is None:
        return "theirs has no interval, nor is said of how many seeds it is"
    return f"theirs is {f'a mean of {row.seeds} seeds' if row.seeds > 1 else 'one seed'}, without an interval"


def settings(config: StudyConfig) -> str:
    """Of ours: what a published protocol may have otherwise."""
    trial, training = config.trial, config.trial.training
    parts = [
        f"selection by {config.protocol.selection.replace('_', ' ')}",
        f"checkpoint {trial.evaluation.checkpoint.replace('_', ' ')}",
        _budget(training.budget),
        f"batches of {training.batch_size}",
        f"learning rate {training.learning_rate:g}",
        f"at most {trial.task.max_length} tokens",
    ]
    if trial.encoder.trim_vocabulary:
        parts.append("vocabulary trimmed")
    if trial.encoder.freeze_embeddings or trial.encoder.freeze_lower_layers:
        parts.append("parts of the encoder frozen")
    if trial.encoder.adapter.method != "none":
        parts.append(f"an adapter ({trial.encoder.adapter.method})")
    if trial.task.words is not None:
        parts.append(f"{trial.task.words} words")
    if (examples := config.protocol.confirm_examples_per_language) is not None:
        parts.append(f"{examples} test examples of each language")
    return ", ".join(parts)


def _budget(budget: Budget) -> str:
    given = {name: value for name, value in budget.model_dump().items() if value is not None}
    return ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in given.items())


def _origin(each: Beside) -> str:
    row = each.row
    told = [f"{row.name}: {row.where}", _seeds_words(row), *([row.confidence] if row.confidence else []), *row.differs]
    if row.average is not None:
        only = "" if row.values else " and no more: " + " ".join(row.mean_over)
        told.append(f"it prints a mean of {row.average:g} over its {len(row.mean_over)} languages{only}")
    return "; ".join(told)


def _interval(row: Mapping[str, float]) -> Interval:
    return Interval(row["difference_low"], row["difference_high"])


# Tables


def table(source: Source, found: Sequence[Beside]) -> Table:
    """Every published score beside ours of each configuration."""
    configurations = list(dict.fromkeys(each.configuration for each in found))
    rows = []
    for _, alike in groupby(found, lambda each: (each.row, list(each.scores["language"]), each.theirs_alone)):
        # All of these are of one mean.
        group = list(alike)
        published = group[0].row.name, group[0].metric.replace("_", " ")
        for language in group[0].scores["language"]:
            cells = {e.configuration: e.scores.set_index("language").loc[language].to_dict() for e in group}
            theirs = next(iter(cells.values()))["theirs"]
            label = _mean_of(group[0]) if language == MEAN else str(language)
            mine = [cell for name in configurations for cell in _cells(cells.get(name))]
            rows.append((*published, label, f"{100 * theirs:.1f}", *mine))
    origins = ". ".join(dict.fromkeys(map(_origin, found)))
    text = (
        f"Published scores beside ours, test, in percent; differences (ours − theirs) in points with the 95 % interval "
        f"of ours over seeds, since theirs has none. {origins}. Ours: {settings(source.config)}. What of this differs "
        "from theirs is part of the difference. A mean is over the languages that both have; where it is all that is "
        "published, it is over its own, or nothing is subtracted, where one of these is not scored here. Exploratory."
    )
    titles = [title for name in configurations for title in (name, "ours − theirs", "95 %")]
    return Table("reference", text, ("published", "metric", "language", "theirs", *titles), tuple(rows), (0, 1, 2))


def _mean_of(each: Beside) -> str:
    own = not each.row.values and not each.alike
    return f"mean of {len(each.row.mean_over)}, {each.languages} here" if own else f"mean of {each.languages}"


def _cells(row: Mapping[str, float] | None) -> tuple[str, str, str]:
    if row is None or math.isnan(row["ours"]):
        return "–", "–", "–"
    return f"{100 * row['ours']:.1f}", words.points(row["difference"]), words.span(_interval(row))


def suite_table(found: Mapping[str, Sequence[Beside]]) -> Table | None:
    """Members by what is published of their task: means over the languages that both have, over no tasks."""
    rows = []
    for member, all_of_it in found.items():
        for each in all_of_it:
            both = f"{each.languages} ({len(each.ours_alone)} ours, {len(each.theirs_alone)} theirs alone)"
            first = (member, each.row.name, each.metric.replace("_", " "), each.configuration, both)
            rows.append((*first, f"{100 * each.mean['theirs']:.1f}", *_cells(each.mean)))
    if not rows:
        return None
    origins = ". ".join(dict.fromkeys(_origin(each) for some in found.values() for each in some))
    text = (
        "Published scores beside ours: means over the languages that both have, whose number is given (where a mean is "
        "all that is published, over its own, or not at all); test, percent, "
        f"differences in points, 95 % intervals of ours over seeds, since theirs has none. {origins}. What differs in "
        "the protocols is in the members' reports, as are the languages. Nothing is averaged over tasks, which have "
        "different languages."
    )
    columns = (
        "member",
        "published",
        "metric",
        "ours",
        "languages both have",
        "theirs",
        "score",
        "ours − theirs",
        "95 %",
    )
    return Table("reference", text, columns, tuple(rows), (0, 1, 2, 3, 4))


def frame(found: Sequence[Beside]) -> pd.DataFrame:
    """The numbers behind the table, unrounded, as fractions."""
    parts = [
        each.scores.assign(
            published=each.row.name, metric=each.metric, configuration=each.configuration,
            language=[*each.scores["language"][:-1], _mean_of(each)], where=each.row.where,
            confidence=each.row.confidence, their_seeds=each.row.seeds,
        )
        for each in found
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
