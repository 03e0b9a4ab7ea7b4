"""Weight files looked at from outside: whether they can be had, and what of them a trial trains."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.trainables import tiny
from trainables.config import EncoderConfig, TrialConfig
from trainables.errors import UserError
from trainables.loading import apply_point
from trainables.materials import fitting, weights
from trainables.model import pretrained
from trainables.model.encoder import Model
from trainables.model.pretrained import load_encoder
from trainables.syntax import added

SHAPES = {
    "roberta.embeddings.word_embeddings.weight": (10, 4),
    "roberta.embeddings.LayerNorm.weight": (4,),
    "roberta.encoder.layer.0.output.dense.weight": (4, 4),
    "roberta.encoder.layer.10.output.dense.weight": (4, 5),
    "roberta.pooler.dense.weight": (100, 100),
    "lm_head.dense.weight": (100, 100),
}
"""As a checkpoint of the hub names them: with a prefix, and with heads that no trial has."""


@pytest.mark.parametrize(
    ("embeddings", "layers", "expected"),
    [(False, 0, 44 + 16 + 20), (True, 0, 16 + 20), (False, 1, 44 + 20), (True, 10, 20), (True, 11, 0)],
)
def test_what_is_frozen_is_not_trained(embeddings: bool, layers: int, expected: int) -> None:
    encoder = EncoderConfig(freeze_embeddings=embeddings, freeze_lower_layers=layers)
    assert weights.count(SHAPES, encoder) == expected


def test_weights_in_one_file_or_several(tmp_path: Path) -> None:
    tensors = {name: np.zeros(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    names = list(tensors)
    (tmp_path / "one").mkdir()
    save_file(tensors, tmp_path / "one" / "model.safetensors")
    (tmp_path / "two").mkdir()
    parts = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, tmp_path / "two" / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "two" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights.stored(tmp_path / "one") == weights.stored(tmp_path / "two") == SHAPES
    (tmp_path / "two" / "b.safetensors").write_bytes(b"no weights")
    assert weights.stored(tmp_path / "two") is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("offline:e5-small", None),
        ("offline:bert", "no such embedded encoder"),
        ("/nowhere/at-all", "no such folder"),
        ("a/b/c", "no such folder"),
        ("up/../down", "no such folder"),
        ("nobody/nothing", "not fetched yet, and HF_HUB_OFFLINE is set"),
    ],
)
def test_encoders_that_cannot_be_had(name: str, problem: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = EncoderConfig(name_or_path=name)
    if problem is None:
        weights.check(encoder)
    else:
        with pytest.raises(UserError) as caught:
            weights.check(encoder)
        assert caught.value.lines[0].endswith(f"(got {name!r}: {problem})")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no readable model.safetensors in it"):
        weights.check(EncoderConfig(name_or_path=str(tmp_path)))


def test_other_weights_are_named_and_left_alone(tmp_path: Path) -> None:
    """Nothing of a pickle is run, here or where an encoder is loaded."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "sprung").touch, ())

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    encoder = EncoderConfig(name_or_path=str(tmp_path))
    for refused in (lambda: weights.check(encoder), lambda: load_encoder(encoder, uses_segments=False)):
        with pytest.raises(UserError, match=r"^encoder.name_or_path: must be .*safetensors") as caught:
            refused()
        assert len(caught.value.lines) == 1
    with pytest.raises(
        UserError, match=r"no readable model.safetensors in it, and pytorch_model.bin is never unpickled"
    ):
        weights.check(encoder)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["FacebookAI/xlm-mlm-100-1280", "xlm-mlm-17-1280"])
def test_the_revision_that_has_safetensors_weights_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "unreachable", lambda: None)
    line = r"its safetensors weights are at encoder.revision: refs/pr/2, and no others are read\)$"
    for revision in (None, "main"):
        with pytest.raises(UserError, match=line):
            weights.check(EncoderConfig(name_or_path=name, revision=revision))
    weights.check(EncoderConfig(name_or_path=name, revision="refs/pr/2"))
    weights.check(EncoderConfig(name_or_path="FacebookAI/xlm-mlm-xnli15-1024"))


@pytest.mark.parametrize(
    ("known", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "t5"}, None),
    ],
)
def test_texts_longer_than_an_encoder_has_positions_for_are_refused(
    known: dict[str, Any], longest: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(known))
    trial = TrialConfig.model_validate(
        {"encoder": {"name_or_path": str(tmp_path)}, "task": {"max_length": longest or 8192}}
    )
    assert weights.longest_input(trial.encoder) == longest
    weights.check_length(trial)
    if longest is not None:
        with pytest.raises(UserError, match=rf"has positions for {longest} tokens \(got {longest + 1}\)"):
            weights.check_length(apply_point(trial, {"task.max_length": longest + 1}))


def test_the_embedded_encoder_has_512_positions() -> None:
    assert weights.longest_input(TrialConfig().encoder) == 512


@pytest.mark.parametrize("kind", ["albert", "distilbert", "mt5"])
def test_what_syntax_costs_is_told_from_outside_as_it_is_charged(kind: str, tmp_path: Path) -> None:
    """Of layers that are all one, and of kinds that call their sizes otherwise."""
    config = apply_point(
        TrialConfig(), {"syntax.kind": "gate", "encoder.name_or_path": str(tiny.write(tmp_path, kind))}
    )
    encoder = load_encoder(config.encoder, uses_segments=False)
    model = Model(encoder, torch.nn.Identity(), added.create(config.syntax, encoder.sizes, 0.0))
    assert weights.cost(config, 3.0) == pytest.approx(model.cost(3.0)) != 3.0


@pytest.mark.parametrize("why", [None, "no address for the hub"])
def test_a_tokenizer_that_cannot_be_had_is_not_asked_for(why: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client would try again for half a minute, for each arm and member of a suite."""
    asked: list[bool] = []
    monkeypatch.setattr(pretrained, "cached_file", lambda *_, local_files_only, **__: asked.append(local_files_only))
    monkeypatch.setattr(fitting, "unreachable", lambda: why)
    fitting.check(apply_point(TrialConfig(), {"perturbation.method": "mvr", "encoder.name_or_path": "nobody/nothing"}))
    assert asked == [why is not None]
