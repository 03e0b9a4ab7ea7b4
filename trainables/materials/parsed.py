"""Whose trees are known: who parsed the rows of each language, and whether that is enough to train on."""

from __future__ import annotations

import logging

from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.tasks.base import TaskShape
from trainables.tasks.heads import parsed
from trainables.tasks.plan import Plan
from trainables.tasks.task import Task

LOOKED_AT = 200
"""Training rows by which a task is said to have heads, or none."""


def has_syntax(config: TrialConfig) -> bool:
    """Whether a trial asks for the trees of its texts."""
    return config.syntax.kind != "none"


def syntax_problems(config: TrialConfig, shape: TaskShape) -> list[str]:
    """Why syntax does not go with a task or with how it is trained, one line each."""
    kind, training = config.syntax.kind, config.training
    if kind == "none":
        return []
    problems: list[str] = []
    if not shape.head_columns:
        rule = "only for tagging and for classification of a text or a pair"
        problems.append(f"syntax.kind: {rule} (got {kind!r}, task {config.task.name!r})")
    if kind == "augmented":
        rule = "not where syntax augments layers, which are given something new in each pass"
        asked = {"gradient_checkpointing": training.gradient_checkpointing, "compile": training.compile}
        problems += [f"training.{name}: {rule} (got true)" for name, is_on in asked.items() if is_on]
    return problems


def parsed_languages(task: Task, split: str) -> dict[str, list[str | int]]:
    """Language -> who parsed its rows of a split (gold, predicted, none), how many of them, and how many there are."""
    return {code: [*parsed(rows, task.shape), len(rows)] for code, rows in task.rows[split].items()}


def check_heads(config: TrialConfig) -> None:
    """Raise `UserError` where a trial's syntax does not go with its task, or the first training rows have no heads.

    Data that is not in files here is not fetched, and has none.
    """
    plan = Plan.of(config.task, reads_heads=True)
    if problems := syntax_problems(config, plan.shape):
        raise UserError(*problems)
    if not parsed(plan.first("train", LOOKED_AT), plan.shape)[1]:
        raise UserError(_headless(plan.shape, f"the first training rows of {plan.source} in files"))


def check_parsed(task: Task) -> None:
    """Warn of evaluated languages without trees, for which a method falls back to no syntax.

    Raises `UserError` where there is none to train on.
    """
    if not parsed(task.rows["train"][task.source_language], task.shape)[1]:
        raise UserError(_headless(task.shape, f"the training rows of {task.source_language}"))
    splits = [split for split in task.rows if split != "train"]
    bare = sorted({c for split in splits for c, found in parsed_languages(task, split).items() if not found[1]})
    if bare:
        words = "syntax.kind: no trees of %s, which are scored without syntax"
        logging.getLogger(__name__).warning(words, ", ".join(bare))


def _headless(shape: TaskShape, where: str) -> str:
    columns = " and ".join(shape.head_columns.values())
    needs = f"needs dependency heads of the training texts, in CoNLL-U files or in a column {columns}"
    return f"syntax.kind: {needs} (got none in {where})"
