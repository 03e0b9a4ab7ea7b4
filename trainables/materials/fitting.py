"""Whether a trial's method goes with its task, its encoder and the rest of its configuration."""

from __future__ import annotations

from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.materials import noised, noisy_files, teachers
from trainables.materials.parsed import syntax_problems
from trainables.perturbation import create
from trainables.tasks.hub import unreachable
from trainables.tasks.relevance import Relevance


def check(config: TrialConfig) -> None:
    """Raise `UserError` where the method does not go with the rest of the trial's configuration."""
    from trainables.tasks.task import task_shape

    method, shape = create(config.perturbation), task_shape(config.task)
    problems = method.problems(config) + noised.problems(config.evaluation, shape)
    problems += noisy_files.problems(config)
    of_answers = ("attack", "certify", "calibration", "agreement")
    for name in [name for name in of_answers if getattr(config.evaluation, name) and not shape.has_single_answers]:
        rule = "only for tasks with one answer an example, classification and multiple choice"
        problems.append(f"evaluation.{name}: {rule} (got task {config.task.name!r})")
    if isinstance(shape, Relevance):
        attack = config.evaluation.attack
        asked = {"attack.kind": attack is not None and attack.kind == "words", "agreement": config.evaluation.agreement}
        rule = "not for graded documents, several of which are one row"
        got = f"got task {config.task.name!r}"
        problems += [f"evaluation.{name}: {rule} ({got})" for name, is_asked in asked.items() if is_asked]
    problems += syntax_problems(config, shape)
    size, tokens = config.training.micro_batch_size, config.training.micro_batch_tokens
    if shape.compares_items:
        rule = "the items of a batch are compared with each other and cannot be taken apart; leave it out"
        if size is not None and size < config.training.batch_size:
            got = f"got {size} of {config.training.batch_size}, task {config.task.name!r}"
            problems.append(f"training.micro_batch_size: {rule} ({got})")
        if tokens is not None:
            problems.append(f"training.micro_batch_tokens: {rule} (got {tokens}, task {config.task.name!r})")
    problems += task_problems(config)
    if method.view == "segments":
        problems += _segmentation_problems(config.encoder)
    if method.teacher is not None:
        problems += teachers.problems(method.teacher, shape, _rows_of(config.encoder))
    if method.view == "copies" and config.augmentation.method == "none":
        problems.append(
            f"perturbation.method: {config.perturbation.method} compares examples with copies in other words and needs "
            "augmentation.method synonyms (got 'none')"
        )
    if problems:
        raise UserError(*problems)


def task_problems(config: TrialConfig) -> list[str]:
    """Why the method serves no task of this shape, whatever else is set. Raises `UserError` for no method."""
    from trainables.tasks.task import task_shape

    view, shape, name = create(config.perturbation).view, task_shape(config.task), config.perturbation.method
    if view == "segments" and shape.compares_items:
        rule = (
            "compares an example with itself in another segmentation, not with the others of its batch; it serves all "
            "tasks but retrieval"
        )
    elif view == "copies" and not shape.has_single_answers:
        rule = "serves tasks with one answer an example, classification and multiple choice"
    else:
        return []
    return [f"perturbation.method: {name} {rule} (got task {config.task.name!r})"]


def _segmentation_problems(encoder: EncoderConfig) -> list[str]:
    """Why an encoder's tokenizer cannot segment a text in several ways, as far as can be told from here."""
    from trainables.model.pretrained import tokenizer_kind
    from trainables.model.segments import check_kind

    try:
        # A hub that cannot be reached is not asked: its client would try again for half a minute.
        if (kind := tokenizer_kind(encoder, fetches=unreachable() is None)) is not None:
            check_kind(kind)
    except UserError as error:
        return error.lines
    return []


def _rows_of(encoder: EncoderConfig) -> int | None:
    """Of an encoder's whole vocabulary; None where it is not here."""
    from trainables.model.pretrained import vocabulary_size

    try:
        return vocabulary_size(encoder)
    except UserError:
        return None
