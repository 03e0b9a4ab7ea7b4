"""A trained model as a folder that transformers loads: whole vocabulary, the library's own class, tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.alignment import load_pristine
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.materials import materials as materials_of
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.model.heads import PooledHead
from trainables.model.pretrained import load_tokenizer
from trainables.model.stock import EMBEDDINGS, NoStockClassError, stock
from trainables.scores import Split
from trainables.scoring.stream import join
from trainables.storage import checkpoint as checkpoints
from trainables.storage.checkpoint import Checkpoint
from trainables.tasks.base import collate
from trainables.training.library import logits, whole
from trainables.training.rows import rows_of, words_of
from trainables.training.trial import build_model

CHECKED = 2
"""Items of each language on which a model is compared with the trial's before it is let out."""

TOLERANCE = 1e-4
"""Largest difference of two logits there, in units of the largest logit or of one."""


@dataclass(frozen=True)
class Exported:
    """What was written, as a reader of the folder should know it."""

    auto_class: str
    hub_task: str
    labels: tuple[str, ...]
    pooling: str
    """``mean``, ``first`` …; empty where the head looks at single tokens."""
    layers: int
    """The encoder's own …"""
    pooling_layers: int
    """… and those after them that do nothing but pool."""
    trimmed: bool
    """Whether the study's words have trained embeddings, and all others the pretrained ones."""
    largest_difference: float
    """Between a logit of the folder's model and the trial's, on `examples` items."""
    examples: int


def export(config: TrialConfig, checkpoint: Path, folder: Path, splits: Sequence[Split] = ("validation",)) -> Exported:
    """Write the model of a trial's finished checkpoint into an existing, empty folder.

    `checkpoint` is the folder of the trial's checkpoints, `splits` are those that the trial was given. Raises
    `UserError` where there is no whole checkpoint, it is of another configuration, or no class of transformers computes
    the same: both are compared on real texts.
    """
    if config.syntax.kind != "none":
        rule = "no class of transformers looks along trees; models of trials without syntax can be taken out"
        raise UserError(f"syntax.kind: {rule} (got {config.syntax.kind!r})")
    found = checkpoints.latest(checkpoint)
    if found is None or not any(evaluation.final for evaluation in found.evaluations):
        raise UserError(f"{checkpoint}: must have the whole checkpoint of a finished trial (got none)")
    materials = materials_of.load(config, splits)
    model = build_model(config, materials, load_pristine(config, materials.uses_segments)).eval()
    _load(model, found, config, materials)
    library = stock(model.encoder.merged(), model.head, materials.shape.auto_class, materials.shape.labels)
    difference, examples = _compared(model, library, materials)
    library.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):  # as transformers leaves them nobody else may read them
        weights.chmod((folder / "config.json").stat().st_mode)
    _write_tokenizer(config, folder)
    layers, shape = int(model.encoder.model.config.num_hidden_layers), materials.shape
    return Exported(
        auto_class=shape.auto_class,
        hub_task=shape.hub_task,
        labels=shape.labels,
        pooling=config.encoder.pooling if _is_pooled(model, shape.auto_class) else "",
        layers=layers,
        pooling_layers=int(library.config.num_hidden_layers) - layers,
        trimmed=materials.kept is not None and config.encoder.trains_words,
        largest_difference=difference,
        examples=examples,
    )


def _is_pooled(model: Model, auto_class: str) -> bool:
    """Whether what comes out is about whole texts."""
    return auto_class == EMBEDDINGS or any(isinstance(module, PooledHead) for module in model.head.modules())


def _write_tokenizer(config: TrialConfig, folder: Path) -> None:
    """The encoder's tokenizer, which cuts and pads as the trial did."""
    tokenizer = load_tokenizer(config.encoder)
    tokenizer.model_max_length, tokenizer.padding_side = config.task.max_length, "right"
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    written = json.loads(file.read_text(encoding="utf-8"))
    if written.get("tokenizer_class") == "TokenizersBackend":  # a name that transformers before 5 does not know
        written["tokenizer_class"] = "PreTrainedTokenizerFast"
    own = {key: value for key, value in written.items() if key not in ("is_local", "local_files_only", "backend")}
    file.write_text(json.dumps(own, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _load(model: Model, found: Checkpoint, config: TrialConfig, materials: Materials) -> None:
    """Put a trial's weights into a model of the whole vocabulary: rows that were trimmed away stay as pretrained."""
    parameters, words, whole = dict(model.named_parameters()), words_of(model), dict(found.weights)
    if words in whole and (rows := rows_of(found, config, materials)) is not None and len(rows) == len(whole[words]):
        whole[words] = parameters[words].detach().index_copy(0, torch.from_numpy(rows), whole[words])
    trained = {name: parameter.shape for name, parameter in parameters.items() if parameter.requires_grad}
    if {name: weight.shape for name, weight in whole.items()} != trained:
        raise UserError(
            "encoder: the checkpoint's weights must be those of this trial; its data or encoder has changed"
        )
    checkpoints.load_weights(model, whole)


@torch.inference_mode()
def _compared(model: Model, library: Any, materials: Materials) -> tuple[float, int]:
    """Largest difference of a logit on some texts of every language, and how many items those are.

    Raises `NoStockClassError` where it is more than rounding: a kind of encoder has a head of its own.
    """
    evaluated = materials.evaluation["validation"]
    items = [(encoded, item) for encoded in evaluated.values() for item in range(min(CHECKED, len(encoded)))]
    joined = join(items, materials.shape.sequences_per_item)
    batch = collate(materials.shape, joined, range(len(items)), materials.pad_id)
    batch = whole(batch, materials.kept)
    expected = model.logits(model.embed(batch), batch)
    found = logits(library, batch, materials, model.head)
    if expected.shape[:2] == batch.input_ids.shape:
        expected, found = expected[batch.attention_mask.bool()], found[batch.attention_mask.bool()]
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise NoStockClassError(model.encoder.model.config.model_type)
    return difference, len(items)
