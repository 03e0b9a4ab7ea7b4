"""What frozen embeddings and lower layers give to unperturbed text: it never changes, so a worker computes it once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor

from trainables.batch import Batch
from trainables.model.encoder import Model

LIMIT_BYTES = 256 << 20
"""Most that a worker keeps, of all evaluations and all numbers of frozen layers together; batches beyond it are
computed whole each time."""


class Frozen:
    """What a worker keeps of each evaluation, by what it depends on."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, FrozenStates] = OrderedDict()

    def of(self, key: Any) -> FrozenStates:
        """The states of one evaluation, which is now the one used last."""
        if key not in self._kept:
            self._kept[key] = FrozenStates(self)
        self._kept.move_to_end(key)
        return self._kept[key]

    def makes_room(self, size: int) -> bool:
        """Whether `size` bytes more may be kept for the evaluation used last: others, the oldest first, give way."""
        while len(self._kept) > 1 and self.bytes + size > LIMIT_BYTES:
            self._kept.popitem(last=False)
        return self.bytes + size <= LIMIT_BYTES

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return sum(states.bytes for states in self._kept.values())


class FrozenStates:
    """States above the frozen layers, of the batches of one evaluation in their order; filled by its first run.

    For a model in evaluation mode: the same batch gives the same states bit for bit, whatever trial it is of.
    """

    def __init__(self, kept: Frozen) -> None:
        self._kept = kept
        self._states: list[Tensor] = []
        self.bytes = 0

    def logits(self, model: Model, batch: Batch, number: int) -> Tensor:
        """As `Model.logits` of the unperturbed batch, which is the evaluation's `number`-th (from 0)."""
        if number < len(self._states):
            return model.upper_logits(self._states[number], batch)
        with model.encoder.above_frozen() as seen:
            logits = model.logits(model.embed(batch), batch)
        (states,) = seen
        size = states.numel() * states.element_size()
        if number == len(self._states) and self._kept.makes_room(size):
            self._states.append(states)
            self.bytes += size
        return logits
