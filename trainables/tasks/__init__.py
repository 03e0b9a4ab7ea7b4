"""Tasks: labelled data in many languages, and what it means to train on it and to score it.

`load_task` reads the splits it is asked for and no other; the test split is closed to whoever does not name it.
"""

from __future__ import annotations

from trainables.tasks.definition import TaskDefinition, catalogue, find
from trainables.tasks.task import Task, load_task, task_key, task_shape

__all__ = ["Task", "TaskDefinition", "catalogue", "find", "load_task", "task_key", "task_shape"]
