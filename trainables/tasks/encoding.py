"""Tokenising in bounded memory: chunks of texts into flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from trainables.errors import UserError

T = TypeVar("T")
CHUNK = 1000
"""Texts tokenised at a time."""


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def check_separates(tokenizer: Any) -> None:
    """Raise `UserError` for a tokenizer that puts nothing between the texts of a pair."""
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add(pair=False):
        raise UserError(
            "encoder.name_or_path: tasks of pairs need a tokenizer that separates two texts (got "
            f"{tokenizer.name_or_path or 'one'}, which adds no separator)"
        )


def encode_sequences(texts: Iterable[tuple[str, ...]], tokenizer: Any, max_length: int) -> dict[str, Any]:
    """Texts, or pairs of texts, as the arrays `ids`, `special` and `offsets` of an `Encoded`.

    What is longer than `max_length` tokens is cut, in pairs from the longer text first.
    """
    ids, special, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)], [np.zeros(1, np.int64)]
    for chunk in chunks(texts):
        columns = [list(column) for column in zip(*chunk, strict=True)]
        if len(columns) > 1:
            check_separates(tokenizer)
        encoded = tokenizer(
            *columns,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_special_tokens_mask=True,
        )
        ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]))
        special.append(np.concatenate([np.asarray(row, dtype=np.bool_) for row in encoded["special_tokens_mask"]]))
        lengths.append(np.asarray([len(row) for row in encoded["input_ids"]], dtype=np.int64))
    return {
        "ids": np.concatenate(ids),
        "special": np.concatenate(special),
        "offsets": np.cumsum(np.concatenate(lengths)),
    }
