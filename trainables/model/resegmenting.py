"""A tokenizer whose words are segmented by draws.

All else stays its own: normalising, cutting into words, special tokens, truncation, offsets. The library lets whoever
cuts a text into words tokenise them too: its model then sees none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Lock
from typing import Any

from tokenizers import PreTokenizedString, Token, Tokenizer, pre_tokenizers

from trainables.model.segments import Piece, Sampler, sampler


class Resegmenting:
    """A fast tokenizer, which is taken over, with the words of its texts drawn by `seeded`.

    It can be called wherever a tokenizer is. Threads take turns.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Raises `UserError` for a tokenizer whose model knows only one segmentation."""
        backend = tokenizer.backend_tokenizer
        self.tokenizer = tokenizer
        self._model = json.loads(Tokenizer(backend.model).to_str())["model"]
        self._names = {row: piece for piece, row in backend.get_vocab(with_added_tokens=False).items()}
        self._words = _Words(backend.model.tokenize)
        self._lock = Lock()
        drawn = pre_tokenizers.PreTokenizer.custom(self._words)
        own = [] if backend.pre_tokenizer is None else [backend.pre_tokenizer]
        backend.pre_tokenizer = pre_tokenizers.Sequence([*own, drawn])
        self.sampler(0.0, 0.0)

    def sampler(self, alpha: float, dropout: float) -> Sampler:
        """What draws segmentations by this tokenizer's model."""
        return sampler(self._model, alpha, dropout)

    def words(self, read: Callable[[Any], object]) -> set[str]:
        """The words of all texts that `read` gives to the tokenizer it is given, which makes one token of each."""
        found: set[str] = set()

        def note(word: str) -> list[Token]:
            found.add(word)
            return [Token(0, "", (0, len(word.encode())))]  # nobody asks which, and the model takes its time

        with self._lock, self._words.instead(note):
            read(self.tokenizer)
        return found

    def seeded(self, draws: Sampler, probability: float, seed: int) -> Drawn:
        """The tokenizer with each word, with chance `probability`, segmented by a draw of its own."""
        return Drawn(self, draws, probability, seed)

    def call(self, draws: Sampler, probability: float, random: Random, *texts: Any, **options: Any) -> Any:
        """As the tokenizer, with words drawn in the order in which they stand."""

        def pieces(word: str) -> list[Token] | None:
            return self._tokens(draws.draw(word, random)) if random.random() < probability else None

        with self._lock, self._words.instead(pieces):
            return self.tokenizer(*texts, **options)

    def _tokens(self, pieces: Iterable[Piece]) -> list[Token]:
        return [Token(row, self._names[row], (begin, end)) for row, begin, end in pieces]


class Drawn:
    """A tokenizer of one seed: each call draws the same, word by word from the first."""

    def __init__(self, whole: Resegmenting, draws: Sampler, probability: float, seed: int) -> None:
        self.tokenizer = whole.tokenizer
        self._whole, self._draws, self._probability, self._seed = whole, draws, probability, seed

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """As the tokenizer; several texts one after another, which the library would have in any order."""
        random = Random(self._seed)
        if isinstance(texts[0], str) or len(texts[0]) == 1:
            return self._whole.call(self._draws, self._probability, random, *texts, **options)
        rows = [[[each] for each in row] for row in zip(*texts, strict=True)]
        found = [self._whole.call(self._draws, self._probability, random, *row, **options) for row in rows]
        return {name: [each[name][0] for each in found] for name in found[0]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def undrawn(tokenizer: Any) -> Any:
    """The tokenizer itself, where there is one whose words are drawn: for what is asked of it, and not of a text."""
    return tokenizer.tokenizer if isinstance(tokenizer, Drawn) else tokenizer


class _Words:
    """Tokenises words once the tokenizer's own rules have cut them."""

    def __init__(self, own: Callable[[str], list[Token]]) -> None:
        self._own = own
        self._tokens: Callable[[str], list[Token] | None] | None = None

    @contextmanager
    def instead(self, tokens: Callable[[str], list[Token] | None]) -> Iterator[None]:
        """Within, `tokens` is asked first, the tokenizer's own model where it answers None."""
        self._tokens = tokens
        try:
            yield
        finally:
            self._tokens = None

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        """As `tokenizers` asks for it."""
        text.tokenize(self._of)

    def _of(self, word: str) -> list[Token]:
        found = None if self._tokens is None else self._tokens(word)
        return self._own(word) if found is None else found
