"""Randomised smoothing by data augmentation (RS-DA; Huang et al., arXiv 2104.08645, section 3.3; SAFER, 2005.14424)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from random import Random

from trainables.augmentation.base import WordReplacement, register
from trainables.augmentation.resources import files_of, installed_synonyms, load_synonyms
from trainables.config import AugmentationConfig


@register
class SynonymSubstitution(WordReplacement):
    """Each word is drawn uniformly from itself and its synonyms."""

    name = "synonyms"
    description = "copies in which each word is drawn from itself and its synonyms (RS-DA)"
    supervision = "monolingual"

    @classmethod
    def check_resource(cls, config: AugmentationConfig, language: str) -> None:
        load_synonyms(config.resource, language, ())

    @classmethod
    def files(cls, config: AugmentationConfig, language: str) -> list[Path]:
        return files_of(config.resource or installed_synonyms(language))

    def read(self, resource: Path | None, language: str, words: Collection[str]) -> None:
        self._synonyms = load_synonyms(resource, language, words)

    def knows(self, word: str) -> bool:
        return word in self._synonyms

    def replacement(self, word: str, random: Random) -> str:
        return random.choice((word, *self._synonyms[word]))
