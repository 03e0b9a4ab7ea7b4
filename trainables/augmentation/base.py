"""The one interface of augmentations: training rows -> rows, word by word."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import ClassVar, Literal

Supervision = Literal["none", "monolingual", "bilingual", "parallel"]


class Augmentation(ABC):
    """How a word is replaced. One class, registered by `register`; immutable once built."""

    name: ClassVar[str]
    description: ClassVar[str]
    supervision: ClassVar[Supervision]

    @abstractmethod
    def __init__(self, resource: Path | None, language: str, words: Collection[str]) -> None:
        """Read what is known of `words` (lower-case, of `language`). Raises `UserError` where there is no resource."""

    @abstractmethod
    def knows(self, word: str) -> bool:
        """Whether a word may be replaced at all."""

    @abstractmethod
    def replacement(self, word: str, random: Random) -> str:
        """One draw for a word that is known; it may be the word itself."""


METHODS: dict[str, type[Augmentation]] = {}
"""Registered augmentations by name."""


def register(method: type[Augmentation]) -> type[Augmentation]:
    """Class decorator: make an augmentation available under its name."""
    assert method.name not in METHODS, f"augmentation {method.name!r} is registered already"
    METHODS[method.name] = method
    return method
