"""How many parameters of an encoder a trial trains: read off the headers of its weight files, nothing is loaded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from trainables.config import OFFLINE, EncoderConfig, TrialConfig
from trainables.materials import prepared

Shapes = Mapping[str, tuple[int, ...]]

WEIGHTS = "model.safetensors"
PART = re.compile(r"\b(?:embeddings|encoder\.layer\.(\d+))\.")
"""Parameters of an encoder by name; those of pretraining heads and of the pooler, which no trial has, do not match."""


def trained(config: TrialConfig) -> int | None:
    """Parameters that a trial changes, its head apart; None where the encoder's weights are not on this machine.

    A vocabulary that is to be trimmed counts in full until the data has been prepared. Raises `UserError` for a task
    that does not exist.
    """
    shapes = _shapes(config)
    return None if shapes is None else count(shapes, config.encoder)


def count(shapes: Shapes, encoder: EncoderConfig) -> int:
    """Of parameters by name, the number that is not frozen."""
    total = 0
    for name, shape in shapes.items():
        if (part := PART.search(name)) is None:
            continue
        layer = part[1]
        frozen = encoder.freeze_embeddings if layer is None else int(layer) < encoder.freeze_lower_layers
        total += 0 if frozen else math.prod(shape)
    return total


def _shapes(config: TrialConfig) -> Shapes | None:
    """Of what a trial would load: the prepared copy where only that tells, else the encoder as it was published."""
    encoder = config.encoder
    name, trims_trained = encoder.name_or_path, encoder.trim_vocabulary and not encoder.freeze_embeddings
    if trims_trained and (folder := prepared(config)) is not None:
        return stored(folder / "encoder")
    if name.startswith(OFFLINE):
        from trainables.offline.encoder import shapes

        return shapes()
    if Path(name).is_dir():
        return stored(Path(name))
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, WEIGHTS, revision=config.encoder.revision)
    return stored(Path(found).parent) if isinstance(found, str) else None


def stored(folder: Path) -> Shapes | None:
    """Shapes by name of the weights in a folder, in one file or several; None where there are none to be read."""
    from safetensors import SafetensorError, safe_open

    index = folder / f"{WEIGHTS}.index.json"
    try:
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.exists() else {WEIGHTS}
        shapes: dict[str, tuple[int, ...]] = {}
        for name in sorted(names):
            with safe_open(folder / name, framework="numpy") as file:
                shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return shapes
