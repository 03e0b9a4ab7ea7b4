"""Materials written by hand: token ids instead of texts, so that tests know every input and need no tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.batch import Encoded
from trainables.materials.materials import Materials
from trainables.tasks.base import Row, TaskShape

PAD = 1


@dataclass(frozen=True)
class Item:
    """An item's sequences of token ids, its labels, and the number of its row."""

    sequences: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    row: int = 0

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""
        return max(map(len, self.sequences))


def encode(items: Sequence[Item]) -> Encoded:
    """As a task shape would have tokenised them: the first and the last token of each sequence are special."""
    sequences = [sequence for item in items for sequence in item.sequences]
    special = [position in (0, len(each) - 1) for each in sequences for position in range(len(each))]
    return Encoded(
        ids=np.asarray([token for each in sequences for token in each], dtype=np.int32),
        special=np.asarray(special, dtype=np.bool_),
        offsets=np.cumsum([0, *map(len, sequences)], dtype=np.int64),
        labels=np.asarray([label for item in items for label in item.labels], dtype=np.int64),
        label_offsets=np.cumsum([0, *(len(item.labels) for item in items)], dtype=np.int64),
        rows=np.asarray([item.row for item in items], dtype=np.int64),
    )


def write(
    shape: TaskShape,
    evaluated: Mapping[str, Sequence[Item]],
    rows: Mapping[str, Sequence[Row]],
    train: Sequence[Item] = (),
    reference_norm: float = 1.0,
) -> Materials:
    """Materials with these items: language -> items of the validation split, and its rows."""
    source, *targets = evaluated
    return Materials(
        shape=shape,
        source_language=source,
        target_languages=tuple(targets),
        train=encode(train),
        evaluation={"validation": {language: encode(items) for language, items in evaluated.items()}},
        rows={"validation": rows},
        reference_norm=reference_norm,
        pad_id=PAD,
        uses_segments=False,
        encoder_folder=Path("nowhere"),
        fingerprint="written by hand",
    )
