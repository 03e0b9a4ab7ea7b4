"""The YAML head of a model card, which the Hugging Face hub reads; its model-index lists every score."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from study.models.scored import SPLITS, Model
from trainables.config import OFFLINE
from trainables.materials.weights import is_hub_id
from trainables.model import catalogue
from trainables.scores import Split

if TYPE_CHECKING:  # its module loads torch, and cards are made without it
    from trainables.training.export import Exported

EMBEDDED = ("intfloat/multilingual-e5-small", "mit")
"""Hub id and licence of the embedded encoder."""

UNKNOWN_LICENCE = "unknown"
"""What the hub calls a licence that nobody here knows: that of a base model is in its own card."""


def metadata(model: Model, exported: Exported) -> dict[str, Any]:
    base, licence = base_model(model.config.encoder.name_or_path)
    hub = model.definition.hub
    metric, _ = model.scores("validation")
    found: dict[str, Any] = {"language": _hub_languages(model), "license": licence}
    if base is not None:
        found |= {"base_model": base, "base_model_relation": "finetune"}
    found |= {"library_name": "transformers", "pipeline_tag": exported.hub_task}
    if hub is not None:
        found["datasets"] = [hub.id]
    methods = (model.config.perturbation.method, model.config.augmentation.method)
    tags = ["cross-lingual", "zero-shot-transfer", *(method for method in methods if method != "none")]
    found |= {"metrics": [metric], "tags": tags}
    results = [each for split in SPLITS for each in _index(model, exported, split)]
    return {**found, "model-index": [{"name": f"{model.study.name}-trial-{model.trial.number}", "results": results}]}


def _hub_languages(model: Model) -> list[str]:
    """Codes of ISO 639, which the hub knows: without regions, scripts and the second language of a pair."""
    _, scores = model.scores("validation")
    codes = [model.config.task.source_language, *(score.language for score in scores)]
    parts = [re.split(r"[-_]", each)[0] for code in codes for each in code.split(".")]
    return list(dict.fromkeys(part for part in parts if re.fullmatch(r"[a-z]{2,3}", part)))


def _index(model: Model, exported: Exported, split: Split) -> Iterator[dict[str, Any]]:
    metric, scores = model.scores(split)
    definition = model.definition
    for score in scores:
        if math.isnan(score.value):
            continue
        yield {
            "task": {"type": exported.hub_task},
            "dataset": {
                "name": f"{definition.name}, {score.language}",
                "type": definition.hub.id if definition.hub is not None else definition.name,
                "config": score.language,
                "split": split,
            },
            "metrics": [{"type": metric, "value": round(score.value, 6), "name": f"{metric}, {score.language}"}],
        }


def base_model(name_or_path: str) -> tuple[str | None, str]:
    """Hub id of a trial's encoder, None for a local folder, and its licence as the hub names licences."""
    if name_or_path.startswith(OFFLINE):
        return EMBEDDED
    entry = catalogue.find(name_or_path)
    licence = UNKNOWN_LICENCE if entry is None or entry.licence is None else entry.licence
    return (name_or_path if is_hub_id(name_or_path) else None), licence
