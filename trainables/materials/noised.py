"""Noised copies of evaluated rows: which there are, by name, and how their texts are made.

What a row becomes is a function of its own texts, of (kind, column) and of nothing else: neither of its place in the
file, nor of a seed of the trial. Equal texts stay equal, and all trials of a study are scored on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trainables.augmentation import changed, texts_of
from trainables.augmentation.keyboards import neighbours
from trainables.augmentation.noise import Change, alphabet, edited, noised, plain, thinned
from trainables.config import EvaluationConfig, NoiseConfig
from trainables.seeds import derive
from trainables.tasks.base import Row, TaskShape
from trainables.tasks.tagging import Tagging


def problems(config: EvaluationConfig, shape: TaskShape) -> list[str]:
    """Kinds of noise that would part a text from its label, one line each."""
    return [
        f"evaluation.noise[{i}].kind: {_rule(noise.kind, shape)} (got {noise.kind!r})"
        for i, noise in enumerate(config.noise)
        if _parts_from_label(noise.kind, shape)
    ]


def _parts_from_label(kind: str, shape: TaskShape) -> bool:
    if kind == "files":  # which have the labels too
        return shape.compares_items
    return not shape.has_single_answers and (kind == "word_drop" or not isinstance(shape, Tagging))


def _rule(kind: str, shape: TaskShape) -> str:
    if kind == "files":
        return "not for retrieval, where every text is searched for among all others"
    if isinstance(shape, Tagging):
        return "a word that is left out takes its tag along; only for classification and multiple choice"
    return "only for classification, multiple choice and tagging, whose labels stand whatever becomes of a letter"


def key_of(label: str, rate: float, language: str) -> str:
    """Name of one language's rows under noise: ``character_0.1/sw``."""
    return f"{label}_{rate:g}/{language}"


def language_of(key: str) -> str:
    """The language of such a name."""
    return key.partition("/")[2]


def chosen_rows(numbers: npt.NDArray[np.int64], examples: int | None, language: str) -> npt.NDArray[np.int64]:
    """A fixed random choice among the numbers of a language's rows, rising (None: all): nested, 20 are of the 40."""
    if examples is None or examples >= len(numbers):
        return numbers
    order = np.random.default_rng(derive(0, "evaluated rows", language)).permutation(numbers)
    return np.sort(order[:examples])


def noised_rows(
    config: EvaluationConfig, shape: TaskShape, rows: Mapping[str, Sequence[Row]]
) -> Iterator[tuple[str, npt.NDArray[np.int64], list[Row]]]:
    """(name, numbers of the rows, those rows under noise) of each language, kind and rate; rate 0 is their own text.

    Kind `files` apart, whose rows `noisy_files` reads.
    """
    columns = shape.text_columns
    for language, own in rows.items():
        made = [noise for noise in config.noise if noise.kind != "files"]
        letters = {column: alphabet(texts_of(own, (column,))) for column in columns if made}
        for noise in made:
            numbers = chosen_rows(np.arange(len(own)), noise.examples_per_language, language)
            chosen = [own[int(number)] for number in numbers]
            changes = _edits(noise, language, letters)
            for rate in noise.rates:
                name = key_of(noise.label, rate, language)
                yield name, numbers, [_noised(row, columns, noise, rate, changes) for row in chosen]


def without_layout(config: EvaluationConfig, languages: Iterable[str]) -> list[str]:
    """Languages whose letters are to be those around a key, and of which no layout is known."""
    asked = any(noise.letters == "keyboard" for noise in config.noise)
    return [language for language in languages if asked and not neighbours(language)]


def _edits(noise: NoiseConfig, language: str, letters: Mapping[str, Sequence[str]]) -> dict[str, Change]:
    """What character noise does in each column; in one without letters nothing."""
    beside = neighbours(language) if noise.letters == "keyboard" else None
    return {column: edited(own, beside) for column, own in letters.items() if own}


def _noised(row: Row, columns: Sequence[str], noise: NoiseConfig, rate: float, edits: Mapping[str, Change]) -> Row:
    def change(column: str, texts: Sequence[str]) -> Sequence[str]:
        seed = derive(0, "evaluation noise", noise.kind, column, *texts)
        if noise.kind == "word_drop":
            return thinned(texts, rate, seed)
        if noise.kind == "casing_accents":
            return noised(texts, rate, seed, plain)
        return noised(texts, rate, seed, edits[column]) if column in edits else texts

    return changed(row, columns, change)
