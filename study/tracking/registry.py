"""MLflow's model registry: an exported model as a version of the registered model that has the study's name.

MLflow loads it as a pipeline of transformers (flavour ``transformers``). The same trial registered again is the same
version, with its files written anew.
"""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from study.record.place import Place
from study.tracking import tracker
from study.tracking.mirror import Mirror
from study.tracking.runs import TRIAL, UUID
from trainables.storage.scratch import scratch

SECONDS = 600
"""Time a request may take: half a gigabyte goes to a server in one."""

REQUIREMENTS = ("torch", "transformers")
"""What loading such a model takes."""

MODEL, CARD, LICENCE = "model", "README.md", "LICENSE.txt"
"""Files of a model in MLflow: the exported folder, its card, and where licences are expected."""


def register(place: Place, folder: Path, task: str, trial: int, uri: str | None = None) -> str:
    """Store an exported folder with the study's parent run, and register it; returns the version.

    `task` is the hub's name of what the model does, `uri` None is where the study tracks to. Raises `UserError` where
    transformers has no pipeline for the task, or MLflow does not take it.
    """
    version: list[str] = []
    with scratch(".study-mlflow", folder.parent) as aside:
        packed = aside / f"trial-{trial}"
        _pack(folder, packed, task)
        tracker.send_all(
            place, uri, tracker.to_stderr, lambda mirror: version.append(_version(mirror, packed, trial)), SECONDS
        )
    return version[-1]


def _pack(folder: Path, packed: Path, task: str) -> None:
    """The folder as MLflow keeps models."""
    from huggingface_hub import ModelCard
    from mlflow import transformers

    from trainables.model.stock import pipeline

    transformers.save_model(
        pipeline(folder, task),
        str(packed),
        task=task,
        model_card=ModelCard.load(folder / CARD),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
    )
    # What it wrote are the same weights without card and tokenizer, and of a licence that it has looked for on the hub.
    shutil.rmtree(packed / MODEL)
    shutil.copytree(folder, packed / MODEL, copy_function=os.link)
    (packed / LICENCE).write_text(f"See {MODEL}/{CARD}.\n", encoding="utf-8")


def _version(mirror: Mirror, packed: Path, trial: int) -> str:
    """Number of the version that has a trial's model; made if there is none."""
    name, tags = mirror.place.name, {UUID: str(mirror.record.uuid), TRIAL: str(trial)}
    client, run = mirror.parent
    mirror.keep([packed], "models")
    _ensure(client, name)
    for known in client.search_model_versions(f"name = '{name}'"):
        if tags.items() <= known.tags.items() and known.run_id == run.info.run_id:
            return str(known.version)
    source = f"{run.info.artifact_uri}/models/{packed.name}"
    words = f"Trial {trial} of the study {name}; its card is {MODEL}/{CARD}."
    return str(client.create_model_version(name, source, run.info.run_id, tags=tags, description=words).version)


def _ensure(client: Any, name: str) -> None:
    """The registered model, which is made if need be."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
