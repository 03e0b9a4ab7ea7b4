"""What a word attack may put in the place of words: looked up in word resources and tokenised once.

A replacement is kept as what it does to an item's tokens, so that an attack needs neither texts nor a tokenizer. That
is exact for one replacement; for several of an item it is what tokenising the changed text gives where words are
tokenised one by one, as all supported tokenizers do between blanks.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainables.augmentation import changed, texts_of
from trainables.augmentation.resources import load_substitutes
from trainables.augmentation.words import replace_words, words_of
from trainables.batch import Encoded
from trainables.config import TrialConfig
from trainables.errors import UserError, shown
from trainables.materials.noised import chosen_rows
from trainables.seeds import derive
from trainables.tasks.base import Row, TaskShape

Splice = tuple[int, int, int, tuple[int, ...]]
"""Sequence of the item, first token and end of a span of it, and the tokens that stand in its place."""

Variant = tuple[Splice, ...]
"""One word of an item replaced, in all sequences that it is in."""

Substitutes = Mapping[int, Sequence[Sequence[Variant]]]
"""Item -> those of its words that have replacements, in their order, and the variants of each."""


class Encode(Protocol):
    """Tokenises rows of a language."""

    def __call__(self, rows: Sequence[Row], language: str) -> Encoded: ...


def find(
    config: TrialConfig, shape: TaskShape, split: str, rows: Mapping[str, Sequence[Row]], encode: Encode
) -> dict[str, Substitutes]:
    """Of each language that a resource knows, for the rows that are attacked; empty where no words are.

    Raises `UserError` where the resource knows words of no language.
    """
    attack = config.evaluation.attack
    if attack is None or attack.kind != "words":
        return {}
    found: dict[str, Substitutes] = {}
    unknown = []
    for language, own in rows.items():
        numbers = chosen_rows(np.arange(len(own)), attack.examples_per_language, language)
        chosen = {int(number): own[int(number)] for number in numbers}
        wanted = {word for text in texts_of([*chosen.values()], shape.text_columns) for word in words_of(text)}
        known = load_substitutes(attack.resource, language, wanted)
        if known:
            others = {word: _drawn(word, given, attack.candidates) for word, given in known.items()}
            own_encode = partial(encode, language=language)
            found[language] = {
                number: _of_row(shape, row, others, own_encode, config.task.max_length)
                for number, row in chosen.items()
            }
        else:
            unknown.append(language)
    if not found:
        raise UserError(
            f"evaluation.attack.resource: knows no word of the {split} rows of {', '.join(unknown)}; install synonyms, "
            f"such as apt-get install wordnet-base, or name a file of words by language (got {shown(attack.resource)})"
        )
    if unknown:
        words = "evaluation.attack: no words are known to replace those of %s, which are not attacked"
        logging.getLogger(__name__).warning(words, ", ".join(unknown))
    return found


def _drawn(word: str, others: Sequence[str], most: int) -> list[str]:
    """Some of a word's replacements, in order: the same in every text."""
    return sorted(Random(derive(0, "substitutes", word)).sample(sorted(others), min(most, len(others))))


def _of_row(
    shape: TaskShape,
    row: Row,
    others: Mapping[str, Sequence[str]],
    encode: Callable[[Sequence[Row]], Encoded],
    max_length: int,
) -> list[list[Variant]]:
    """Those words of a row, of which all together leave its sequences shorter than the limit at which they are cut."""
    words = [word for text in texts_of([row], shape.text_columns) for word in words_of(text)]
    named = [(place, other) for place, word in enumerate(words) for other in others.get(word, ())]
    encoded = encode([row, *(_with_word(row, shape, place, other) for place, other in named)])
    c = shape.sequences_per_item
    before, *after = ([encoded.sequence(i * c + k).tolist() for k in range(c)] for i in range(len(named) + 1))
    room = max_length - 1 - max(map(len, before))
    kept: list[list[Variant]] = []
    for _, group in itertools.groupby(zip(named, after, strict=True), key=lambda each: each[0][0]):
        variants = [_variant(before, sequences) for _, sequences in group]
        variants = list(dict.fromkeys(variant for variant in variants if variant))
        growth = max((_growth(variant) for variant in variants), default=0)
        if variants and growth <= room:
            room -= max(growth, 0)
            kept.append(variants)
    return kept


def _with_word(row: Row, shape: TaskShape, place: int, other: str) -> Row:
    """A row with one of its words, numbered over all of its texts, replaced."""
    numbers = itertools.count()

    def choose(word: str) -> str:
        return other if next(numbers) == place else word

    return changed(row, shape.text_columns, lambda _, texts: [replace_words(text, choose) for text in texts])


def _variant(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Variant:
    """What tells the sequences of a changed item from its own."""
    pairs = enumerate(zip(before, after, strict=True))
    return tuple(_splice(k, old, new) for k, (old, new) in pairs if old != new)


def _splice(sequence: int, old: Sequence[int], new: Sequence[int]) -> Splice:
    shorter = min(len(old), len(new))
    first = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    last = next((i for i in range(shorter - first) if old[-1 - i] != new[-1 - i]), shorter - first)
    return sequence, first, len(old) - last, tuple(new[first : len(new) - last])


def _growth(variant: Variant) -> int:
    return max(len(ids) - (end - first) for _, first, end, ids in variant)


def ids_of(found: Mapping[str, Substitutes]) -> npt.NDArray[np.int32]:
    """All tokens that replacements bring."""
    return np.asarray([i for _, _, _, ids in _splices(found) for i in ids], dtype=np.int32)


def _splices(found: Mapping[str, Substitutes]) -> Iterator[Splice]:
    chain = itertools.chain.from_iterable
    return chain(chain(chain(chain(items.values() for items in found.values()))))


def renumbered(
    found: Mapping[str, Substitutes], number: Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]]
) -> dict[str, Substitutes]:
    """The same in the numbers of a trimmed vocabulary."""

    def of(variant: Iterable[Splice]) -> Variant:
        return tuple((s, a, b, tuple(number(np.asarray(ids, dtype=np.int64)).tolist())) for s, a, b, ids in variant)

    return {
        language: {item: [[of(variant) for variant in word] for word in words] for item, words in items.items()}
        for language, items in found.items()
    }


def write(folder: Path, split: str, found: Mapping[str, Substitutes]) -> None:
    """Beside a split's other materials; no file where there are none."""
    if found:
        _file(folder, split).write_text(json.dumps(found), encoding="utf-8")


def read(folder: Path, split: str) -> dict[str, Substitutes]:
    """Inverse of `write`."""
    file = _file(folder, split)
    if not file.exists():
        return {}

    def of(variant: Any) -> Variant:
        return tuple((s, a, b, tuple(ids)) for s, a, b, ids in variant)

    return {
        language: {int(item): [[of(variant) for variant in word] for word in words] for item, words in items.items()}
        for language, items in json.loads(file.read_text(encoding="utf-8")).items()
    }


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.substitutes.json"
