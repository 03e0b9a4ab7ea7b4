"""From a trial of a study to a folder that transformers loads, and to MLflow's registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from study.models.card import card
from study.models.scored import Model
from study.record.lines import Reading
from study.tracking import registry
from study.tracking.mirror import Say
from study.tracking.tracker import to_stderr
from study.views import history, models
from study.views.found import find
from trainables.errors import UserError
from trainables.storage.scratch import scratch

CARD = registry.CARD

ASIDE = ".study-model"
"""How the folders begin in which a model is written before it is where it belongs."""


def publish(
    name: str,
    root: Path,
    number: int | None,
    to: Path | None,
    register: bool,
    say: Say = print,
    reading: Reading | None = None,
) -> None:
    """Write the model of a trial, or of the chosen one, into a new or empty folder, register it in MLflow, or both.

    `say` hears what was done. Raises `UserError`, with nothing written, for a folder that is not empty, a trial that
    has no weights, and where MLflow does not take it.
    """
    if to is None and not register:
        raise UserError("model: name a folder with --to, or give --register, or both")
    target = None if to is None else checked(to)
    study = find(root, name, reading)
    model = Model(study, models.chosen(study, number), history.results_of(study.place))
    folder, trial = study.place.folder, model.trial.number
    with (
        models.weights(study, model.trial) as checkpoint,
        aside(folder if target is None else target.parent) as folder_aside,
    ):
        task = write(model, checkpoint, folder_aside)
        if register:
            version = registry.register(study.place, folder_aside, task, trial)
            say(f"trial {trial} of {name}: version {version} of the model {name} in MLflow")
        if target is not None:
            folder_aside.rename(target)
            say(f"trial {trial} of {name}: {to}")


def write(model: Model, checkpoint: Path, folder: Path) -> str:
    """Write a trial's model with its card into an empty folder; the hub's name of its task."""
    models.check_materials(model.study, model.trial, model.config)
    from trainables.training.export import export

    exported = export(model.config, checkpoint, folder, models.splits(model.trial))
    (folder / CARD).write_text(card(model, exported), encoding="utf-8")
    return exported.hub_task


def register_chosen(name: str, root: Path, reading: Reading | None = None) -> None:
    """Register the chosen trial's model at a study's end. What forbids it is one line, and nothing fails by it.

    What is said goes to standard error: standard output is the study's result, or its events.
    """
    try:
        publish(name, root, None, None, register=True, say=to_stderr, reading=reading)
    except Exception as error:  # whatever MLflow, a plug-in of it, or the disk may raise
        words = str(error).strip().splitlines() or [type(error).__name__]
        to_stderr(f"no model registered: {words[0]}; once that is mended: study model {name} --register")


def checked(folder: Path) -> Path:
    """Where a folder really is. Raises `UserError` unless it is new or empty."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--to: must be a new or an empty folder (got {folder}, which has files)")
    return folder.resolve()


@contextmanager
def aside(parent: Path) -> Iterator[Path]:
    """An empty folder under `parent`, which is gone in the end unless it was renamed."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with scratch(ASIDE, parent) as folder:
            (folder / "model").mkdir()
            yield folder / "model"
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{parent}: the model cannot be written there ({reason})") from error
