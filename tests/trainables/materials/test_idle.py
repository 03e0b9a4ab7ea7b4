"""Trials that would do nothing of what they are to do are refused: by an encoder's files, and by its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.trainables import shaped
from tests.trainables.model import tiny_families
from tests.trainables.model.tiny_families import CONFIGS
from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import idle
from trainables.model.pretrained import load_encoder
from trainables.perturbation import create

SILENT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {name: (name, {}) for name in CONFIGS} | {
    "silent bert": ("bert", SILENT),
    "silent states": ("bert", {"hidden_dropout_prob": 0.0}),
    "silent electra": ("electra", SILENT),  # whose heads in the library drop out
    "loud eurobert": ("eurobert", {"attention_dropout": 0.1}),
    "loud words": ("modernbert", {"embedding_dropout": 0.1}),
}
SECOND = [
    {"perturbation.method": "rdrop"},
    {"perturbation.method": "adversarial+rdrop+sam"},
    {"perturbation.method": "mvr", "perturbation.view.masks": "two"},
    {"perturbation.method": "xtune+sam", "perturbation.view": {"kind": "noise", "masks": "two"}},
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {case: tiny_families.write(root / case, name, **more) for case, (name, more) in CASES.items()}


@pytest.mark.parametrize("case", CASES)
def test_an_encoders_files_tell_what_its_model_drops_out(folders: dict[str, Path], case: str) -> None:
    config = EncoderConfig(name_or_path=str(folders[case]))
    model = tiny_families.model(load_encoder(config, False))
    assert idle.drops_out(config) is model.drops_out
    assert idle.drops_out(EncoderConfig(name_or_path="no/where")) is True
    model.encoder.set_dropout(0.1)
    assert model.drops_out


@pytest.mark.parametrize("point", SECOND)
def test_a_second_mask_of_an_encoder_without_dropout_is_refused(
    folders: dict[str, Path], point: dict[str, Any]
) -> None:
    silent, loud = (
        apply_point(TrialConfig(), {**point, "encoder.name_or_path": str(folders[case]), "encoder.pooling": "first"})
        for case in ("modernbert", "bert")
    )
    line = "encoder.dropout: two dropout masks need more than 0, and .*modernbert has none of its own .got null."
    with pytest.raises(UserError, match=line):
        idle.check(silent)
    model = tiny_families.model(load_encoder(silent.encoder, False))
    with pytest.raises(UserError, match=line):
        idle.check_model(silent, create(silent.perturbation), model)
    one = {"perturbation.method": "mvr", "perturbation.view.masks": "one"}
    lora = {"encoder.adapter.method": "lora", "encoder.adapter.dropout": 0.1}
    for trial in (loud, *(apply_point(silent, more) for more in (one, lora, {"encoder.dropout": 0.1}))):
        idle.check(trial)


FROZEN = {"encoder.freeze_embeddings": True, "encoder.freeze_lower_layers": 1}


def test_nothing_to_mix_and_nothing_to_train_is_refused(tmp_path: Path) -> None:
    mixout = apply_point(shaped.BASE, {"perturbation.method": "mixout", **FROZEN})
    needs = "mixout has no trained weights of the encoder to work on"
    rule = "encoder.freeze_lower_layers: with frozen embeddings must leave a layer to be trained, or "
    with pytest.raises(UserError, match=f"{rule}{needs} .got 1."):
        shaped.begun(mixout, "classification", tmp_path)
    with pytest.raises(UserError, match=f"{rule}{needs} .got 12."):
        idle.check(apply_point(mixout, {"encoder.freeze_lower_layers": 12}))
    idle.check(mixout)
    idle.check(apply_point(mixout, {"encoder.freeze_lower_layers": 12, "perturbation.method": "sam"}))
    clean = apply_point(shaped.BASE, FROZEN)
    needs = "task 'tatoeba', whose head has no weights, leaves nothing to train"
    with pytest.raises(UserError, match=rule):
        shaped.begun(clean, "retrieval", tmp_path)
    with pytest.raises(UserError, match=f"{rule}{needs} .got 12."):
        idle.check(apply_point(clean, {"encoder.freeze_lower_layers": 12, "task.name": "tatoeba"}))
    idle.check(apply_point(clean, {"encoder.freeze_lower_layers": 11, "task.name": "tatoeba"}))
