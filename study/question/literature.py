"""Scores that others have published (``literature.yaml``), and which of them a study can stand beside.

They are of one task, one encoder and one source language, and agree with a study that has all three.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources

import yaml

from study.question import encoders, objectives
from study.question.config import Published, StudyConfig, SuiteConfig
from trainables.errors import UserError, shown, suggestion
from trainables.model import catalogue

SOURCE = "en"
"""The language that all shipped ones are trained on."""


@cache
def shipped() -> tuple[Published, ...]:
    """All that is in the package; those of one publication have one name."""
    text = resources.files(__package__).joinpath("literature.yaml").read_text(encoding="utf-8")
    found: Mapping[str, list[dict[str, object]]] = yaml.safe_load(text)
    return tuple(
        Published.model_validate({"name": name, "source_language": SOURCE, **row})
        for name, rows in found.items()
        for row in rows
    )


def names() -> list[str]:
    """Of the publications."""
    return list(dict.fromkeys(row.name for row in shipped()))


def agrees(row: Published, config: StudyConfig) -> bool:
    """Whether a row is of the study's task and source language, and of one of its encoders."""
    is_of_task = row.task in (None, config.trial.task.name)  # asked first: which encoders there are is a look at a file
    return is_of_task and _differing(row, config) == []


def of_study(config: StudyConfig) -> tuple[Published, ...]:
    """What stands beside a study: what it names, else all shipped ones that agree with it."""
    asked = names() if config.reference is None else config.reference
    rows = [row for entry in asked for row in ([entry] if isinstance(entry, Published) else _named(entry))]
    return tuple(row for row in rows if agrees(row, config))


def problems(config: StudyConfig) -> Iterator[str]:
    """What is wrong with what a study names, a line each: it is not known, or of another task or encoder."""
    for i, entry in enumerate(config.reference or ()):
        if isinstance(entry, Published):
            if differing := _differing(entry, config):
                yield f"reference[{i}]: {entry.name} is of another {' and '.join(differing)} (got {_of(entry)})"
            if max([entry.mean, *entry.values.values()]) <= 1:
                which = "values" if entry.values else "average"
                yield f"reference[{i}].{which}: must be in percent, as tables print them (got none above 1)"
        elif not _named(entry):
            yield _unknown(entry)
        elif not any(agrees(row, config) for row in _named(entry)):
            mine = f"{config.trial.task.name}, {', '.join(encoders.labels(config))}"
            has = "; ".join(dict.fromkeys(map(_of, _named(entry))))
            yield f"reference: {entry} has nothing of {mine}, but: {has}; reference=[] goes without"
    named = [(row.name, row.metric or "primary metric", _of(row)) for row in of_study(config)]
    for name, metric, what in dict.fromkeys(each for each in named if named.count(each) > 1):
        yield f"reference: {name} has several rows of one metric, told apart by nothing (got {metric}, {what})"


def suite_problems(config: SuiteConfig) -> Iterator[str]:
    """The same of what a suite names for all its members, as far as no member is needed to see it."""
    for i, entry in enumerate(config.reference or ()):
        if isinstance(entry, str) and not _named(entry):
            yield _unknown(entry)
        elif isinstance(entry, Published) and entry.task is None:
            yield f"reference[{i}].task: must be named in a suite, whose members have several (got none)"


def of_no_member(config: SuiteConfig, members: Collection[StudyConfig]) -> Iterator[str]:
    """One's own rows that a suite names and that agree with none of its members, a line each."""
    for i, entry in enumerate(config.reference or ()):
        if isinstance(entry, Published) and not any(agrees(entry, member) for member in members):
            yield f"reference[{i}]: {entry.name} agrees with no member of the suite (got {_of(entry)})"


def for_member(config: StudyConfig) -> StudyConfig:
    """The study of a suite's member with what agrees with it, out of what the suite names for all."""
    if config.reference is None:
        return config
    kept = tuple(
        entry
        for entry in config.reference
        if any(agrees(row, config) for row in ([entry] if isinstance(entry, Published) else _named(entry)))
    )
    return config.model_copy(update={"reference": kept})


def words(config: StudyConfig) -> list[str]:
    """A line for each row that stands beside a study."""
    return [
        f"{row.name}, {row.metric or 'primary metric'}{'' if row.values else ', its mean alone'}: {row.where}"
        for row in of_study(config)
    ]


def same_encoder(one: str, other: str) -> bool:
    """Whether two names are of the same weights, as far as the catalogue knows.

    >>> same_encoder("xlm-roberta-base", "FacebookAI/xlm-roberta-base")
    True
    """
    return _encoder(one) == _encoder(other)


def _named(name: str) -> list[Published]:
    return [row for row in shipped() if row.name == name]


def _unknown(name: str) -> str:
    near = suggestion(name, names()) or f", known: {', '.join(names())}"
    return f"reference: no such publication is shipped{near} (got {shown(name)})"


def _differing(row: Published, config: StudyConfig) -> list[str]:
    """In what a row disagrees with a study."""
    task = config.trial.task
    found = [] if row.task in (None, task.name) else ["task"]
    if row.source_language is not None and not objectives.spellings([row.source_language]) & objectives.sources(config):
        found.append("source language")
    if row.encoder is not None and not any(same_encoder(row.encoder, mine) for mine in _encoders(config)):
        found.append("encoder")
    return found


def _encoders(config: StudyConfig) -> list[str]:
    """Names of the study's encoders; a space that is none is said elsewhere."""
    try:
        return [str(point.get(encoders.NAME, config.trial.encoder.name_or_path)) for point in encoders.settings(config)]
    except UserError:
        return [config.trial.encoder.name_or_path]


def _encoder(name: str) -> str:
    entry = catalogue.find(name)
    return name if entry is None else entry.id


def _of(row: Published) -> str:
    return f"{row.task or 'the task'}, {row.encoder or 'the encoder'}"
