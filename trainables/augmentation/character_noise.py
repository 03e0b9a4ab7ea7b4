"""Character noise (Aepli and Sennrich 2022, arXiv 2109.06772): words with one letter inserted, deleted or replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainables.augmentation.base import Augmentation, Corpus, Supervision, register
from trainables.augmentation.noise import alphabet, edited, noised
from trainables.config import AugmentationConfig
from trainables.errors import UserError
from trainables.languages import group

SOURCE = "source"


@register
class CharacterNoise(Augmentation):
    """Each word changes in one letter with the configured probability.

    New letters are those of the training texts, or of unlabelled texts of the task's other languages in a group.
    """

    name = "character_noise"
    description = "copies in which words have one letter inserted, deleted or replaced"
    supervision = "none"

    def __init__(self, config: AugmentationConfig, corpus: Corpus) -> None:
        self._probability = config.probability
        letters = alphabet(corpus.texts if config.alphabet == SOURCE else _of_group(config.alphabet, corpus))
        if not letters:
            raise UserError(f"augmentation.alphabet: its texts have no letters (got {config.alphabet!r})")
        self._change = edited(letters)

    def copy(self, texts: Sequence[str], seed: int) -> list[str]:
        return noised(texts, self._probability, seed, self._change)

    @classmethod
    def supervision_of(cls, config: AugmentationConfig) -> Supervision:
        return "none" if config.alphabet == SOURCE else "monolingual"


def _of_group(name: str, corpus: Corpus) -> Iterable[str]:
    others = corpus.others()
    members = group(name, others, own=corpus.own, source=corpus.language)
    if not members:
        there = ", ".join(others) or "none"
        raise UserError(
            f"augmentation.alphabet: no target language with validation texts is in this group, there are {there} "
            f"(got {name!r})"
        )
    return (text for code in members for text in others[code])
