"""Frozen states are what the layers would give again: same scores bit for bit, from half of the arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainables.config import AdapterConfig, EvaluationConfig, TrialConfig
from trainables.distributed import Group
from trainables.materials.materials import Materials, load
from trainables.model import frozen
from trainables.model import pretrained as encoders
from trainables.model.encoder import Model
from trainables.scoring.evaluation import evaluate
from trainables.training.trial import build_model

CONFIG = TrialConfig.model_validate(
    {
        "task": {"name": "intents", "source_language": "en", "target_languages": ["de", "fi", "th"]},
        "encoder": {"freeze_embeddings": True, "freeze_lower_layers": 6},
    }
)
EVALUATION = EvaluationConfig(token_budget=64)


@pytest.fixture
def materials() -> Iterator[Materials]:
    """Shared ones, but without what other tests left in them."""
    loaded = load(CONFIG)
    yield copy.copy(loaded)
    loaded._memory.clear()


def logits_of(
    model: Model, materials: Materials, examples: int = 6, evaluation: EvaluationConfig = EVALUATION
) -> list[torch.Tensor]:
    """All logits of one evaluation, as the task's shape gets them."""
    seen: list[torch.Tensor] = []
    head = model.head.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    evaluate(model, materials, "validation", examples, evaluation, Group())
    head.remove()
    return seen


def built(materials: Materials, **encoder: Any) -> Model:
    config = CONFIG.model_copy(update={"encoder": CONFIG.encoder.model_copy(update=encoder)})
    pristine = materials.remember(
        "encoder", lambda: encoders.load_encoder(config.encoder, materials.uses_segments, materials.encoder_folder)
    )
    return build_model(config, materials, pristine)


def moved(model: Model) -> Model:
    """As training leaves it: every weight that is trained is another one."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.01)
    return model


def runs(model: Model, layer: int) -> list[int]:
    """Counts how often a layer runs, in a list of one number."""
    counter = [0]

    def count(*_: object) -> None:
        counter[0] += 1

    model.encoder.model.encoder.layer[layer].register_forward_hook(count)
    return counter


def test_a_trial_after_another_scores_bit_for_bit_as_it_would_alone(materials: Materials) -> None:
    logits_of(built(materials), materials)
    later = moved(built(materials))
    lowest, first_trained = runs(later, 0), runs(later, 6)
    kept = logits_of(later, materials)
    assert lowest == [0]
    assert first_trained[0] == len(kept)
    materials._memory.clear()
    alone = logits_of(moved(built(materials)), materials)
    assert len(kept) == len(alone) > 3
    assert all(torch.equal(a, b) for a, b in zip(kept, alone, strict=True))


def test_an_adapter_above_them_finds_the_states_of_another_trial(materials: Materials) -> None:
    """None is put into frozen layers, and all else of the encoder is frozen with them."""
    logits_of(built(materials), materials)
    adapter = AdapterConfig(method="lora")
    later = moved(built(materials, freeze_embeddings=False, adapter=adapter))
    lowest = runs(later, 0)
    kept = logits_of(later, materials)
    assert lowest == [0]
    materials._memory.clear()
    alone = logits_of(moved(built(materials, freeze_embeddings=False, adapter=adapter)), materials)
    assert all(torch.equal(a, b) for a, b in zip(kept, alone, strict=True))


def test_the_encoder_has_all_its_layers_afterwards(materials: Materials) -> None:
    model = built(materials)
    names = [name for name, _ in model.named_parameters()]
    for _ in range(2):
        logits_of(model, materials)
    assert [name for name, _ in model.named_parameters()] == names


def test_trials_that_compute_otherwise_share_no_states(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, half precision and compiled layers, which round otherwise."""
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
    before = torch.get_float32_matmul_precision()
    model, compiled = built(materials), built(materials)
    compiled.encoder.compile_layers()
    lowest = [runs(each, 0) for each in (model, compiled)]

    def ran(each: Model) -> bool:
        counts = [count[0] for count in lowest]
        logits_of(each, materials)
        return [count[0] for count in lowest] != counts

    try:
        assert ran(model) and not ran(model)
        assert ran(compiled) and not ran(compiled)
        torch.set_float32_matmul_precision("high")
        assert ran(model)
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ran(model)
    assert not ran(model)


@pytest.mark.parametrize("other", [{"freeze_embeddings": False}, {"freeze_lower_layers": 0}])
def test_nothing_is_kept_where_something_below_is_trained(materials: Materials, other: dict[str, Any]) -> None:
    model = built(materials, **other)
    lowest = runs(model, 0)
    first, again = logits_of(model, materials), logits_of(moved(model), materials)
    assert lowest[0] == len(first) + len(again)
    assert not any(isinstance(value, frozen.Frozen) for value in materials._memory.values())


def test_an_encoder_of_another_kind_is_always_run_whole(materials: Materials) -> None:
    model = built(materials)
    model.encoder.family = replace(model.encoder.family, plain=False)
    model.encoder.freeze(embeddings=True, lower_layers=6)
    lowest = runs(model, 0)
    first, again = logits_of(model, materials), logits_of(model, materials)
    assert lowest[0] == len(first) + len(again)


def test_trials_that_freeze_more_layers_have_states_of_their_own(materials: Materials) -> None:
    logits_of(built(materials), materials)
    kept = logits_of(built(materials, freeze_lower_layers=9), materials)
    materials._memory.clear()
    alone = logits_of(built(materials, freeze_lower_layers=9), materials)
    assert all(torch.equal(a, b) for a, b in zip(kept, alone, strict=True))


@pytest.mark.parametrize(("examples", "token_budget"), [(4, 64), (6, 80)])
def test_another_evaluation_has_states_of_its_own(materials: Materials, examples: int, token_budget: int) -> None:
    other = EvaluationConfig(token_budget=token_budget)
    logits_of(built(materials), materials)
    kept = logits_of(built(materials), materials, examples, other)
    materials._memory.clear()
    alone = logits_of(built(materials), materials, examples, other)
    assert len(kept) == len(alone) > 1
    assert all(torch.equal(a, b) for a, b in zip(kept, alone, strict=True))


def test_what_exceeds_the_limit_is_computed_again(materials: Materials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "LIMIT_BYTES", 200_000)
    first = logits_of(built(materials), materials)
    model = built(materials)
    lowest = runs(model, 0)
    again = logits_of(model, materials)
    assert 0 < lowest[0] < len(again)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_one_limit_holds_for_all_evaluations_and_the_one_used_last_is_kept(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits_of(built(materials), materials)
    kept: frozen.Frozen = materials._memory["frozen"]
    alone = kept.bytes
    monkeypatch.setattr(frozen, "LIMIT_BYTES", alone * 5 // 4)
    for layers in (7, 8, 9):
        model = built(materials, freeze_lower_layers=layers)
        first = logits_of(model, materials)
        assert alone / 2 < kept.bytes <= frozen.LIMIT_BYTES
        lowest = runs(model, 0)
        again = logits_of(model, materials)
        assert lowest == [0]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
