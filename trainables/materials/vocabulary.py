"""How an encoder's tokenizer cuts the languages of a study, and how much of that is trained on: measured on its rows.

Made from what trials read (`materials`), once, when a study begins. Of the first rows of each language, of validation
where it has any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables import languages
from trainables.augmentation import texts_of
from trainables.batch import Encoded
from trainables.config import TrialConfig
from trainables.languages import Measured, Own
from trainables.materials.arrays import load_arrays, read_rows
from trainables.materials.building import KEPT
from trainables.materials.keys import materials_key
from trainables.materials.materials import prepare
from trainables.model.pretrained import load_tokenizer
from trainables.model.xlm_tokenizer import XlmTokenizer
from trainables.scores import Split
from trainables.storage import cache
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.task import task_shape

ROWS = 1000
"""Rows of each language, and of training, that are counted."""

LONGEST = 8192
"""Tokens of a text that are counted."""

WITHOUT_BLANKS = ("Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt")
"""Scripts whose texts have no blanks between words, so that there are no words to count (Unicode Standard Annex 14)."""

COUNTS = "counts.json"
"""File of them: by language, tokens, words and overlap."""


@dataclass(frozen=True)
class Cut:
    """Token ids (n,) of some texts, without special tokens, and how many words between blanks the texts have."""

    ids: npt.NDArray[np.int64]
    words: int

    @classmethod
    def of(cls, rows: Sequence[Row], shape: TaskShape, tokenizer: Any) -> Cut:
        """The texts of the first `ROWS` of some rows; one longer than `LONGEST` counts by what is left of it."""
        texts = [*texts_of(rows[:ROWS], shape.text_columns)]
        if not texts:
            return cls(np.zeros(0, np.int64), 0)
        encoded = encode_sequences(((text,) for text in texts), tokenizer, LONGEST)
        return cls(encoded["ids"][~encoded["special"]].astype(np.int64), sum(len(text.split()) for text in texts))

    def counts(self, trained: npt.NDArray[np.int64]) -> dict[str, float | None]:
        """Tokens, words, and which share of the tokens, counted as often as they occur, is among those trained on."""
        there = len(self.ids) and len(trained)
        overlap = float(np.isin(self.ids, trained).mean()) if there else None
        return {"tokens": len(self.ids), "words": self.words, "overlap": overlap}


def numbers(code: str, counts: Mapping[str, float | None], own: Own) -> dict[str, float | None]:
    """`conditions.MEASURED` of a language: fertility is tokens a word (Rust et al. 2021, arXiv 2012.15613), None where
    blanks do not part words."""
    parted = languages.language(code, own).script not in WITHOUT_BLANKS
    tokens, words = counts["tokens"], counts["words"]
    return {"fertility": tokens / words if tokens and words and parted else None, "overlap": counts["overlap"]}


def measured(config: TrialConfig, splits: Sequence[Split] = ("validation",)) -> Measured:
    """Fertility and overlap of every language that these splits score, by its code; the materials are made first.

    Raises `UserError` as `prepare` does.
    """
    shared = prepare(config, splits)
    folder = cache.build_once(
        f"vocabulary-{materials_key(config, splits)}",
        lambda folder: _build(config, shared, splits, folder),
        "fertility and overlap of languages",
    )
    found = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    return {code: numbers(code, counts, config.task.own) for code, counts in found.items()}


def _build(config: TrialConfig, shared: Path, splits: Sequence[Split], folder: Path) -> None:
    shape, source = task_shape(config.task), config.task.source_language
    (train,) = load_arrays(shared / "train").values()
    trained = trained_on(train)
    if (shared / KEPT).exists():  # by the numbers that the tokenizer has for them
        trained = np.load(shared / KEPT)[trained]
    files = {file.stem: file for split in reversed(splits) for file in sorted((shared / split).glob("*.jsonl"))}
    tokenizer = load_tokenizer(config.encoder, source)

    def cut(code: str) -> Cut:
        own = load_tokenizer(config.encoder, code) if isinstance(tokenizer, XlmTokenizer) else tokenizer
        return Cut.of(read_rows(files[code]), shape, own)

    counts = {code: cut(code).counts(trained) for code in sorted(files)}
    (folder / COUNTS).write_text(json.dumps(counts), encoding="utf-8")


def trained_on(train: Encoded) -> npt.NDArray[np.int64]:
    """Token ids (n,), special ones left out, of the first `ROWS` training rows, cut as they are trained on."""
    sequences = len(train.offsets) - 1
    first = np.repeat(train.rows < ROWS, sequences // len(train))
    counted = np.repeat(first, np.diff(train.offsets))
    return train.ids[counted & ~train.special].astype(np.int64)
