"""Code switching (CoSDA-ML; Qin et al., arXiv 2006.06402): words replaced by translations into any language at hand."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from random import Random

from trainables.augmentation.base import WordReplacement, register
from trainables.augmentation.dictionaries import text_of
from trainables.augmentation.resources import files_of, installed_dictionaries, load_translations
from trainables.config import AugmentationConfig


@register
class CodeSwitching(WordReplacement):
    """Each word becomes a translation into a language drawn anew for it, uniformly among those that have one."""

    name = "code_switching"
    description = "copies in which words are replaced by translations, each into a language of its own (CoSDA-ML)"
    supervision = "bilingual"

    @classmethod
    def check_resource(cls, config: AugmentationConfig, language: str) -> None:
        load_translations(config.resource, language, ())

    @classmethod
    def files(cls, config: AugmentationConfig, language: str) -> list[Path]:
        if config.resource is not None:
            return files_of(config.resource)
        return [file for index in installed_dictionaries(language) for file in (index, text_of(index))]

    def read(self, resource: Path | None, language: str, words: Collection[str]) -> None:
        self._options: dict[str, list[tuple[str, ...]]] = {}
        for _, translations in sorted(load_translations(resource, language, words).items()):
            for word, others in translations.items():
                self._options.setdefault(word, []).append(others)

    def knows(self, word: str) -> bool:
        return word in self._options

    def replacement(self, word: str, random: Random) -> str:
        return random.choice(random.choice(self._options[word]))
