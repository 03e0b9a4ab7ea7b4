"""Sentences as an encoder takes them: token ids, where each word begins, and padded batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.alignment.words import words_of
from trainables.batch import Batch

BLANK = "\u2581"
"""SentencePiece's blank: before words of Han, say, it is a token by itself, which says nothing of the word."""


@dataclass(frozen=True)
class Sentences:
    """Sentences of one language, tokenised word by word and cut to a length."""

    words: list[list[str]]
    ids: list[npt.NDArray[np.int64]]
    special: list[npt.NDArray[np.bool_]]
    firsts: list[npt.NDArray[np.int64]]
    """Of each sentence, the place of each word's first token that is not the `BLANK` before it alone; -1 for words that
    have none: they were cut off, or nothing is left of them."""
    pad_id: int
    number: int | None
    """The encoder's number of the language, where it is told it."""

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Any, max_length: int, number: int | None = None) -> Sentences:
        """Texts, tokenised with a fast tokenizer."""
        return cls.of_words([words_of(text) for text in texts], tokenizer, max_length, number)

    @classmethod
    def of_words(cls, words: list[list[str]], tokenizer: Any, max_length: int, number: int | None = None) -> Sentences:
        """The same of texts that are words already."""
        ids, special, firsts = [], [], []
        encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
        bare = tokenizer.convert_tokens_to_ids(BLANK)
        specials = np.asarray(sorted(set(tokenizer.all_special_ids)))
        for i in range(len(words)):
            ids.append(np.asarray(encoded["input_ids"][i], dtype=np.int64))
            of_word = encoded.word_ids(i)
            special.append(np.asarray([w is None for w in of_word]) & np.isin(ids[-1], specials))
            first: dict[int, int] = {}
            for place, word in enumerate(of_word):
                if word is not None and (word not in first or ids[-1][first[word]] == bare):
                    first[word] = place
            firsts.append(np.asarray([first.get(w, -1) for w in range(len(words[i]))], dtype=np.int64))
        return cls(words, ids, special, firsts, int(tokenizer.pad_token_id), number)

    def picked(self, order: Sequence[int]) -> Sentences:
        """Some of them, or all in another order."""
        return Sentences(
            [self.words[i] for i in order],
            [self.ids[i] for i in order],
            [self.special[i] for i in order],
            [self.firsts[i] for i in order],
            self.pad_id,
            self.number,
        )

    def batch(self, chosen: Sequence[int], device: torch.device) -> Batch:
        """Some of them, padded."""
        return joined([(self, i) for i in chosen], device)


def joined(chosen: Sequence[tuple[Sentences, int]], device: torch.device) -> Batch:
    """Sentences of whichever languages as one padded batch, without labels."""
    width = max(len(sentences.ids[i]) for sentences, i in chosen)
    ids = np.full((len(chosen), width), chosen[0][0].pad_id, dtype=np.int64)
    special = np.zeros(ids.shape, dtype=np.bool_)
    mask = np.zeros(ids.shape, dtype=np.int64)
    for row, (sentences, i) in enumerate(chosen):
        size = len(sentences.ids[i])
        ids[row, :size], special[row, :size], mask[row, :size] = sentences.ids[i], sentences.special[i], 1
    numbers = [sentences.number for sentences, _ in chosen]
    told = torch.tensor([n for n in numbers if n is not None]) if None not in numbers else None
    keys = torch.arange(len(chosen))
    tensors = [torch.from_numpy(each) for each in (ids, mask, special)]
    return Batch(tensors[0], tensors[1], tensors[2], torch.zeros(0), keys, told).to(device)
