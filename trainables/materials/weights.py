"""An encoder's weight files, without loading them: whether they can be had, and how many of them a trial trains."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config import ENCODERS, OFFLINE, EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.materials.building import language_numbers
from trainables.materials.materials import added_rows, prepared
from trainables.model import adapters, catalogue
from trainables.model.adapters import Linear, Shapes
from trainables.model.families import Family, family_of
from trainables.tasks.hub import unreachable
from trainables.tasks.plan import Plan

if TYPE_CHECKING:  # its module loads torch
    from trainables.syntax.added import Sizes, Syntax

WEIGHTS = "model.safetensors"
WORDS = "word_embeddings.weight"
"""How the name of the table ends that has a row for each word."""

PICKLED = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "*.ckpt", "tf_model*.h5", "flax_model*.msgpack")
"""Weights in other formats, which are never read: to unpickle a file is to run it."""

HUB_ID = re.compile(r"(\b[\w\-.]+\b/)?\b[\w\-.]{1,96}\b")
"""As the hub's own client has it."""


def check(encoder: EncoderConfig) -> None:
    """Raise `UserError` where the weights are not on this machine and cannot be fetched, as far as can be told.

    And where they are of no known family, layers are to be frozen alone that are all one, or an adapter cannot be had
    or has nothing to train.
    """
    adapters.check_installed(encoder.adapter)
    if problem := _problem(encoder):
        raise UserError(f"encoder.name_or_path: {ENCODERS} (got {encoder.name_or_path!r}: {problem})")
    if kind := architecture(encoder).get("model_type"):
        family_of(str(kind)).check_frozen(str(kind), encoder.freeze_lower_layers)
        if (shapes := _published(encoder)) is not None:
            adapters.check(family_of(str(kind)), shapes, encoder)


def check_length(config: TrialConfig) -> None:
    """Raise `UserError` where texts may be longer than the encoder has positions for: every trial would break."""
    most = longest_input(config.encoder)
    if most is not None and config.task.max_length > most:
        name = config.encoder.name_or_path
        raise UserError(f"task.max_length: {name} has positions for {most} tokens (got {config.task.max_length})")


def check_languages(config: TrialConfig) -> None:
    """Raise `UserError` for languages that the encoder, or its tokenizer, has to be told of and does not know."""
    known = architecture(config.encoder)
    try:
        family = family_of(str(known.get("model_type", "")))
    except UserError:
        return
    numbers = family.language_numbers(known)
    if config.alignment.objective == "linear_map":
        numbers = numbers or {None: 0}  # its maps have to be told them too
    if not numbers and not family.slow_tokenizer:
        return
    plan = Plan.of(config.task)
    languages = list(dict.fromkeys([plan.source, *plan.sources("validation"), *plan.sources("test")]))
    language_numbers(config, numbers, languages)
    if family.slow_tokenizer and not (Path(config.encoder.name_or_path) / "tokenizer.json").exists():
        from trainables.model.xlm_tokenizer import moses_code, segmenter

        for language in languages:
            segmenter(moses_code(language))


def check_syntax(config: TrialConfig) -> None:
    """Raise `UserError` where nothing can be added to the encoder's layers and syntax is to augment them."""
    kind = architecture(config.encoder).get("model_type")
    if config.syntax.kind == "augmented" and kind:
        family_of(str(kind)).check_syntax(str(kind))


def _problem(encoder: EncoderConfig) -> str | None:
    name = encoder.name_or_path
    if name.startswith(OFFLINE):
        return None if name == f"{OFFLINE}e5-small" else "no such embedded encoder"
    if Path(name).is_dir():
        return None if stored(Path(name)) else _unread(Path(name))
    if not is_hub_id(name):
        return "no such folder"
    if _cached(encoder) is not None:
        return None
    known = catalogue.find(name)
    if known is not None and known.revision is not None and encoder.revision in (None, "main"):
        return f"its safetensors weights are at encoder.revision: {known.revision}, and no others are read"
    return f"not fetched yet, and {why}" if (why := unreachable()) else None


def is_here(encoder: EncoderConfig) -> bool:
    """Whether an encoder's weights are on this machine."""
    return encoder.name_or_path.startswith(OFFLINE) or _folder(encoder) is not None


def _unread(folder: Path) -> str:
    """Why there is nothing to be read in a folder."""
    others = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
    return f"no readable {WEIGHTS} in it" + (f", and {', '.join(others)} is never unpickled" if others else "")


def is_hub_id(name: str) -> bool:
    """Whether the hub could have something of this name, which is no path then."""
    return HUB_ID.fullmatch(name) is not None and not any(part in name for part in ("--", "..")) and name[-4:] != ".git"


def _cached(encoder: EncoderConfig) -> Path | None:
    """Folder of an encoder of the hub, where it was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    for file in (WEIGHTS, f"{WEIGHTS}.index.json"):
        found = try_to_load_from_cache(encoder.name_or_path, file, revision=encoder.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def longest_input(encoder: EncoderConfig) -> int | None:
    """Tokens, special ones included, that an encoder has positions for; None where that is not known from here."""
    known = architecture(encoder)
    try:
        family, pad_id = family_of(known["model_type"]), int(known.get("pad_token_id") or 0)
        return family.longest(int(known["max_position_embeddings"]), pad_id)
    except (KeyError, ValueError, TypeError, UserError):
        return None


def architecture(encoder: EncoderConfig) -> Mapping[str, Any]:
    """What an encoder's ``config.json`` says; nothing where it is not on this machine."""
    if encoder.name_or_path.startswith(OFFLINE):
        from trainables.offline.encoder import architecture

        return architecture()
    folder = _folder(encoder)
    try:
        known = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder is not None else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _folder(encoder: EncoderConfig) -> Path | None:
    """Where the files of an encoder are that is not embedded; None where they are not on this machine."""
    local = Path(encoder.name_or_path)
    if local.is_dir():
        return local
    return _cached(encoder) if is_hub_id(encoder.name_or_path) else None


def _family(encoder: EncoderConfig) -> Family:
    """Of an encoder whose configuration can be had from here; else the one that most encoders are built like."""
    try:
        return family_of(str(architecture(encoder).get("model_type", "")))
    except UserError:
        return family_of("bert")


def trained(config: TrialConfig) -> int | None:
    """Parameters that a trial changes, its head apart; None where the encoder's weights are not on this machine.

    A vocabulary that is to be trimmed counts in full until the data has been prepared. Raises `UserError` for a task
    that does not exist.
    """
    shapes = _shapes(config)
    if shapes is None:
        return None
    syntax = of_syntax(config, shapes)
    added = 0 if syntax is None else sum(each.numel() for each in syntax.parameters() if each.requires_grad)
    return count(shapes, config.encoder) + added


def of_syntax(config: TrialConfig, shapes: Shapes) -> Syntax | None:
    """What syntax adds to an encoder with these parameters: modules without numbers; None where nothing is added.

    Nor where an encoder's configuration is not here.
    """
    if config.syntax.kind == "none":  # a description without syntax needs no torch
        return None
    from torch import device

    from trainables.syntax import added

    if (sizes := _sizes(config.encoder, shapes)) is None:
        return None
    with device("meta"):
        return added.create(config.syntax, sizes, 0.0)


def _sizes(encoder: EncoderConfig, shapes: Shapes) -> Sizes | None:
    """Of an encoder with these parameters; None where its configuration is not here."""
    from trainables.model.pretrained import sizes_of

    return sizes_of(architecture(encoder), words(shapes)[1])


def cost(config: TrialConfig, passes: float) -> float | None:
    """Forward-equivalents of a step that has so many without syntax; None where that cannot be told from here."""
    if config.syntax.kind == "none":
        return passes
    shapes = _published(config.encoder)
    if shapes is None or (sizes := _sizes(config.encoder, shapes)) is None:
        return None
    from trainables.syntax.added import passes as with_syntax

    family = _family(config.encoder)
    layer_of = {name: part for name in shapes if (part := family.part(name)) is not None and part >= 0}
    weights = sum(math.prod(shapes[name]) for name in layer_of)
    repeats = family.repeats(sizes.layers, len(set(layer_of.values())))
    return with_syntax(of_syntax(config, shapes), weights * repeats, passes)


def passes(config: TrialConfig) -> float | None:
    """Forward-equivalents of a training; None where it is given in epochs, whose length is that of the data.

    Without those of syntax where nothing is known of the encoder yet. Raises `UserError` for an unknown method.
    """
    budget = config.training.budget
    if budget.steps is None:
        return budget.forward_equivalents
    from trainables.perturbation import create  # loads torch

    step = create(config.perturbation).cost(config.encoder)
    known = cost(config, step)
    return budget.steps * (step if known is None else known)


def count(shapes: Shapes, encoder: EncoderConfig) -> int:
    """Of parameters by name, the number that a trial changes, with those that an adapter adds."""
    return sum(map(math.prod, unfrozen(shapes, encoder).values()))


def unfrozen(shapes: Shapes, encoder: EncoderConfig) -> Shapes:
    """Those of a trial's parameters that it changes, its head's apart."""
    return adapters.trained(_family(encoder), shapes, encoder)


def adapted(shapes: Shapes, encoder: EncoderConfig) -> list[Linear]:
    """The linear layers of a trial's encoder that its adapter adds parameters to."""
    is_adapted = encoder.adapter.method in adapters.BY_LIBRARY
    return adapters.adapted(_family(encoder), shapes, encoder) if is_adapted else []


def own(shapes: Shapes, encoder: EncoderConfig) -> Shapes:
    """Those that a trial has: not the pooler's, nor those of pretraining heads."""
    family = _family(encoder)
    return {name: shape for name, shape in shapes.items() if family.part(name) is not None}


def whole(encoder: EncoderConfig) -> int | None:
    """Parameters of an encoder with its whole vocabulary; None where its weights are not on this machine."""
    shapes = _published(encoder)
    return None if shapes is None else sum(map(math.prod, own(shapes, encoder).values()))


def loaded(config: TrialConfig) -> Shapes | None:
    """The parameters of the encoder that a trial loads; None where it is not on this machine.

    A vocabulary that is to be trimmed counts in full until the data has been prepared. Raises `UserError` for a task
    that does not exist.
    """
    folder = prepared(config) if config.encoder.trim_vocabulary else None
    shapes = _published(config.encoder) if folder is None else stored(folder / "encoder")
    if shapes is not None and folder is not None:
        shapes = _extended(shapes, added_rows(config))
    return None if shapes is None else own(shapes, config.encoder)


def _shapes(config: TrialConfig) -> Shapes | None:
    """As `loaded`; as published where the vocabulary is frozen and does not count."""
    return loaded(config) if config.encoder.trains_words else _published(config.encoder)


def words(shapes: Shapes) -> tuple[int, int]:
    """Rows of the word embeddings, and their size; of encoders that call them otherwise, the matrix of most rows."""
    named = [shape for name, shape in shapes.items() if name.endswith(WORDS)]
    rows, width = named[0] if named else max((each for each in shapes.values() if len(each) == 2), key=lambda s: s[0])
    return rows, width


def _extended(shapes: Shapes, rows: int) -> Shapes:
    """With that many word embeddings more."""
    return {n: (shape[0] + rows, *shape[1:]) if n.endswith(WORDS) else shape for n, shape in shapes.items()}


def _published(encoder: EncoderConfig) -> Shapes | None:
    """Of an encoder as it was published."""
    if encoder.name_or_path.startswith(OFFLINE):
        from trainables.offline.encoder import shapes

        return shapes()
    folder = _folder(encoder)
    return None if folder is None else stored(folder)


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
