"""Whether a folder has a model that can teach a trial, as far as its files tell without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainables.errors import shown
from trainables.tasks.base import TaskShape

_KEY = "perturbation.teacher"


def problems(folder: Path, shape: TaskShape, words: int | None) -> list[str]:
    """What is wrong with it, one line each; `words` are the rows of the trial's whole vocabulary, where known."""
    if shape.compares_items:
        return [f"{_KEY}: retrieval has no classes that a teacher could tell (got {folder})"]
    if not folder.is_dir():
        return [f"{_KEY}: must be a folder that `study model` has written (got {folder})"]
    try:
        known: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{_KEY}: must have a readable config.json ({error}; got {folder})"]
    if not list(folder.glob("*.safetensors")):
        return [f"{_KEY}: must have weights in safetensors (got {folder})"]
    found = []
    kind = shape.auto_class.removeprefix("AutoModel")
    made = known.get("architectures") or []
    if not any(str(name).endswith(kind) for name in made):
        found.append(f"{_KEY}: must be a model {kind} (got {', '.join(map(str, made)) or 'none'} in {folder})")
    labels = [name for _, name in sorted((known.get("id2label") or {}).items(), key=lambda pair: int(pair[0]))]
    if shape.labels and kind != "ForMultipleChoice" and labels != list(shape.labels):
        found.append(
            f"{_KEY}: must have the task's labels, {', '.join(shape.labels)} (got {shown(labels)} in {folder})"
        )
    if words is not None and known.get("vocab_size") != words:
        found.append(f"{_KEY}: must share the encoder's vocabulary of {words} (got {known.get('vocab_size')})")
    return found
