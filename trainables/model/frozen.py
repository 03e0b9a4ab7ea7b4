"""What frozen embeddings and lower layers give to unperturbed text: it never changes, so a worker computes it once."""

from __future__ import annotations

from torch import Tensor

from trainables.batch import Batch
from trainables.model.encoder import Model

LIMIT_BYTES = 256 << 20
"""Most that is kept for one evaluation; the batches beyond it are computed whole each time."""


class FrozenStates:
    """States above the frozen layers, of the batches of one evaluation in their order; filled by its first run.

    For a model in evaluation mode: the same batch gives the same states bit for bit, whatever trial it is of.
    """

    def __init__(self) -> None:
        self._states: list[Tensor] = []
        self._room = LIMIT_BYTES

    def logits(self, model: Model, batch: Batch, number: int) -> Tensor:
        """As `Model.logits` of the unperturbed batch, which is the evaluation's `number`-th (from 0)."""
        if number < len(self._states):
            return model.upper_logits(self._states[number], batch)
        with model.encoder.above_frozen() as seen:
            logits = model.logits(model.embed(batch), batch)
        (states,) = seen
        size = states.numel() * states.element_size()
        if number == len(self._states) and size <= self._room:
            self._states.append(states)
            self._room -= size
        return logits
