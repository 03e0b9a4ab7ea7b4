"""How an encoder's tokenizer cuts a language, measured on the rows of the study's own task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.tasks.encoding import encode_sequences

WITHOUT_BLANKS = ("Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt")
"""Scripts whose texts have no blanks between words, so that there are no words to count (Unicode Standard Annex 14)."""


@dataclass(frozen=True)
class Cut:
    """Token ids (n,) of some texts, without special tokens, and how many words between blanks the texts have."""

    ids: npt.NDArray[np.int32]
    words: int

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Any, longest: int) -> Cut:
        """Texts longer than `longest` tokens are cut, and count by what is left of them as if it were all."""
        if not texts:
            return cls(np.zeros(0, np.int32), 0)
        encoded = encode_sequences(((text,) for text in texts), tokenizer, longest)
        return cls(encoded["ids"][~encoded["special"]], sum(len(text.split()) for text in texts))

    def fertility(self, script: str | None) -> float | None:
        """Tokens a word (Rust et al. 2021, arXiv 2012.15613); None where blanks do not part words."""
        return len(self.ids) / self.words if self.words and script not in WITHOUT_BLANKS else None

    def overlap(self, trained: Cut) -> float | None:
        """Share of the tokens, counted as often as they occur, that occur in the texts that are trained on, too."""
        return float(np.isin(self.ids, trained.ids).mean()) if len(self.ids) and len(trained.ids) else None
