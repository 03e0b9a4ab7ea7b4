"""Tokenising in bounded memory: chunks of texts into flat arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from trainables.errors import UserError
from trainables.machine import cpus
from trainables.model.by_word import ByWord, Encoding
from trainables.progress import Progress
from trainables.tasks.tokenising import in_processes

T = TypeVar("T")
CHUNK = 1000
"""Texts tokenised at a time."""

FEW = 200
"""Chunks that are tokenised here before other processes are asked. Each of these has to load the tokenizer and to learn
the words anew, two seconds that two of them earn back on some 130,000 texts."""

MOST = 8
"""Processes that tokenise, however many CPUs there are: each has the words that it learns in memory, and two seconds of
its own to earn back."""


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter. Says how many there were while they are tokenised for long."""
    iterator, progress = iter(items), Progress("tokenising", "texts")
    while chunk := list(islice(iterator, size)):
        yield chunk
        progress.add(len(chunk))


def check_separates(tokenizer: Any) -> None:
    """Raise `UserError` for a tokenizer that puts nothing between the texts of a pair."""
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add(pair=False):
        raise UserError(
            "encoder.name_or_path: tasks of pairs need a tokenizer that separates two texts (got "
            f"{tokenizer.name_or_path or 'one'}, which adds no separator)"
        )


def encode_sequences(texts: Iterable[tuple[str, ...]], tokenizer: Any, max_length: int) -> dict[str, Any]:
    """Texts, or pairs of texts, as the arrays `ids`, `special` and `offsets` of an `Encoded`.

    What is longer than `max_length` tokens is cut, in pairs from the longer text first. After the first chunk, texts
    are put together from the pieces of their words where the tokenizer allows it, which is some ten times faster. What
    is left after `FEW` chunks of such texts is shared out among as many processes as there are CPUs, at most `MOST`.
    """
    ids, special, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)], [np.zeros(1, np.int64)]
    for encoded in _encoded(chunks(texts), tokenizer, max_length):
        ids.append(np.frombuffer(b"".join([each[0] for each in encoded]), np.int32))
        special.append(np.frombuffer(b"".join([each[1] for each in encoded]), np.bool_))
        lengths.append(np.asarray([len(each[1]) for each in encoded], dtype=np.int64))
    return {
        "ids": np.concatenate(ids),
        "special": np.concatenate(special),
        "offsets": np.cumsum(np.concatenate(lengths)),
    }


def _encoded(parts: Iterator[list[tuple[str, ...]]], tokenizer: Any, max_length: int) -> Iterator[Sequence[Encoding]]:
    """What becomes of each chunk."""
    by_word: ByWord | None = None
    for number, chunk in enumerate(parts):
        if number == 0 and len(chunk[0]) > 1:
            check_separates(tokenizer)
        known = by_word.encode(chunk) if by_word else [None] * len(chunk)
        left = iter(_whole([row for row, found in zip(chunk, known, strict=True) if not found], tokenizer, max_length))
        encoded = [found or next(left) for found in known]
        if number == 0 and len(chunk) == CHUNK:
            by_word = _as_good(ByWord.of(tokenizer, len(chunk[0]) > 1, max_length), chunk, encoded)
        yield encoded
        if (
            by_word is not None
            and number + 1 == FEW
            and (count := min(cpus(), MOST)) > 1
            and by_word.whole(chunk) == encoded
        ):
            yield from in_processes(by_word, parts, count)
            return


def _whole(rows: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int) -> list[Encoding]:
    """By the tokenizer itself."""
    if not rows:
        return []
    encoded = tokenizer(
        *(list(column) for column in zip(*rows, strict=True)),
        truncation=True,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_special_tokens_mask=True,
    )
    both = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
    return [(array("i", ids).tobytes(), bytes(special)) for ids, special in both]


def _as_good(by_word: ByWord | None, chunk: Sequence[tuple[str, ...]], encoded: Sequence[Encoding]) -> ByWord | None:
    """What tokenises word by word, if that comes to the same for the first texts wherever it is ventured."""
    if by_word is None:
        return None
    pairs = zip(by_word.encode(chunk), encoded, strict=True)
    return by_word if all(found in (None, whole) for found, whole in pairs) else None
