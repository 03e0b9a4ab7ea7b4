"""What names materials in the cache: equal for trials that can share them, and for no others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from trainables.alignment import alignment_key
from trainables.augmentation import METHODS
from trainables.augmentation.character_noise import SOURCE
from trainables.augmentation.resources import all_synonyms, files_of
from trainables.config import TrialConfig
from trainables.loading import apply_point
from trainables.materials import noisy_files
from trainables.model.content import key_of, stamps
from trainables.perturbation import view_of
from trainables.scores import Split

FORMAT = 2
"""Version of the folders' layouts; part of the cache keys."""


def materials_key(config: TrialConfig, splits: Sequence[Split]) -> str:
    """Content key of what is shared: equal exactly for trials that can share it, whatever their augmentation."""
    from trainables.tasks.task import task_key

    parts: dict[str, Any] = {
        "format": FORMAT,
        "task": task_key(config.task),
        "languages": [config.task.source_language, config.task.target_languages, config.task.max_length],
        "encoder": key_of(config.encoder),
        "trim": config.encoder.trim_vocabulary,
        "augmentation": None,  # as before copies had a folder of their own, so that what was prepared then is found
        "splits": sorted(splits),
    }
    if config.alignment.objective != "none":
        parts["alignment"] = alignment_key(config)
    if config.syntax.kind != "none":  # rows come with their trees
        parts["syntax"] = True
    if config.evaluation.noise:  # else as before there was any
        parts["noise"] = [noise.model_dump(mode="json") for noise in config.evaluation.noise]
        parts["noise"] += noisy_files.keys(config)
    if (attack := config.evaluation.attack) is not None and attack.kind == "words":
        files = all_synonyms() if attack.resource is None else files_of(attack.resource)
        parts["substitutes"] = [attack.examples_per_language, attack.candidates, *stamps(files)]
    return _key(parts)


def copies_key(config: TrialConfig, splits: Sequence[Split]) -> str:
    """Content key of a configuration's own training data: a seed's augmented ones, or those that are segmented anew."""
    parts: dict[str, Any] = {"format": FORMAT, "materials": materials_key(config, splits)}
    if has_copies(config):
        augmentation = config.augmentation.model_dump(mode="json")
        if augmentation["alphabet"] == SOURCE:
            del augmentation["alphabet"]  # as before there was one
        elif config.task.facts:  # whose letters they are
            augmentation["facts"] = config.task.model_dump(mode="json")["facts"]
        own = [augmentation, config.training.seed]
        files = METHODS[config.augmentation.method].files(config.augmentation, config.task.source_language)
        parts["augmentation"] = own + stamps(file for file in files if file.exists())
    if view_of(config.perturbation) == "segments":  # else as before there were any
        parts["segments"] = True
    return _key(parts)


def has_copies(config: TrialConfig) -> bool:
    """Whether what is trained on are copies of the texts.

    At probability 0 they would be the texts themselves, so there are none, but where a method compares the two.
    """
    augmentation = config.augmentation
    return augmentation.method != "none" and (
        augmentation.probability > 0.0 or view_of(config.perturbation) == "copies"
    )


def has_own(config: TrialConfig) -> bool:
    """Whether training needs more than all trials share."""
    return has_copies(config) or view_of(config.perturbation) == "segments"


def untrained(config: TrialConfig) -> TrialConfig:
    """The same for weights that are scored as they are: without a perturbation, which is over.

    But where its views have words of their own: the vocabulary has them, and the weights with it.
    """
    if view_of(config.perturbation) is not None:
        return config
    return apply_point(config, {"perturbation.method": "none"})


def _key(parts: Mapping[str, Any]) -> str:
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=12).hexdigest()
