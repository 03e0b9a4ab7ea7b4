"""The shape of a task definition."""

from __future__ import annotations

from trainables.tasks.base import TaskShape
from trainables.tasks.classification import Classification
from trainables.tasks.definition import TaskDefinition


def shape_of(definition: TaskDefinition) -> TaskShape:
    """The module that reads, trains and scores a task."""
    return Classification(definition.labels, pair="text_pair" in definition.columns)
