"""The one interface of augmentations: the texts of a row's column -> the same in other words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

from trainables.augmentation.resources import files_of
from trainables.augmentation.words import replace_words, words_of
from trainables.config import AugmentationConfig
from trainables.errors import UserError
from trainables.languages import NO_OWN, Own

Supervision = Literal["none", "monolingual", "bilingual", "parallel"]

TextsByLanguage = Mapping[str, Iterable[str]]


@dataclass(frozen=True)
class Corpus:
    """What an augmentation may look at before it changes anything."""

    language: str
    """Of the texts."""
    texts: Sequence[str]
    """All that are to be changed."""
    others: Callable[[], TextsByLanguage] = dict
    """Reads unlabelled texts of the task's other languages."""
    own: Own = field(default_factory=lambda: NO_OWN)
    """What the task says of its languages."""

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the texts, lower-case."""
        return frozenset(word for text in self.texts for word in words_of(text))


class Augmentation(ABC):
    """How texts change. One class, registered by `register`; immutable once built."""

    name: ClassVar[str]
    description: ClassVar[str]
    supervision: ClassVar[Supervision]
    dose: ClassVar[str] = "augmentation.probability"
    """The path of the setting that says how much of it there is, on which its doses are compared."""

    @abstractmethod
    def __init__(self, config: AugmentationConfig, corpus: Corpus) -> None:
        """Get ready for the texts of a corpus. Raises `UserError` for what cannot be used or is not there."""

    @abstractmethod
    def copy(self, texts: Sequence[str], seed: int) -> list[str]:
        """The texts of one column of a row in other words, a function of them and the seed."""

    @classmethod
    def check_resource(cls, config: AugmentationConfig, language: str) -> None:
        """Raise `UserError` where words that it needs for a language are not here."""
        del config, language  # it needs none unless it says so

    @classmethod
    def files(cls, config: AugmentationConfig, language: str) -> list[Path]:
        """Those that its words for a language would be read from, as far as they are here."""
        del language  # unless what is installed is looked for
        return files_of(config.resource)

    @classmethod
    def supervision_of(cls, config: AugmentationConfig) -> Supervision:
        """What it needs beyond source labels when it is configured so."""
        return cls.supervision


class WordReplacement(Augmentation):
    """Each word that a resource knows is replaced by a draw of its own, with the configured probability."""

    def __init__(self, config: AugmentationConfig, corpus: Corpus) -> None:
        self._probability = config.probability
        self.read(config.resource, corpus.language, corpus.words)
        if not any(map(self.knows, corpus.words)):
            raise UserError(
                f"augmentation.resource: knows none of the {len(corpus.words):,} words of the training texts"
            )

    @abstractmethod
    def read(self, resource: Path | None, language: str, words: Collection[str]) -> None:
        """Read what is known of `words` (lower-case, of `language`). Raises `UserError` where there is no resource."""

    @abstractmethod
    def knows(self, word: str) -> bool:
        """Whether a word may be replaced at all."""

    @abstractmethod
    def replacement(self, word: str, random: Random) -> str:
        """One draw for a word that is known; it may be the word itself."""

    def copy(self, texts: Sequence[str], seed: int) -> list[str]:
        random = Random(seed)

        def choose(word: str) -> str:
            considered = random.random() < self._probability
            return self.replacement(word, random) if considered and self.knows(word) else word

        return [replace_words(text, choose) for text in texts]


METHODS: dict[str, type[Augmentation]] = {}
"""Registered augmentations by name."""


def register(method: type[Augmentation]) -> type[Augmentation]:
    """Class decorator: make an augmentation available under its name."""
    assert method.name not in METHODS, f"augmentation {method.name!r} is registered already"
    METHODS[method.name] = method
    return method
