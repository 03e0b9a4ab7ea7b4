"""Which words the rows of a checkpoint's embedding table stand for, whatever version wrote it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.materials.arrays import places
from trainables.materials.materials import Materials
from trainables.model.encoder import Model
from trainables.model.pretrained import load_tokenizer
from trainables.storage.checkpoint import NUMBERING, Checkpoint


def rows_of(found: Checkpoint, config: TrialConfig, materials: Materials) -> npt.NDArray[np.int64] | None:
    """Vocabulary row of each row of the checkpoint's table; None where its vocabulary is whole.

    Today the words that a seed's copies add come last. Before, all that the seed's own data has, and no other, stood in
    the order of the vocabulary.
    """
    kept = materials.kept
    if kept is None or materials.copies_folder is None or found.numbering == NUMBERING:
        return kept
    own = [materials.train, *([materials.originals] if materials.originals is not None else [])]
    evaluated = [encoded for languages in materials.evaluation.values() for encoded in languages.values()]
    used = np.unique(np.concatenate([encoded.ids for encoded in (*own, *evaluated)]))
    tokenizer = load_tokenizer(config.encoder)
    always = [*tokenizer.all_special_ids, *range(tokenizer.pad_token_id + 1)]
    return np.union1d(kept[used], np.asarray(always, dtype=np.int64))


def renumbered(found: Checkpoint, config: TrialConfig, materials: Materials, model: Model) -> Checkpoint:
    """The checkpoint with its table as the trial's fresh `model` has it; words that it lacks are as they begin."""
    return moved(found, rows_of(found, config, materials), materials, model)


def moved(found: Checkpoint, rows: npt.NDArray[np.int64] | None, materials: Materials, model: Model) -> Checkpoint:
    """The checkpoint, whose table has `rows` of the vocabulary, with the rows that the fresh `model` has."""
    kept = materials.kept
    if rows is None or kept is None or np.array_equal(rows, kept):
        return found
    table = words_of(model)
    if len(found.weights.get(table, ())) != len(rows):
        return found
    place = torch.from_numpy(places(rows, kept))
    fresh = model.get_parameter(table).detach().cpu()

    def put(name: str, value: Tensor) -> Tensor:
        if name.partition("//")[0] != table or value.ndim == 0:
            return value
        return (fresh if name == table else torch.zeros_like(fresh)).to(value.dtype).index_copy(0, place, value)

    return replace(
        found,
        weights={name: put(name, value) for name, value in found.weights.items()},
        optimizer={name: put(name, value) for name, value in found.optimizer.items()},
        mean={name: put(name, value) for name, value in found.mean.items()},
    )


def words_of(model: Model) -> str:
    """Name of the parameter that has the word embeddings."""
    table = model.encoder.model.get_input_embeddings().weight
    return next(name for name, parameter in model.named_parameters() if parameter is table)
