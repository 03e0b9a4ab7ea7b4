"""A model of transformers on a trial's batches: what an exported one, or a teacher, says of them."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.materials.materials import Materials
from trainables.model.stock import EMBEDDINGS


def whole(batch: Batch, kept: Tensor | npt.NDArray[Any] | None) -> Batch:
    """The batch in the rows of a whole vocabulary; `kept` are those of the trimmed one, if it is trimmed."""
    if kept is None:
        return batch
    ids = torch.as_tensor(kept)[batch.input_ids]
    return Batch(
        ids, batch.attention_mask, batch.special, batch.labels, batch.sequence_keys, batch.languages, batch.paths
    )


def logits(library: Any, batch: Batch, materials: Materials, head: nn.Module | None = None) -> Tensor:
    """What a library's model says of a whole batch, in the shape of a trial's logits; `head` pools bare states."""
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if materials.uses_segments:
        inputs["token_type_ids"] = batch.layout.segments
    if materials.shape.auto_class == "AutoModelForMultipleChoice":
        inputs = {k: v.view(-1, materials.shape.sequences_per_item, v.shape[-1]) for k, v in inputs.items()}
    output = library(**inputs)
    if materials.shape.auto_class == "AutoModelForQuestionAnswering":
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    if materials.shape.auto_class == EMBEDDINGS:
        assert head is not None, "states have to be pooled"
        pooled: Tensor = head(output.last_hidden_state, batch.attention_mask)
        return pooled
    found: Tensor = output.logits
    return found
