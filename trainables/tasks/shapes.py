"""The shape of a task definition."""

from __future__ import annotations

from trainables.tasks.base import TaskShape
from trainables.tasks.choice import MultipleChoice
from trainables.tasks.classification import Classification
from trainables.tasks.definition import TaskDefinition, catalogue
from trainables.tasks.retrieval import Retrieval
from trainables.tasks.span import SpanAnswering
from trainables.tasks.tagging import Tagging


def shape_of(definition: TaskDefinition) -> TaskShape:
    """The object that reads, trains and scores a task."""
    if definition.shape == "multiple_choice":
        return MultipleChoice(definition.labels, max(len(data.labels) for data in _data_of(definition)))
    if definition.shape == "retrieval":
        return Retrieval(definition.options.get("rows", "pairs"), definition.options.get("score", "accuracy"))
    if definition.shape == "span":
        return SpanAnswering(definition.options.get("normalisation", "squad"))
    if definition.shape == "tagging":
        return Tagging(definition.labels)
    return Classification(definition.labels, "text_pair" in definition.columns, definition.crossed)


def _data_of(definition: TaskDefinition) -> list[TaskDefinition]:
    """All the data that a task's splits are made of."""
    splits = definition.splits
    named = {part.task for part in (*splits.train, *splits.validation, *splits.test) if part.task}
    return [definition, *(catalogue()[name] for name in sorted(named))]
