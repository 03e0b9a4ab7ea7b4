"""The shape of a task definition."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.errors import UserError, suggestion
from trainables.tasks.base import TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.definition import TaskDefinition, catalogue
from trainables.tasks.relevance import Relevance
from trainables.tasks.retrieval import Retrieval
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging


def shape_of(definition: TaskDefinition) -> TaskShape:
    """The object that reads, trains and scores a task. Raises `UserError` for keys that it does not read."""
    shape = _shape(definition)
    unread = [
        f"{key}.{name}: {definition.shape} has none{suggestion(name, known) or _known(known)} (got {given[name]!r})"
        for key, given, known in (
            ("columns", definition.columns, shape.columns),
            ("options", definition.options, shape.options),
        )
        for name in given
        if name not in known
    ]
    if unread:
        raise UserError(*(f"task.name: {definition.name}: {line}" for line in unread))
    return shape


def _known(names: Sequence[str]) -> str:
    return f", known: {', '.join(names)}" if names else ""


def _shape(definition: TaskDefinition) -> TaskShape:
    if definition.shape == "multiple_choice":
        return MultipleChoice(definition.labels, max(len(data.labels) for data in _data_of(definition)))
    if definition.shape == "retrieval":
        return Retrieval(definition.options.get("rows", "pairs"), definition.options.get("score", "accuracy"))
    if definition.shape == "span":
        return SpanAnswering(definition.options.get("normalisation", "squad"))
    if definition.shape == "relevance":
        return Relevance(definition.labels)
    if definition.shape == "tagging":
        return Tagging(definition.labels, definition.options.get("score", "f1"))
    return Classification(definition.labels, "text_pair" in definition.columns, definition.crossed)


def _data_of(definition: TaskDefinition) -> list[TaskDefinition]:
    """All the data that a task's splits are made of."""
    splits = definition.splits
    named = {part.task for part in (*splits.train, *splits.validation, *splits.test) if part.task}
    return [definition, *(catalogue()[name] for name in sorted(named))]
