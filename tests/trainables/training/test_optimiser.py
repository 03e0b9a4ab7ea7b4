"""AdamW's groups and rate: what decays, how fast what learns, and when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from trainables.config import EncoderConfig, TrainingConfig
from trainables.model.encoder import Encoder, Model
from trainables.model.heads import PooledHead
from trainables.training.optimiser import build_optimizer, learning_rate_factor

SIZES: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 20,
    "max_position_embeddings": 16,
}


def model(kind: str = "bert") -> Model:
    """One layer and nothing below it is frozen."""
    torch.manual_seed(0)
    inner = (
        BertModel(BertConfig(**SIZES), add_pooling_layer=False)
        if kind == "bert"
        else XLMRobertaModel(XLMRobertaConfig(**SIZES), add_pooling_layer=False)
    )
    encoder = Encoder(inner, uses_segments=False)
    encoder.freeze(embeddings=False, lower_layers=1)
    return Model(encoder, PooledHead(8, 3, "mean", 0.0))


def vectors(of: nn.Module) -> set[str]:
    """Names of biases, and of everything in a normalisation layer."""
    normalised = {
        f"{name}.{own}" for name, m in of.named_modules() if isinstance(m, nn.LayerNorm) for own, _ in
        m.named_parameters()
    }  # fmt: skip
    return normalised | {name for name, _ in of.named_parameters() if name.endswith("bias")}


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_biases_and_norms_do_not_decay(kind: str) -> None:
    """Where no gradient pulls, a step of AdamW is its decay alone."""
    trained = model(kind)
    config = TrainingConfig(weight_decay=0.5, learning_rate=1e-2, head_learning_rate=1e-1)
    optimizer = build_optimizer(trained, config)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)  # biases start at zero, which decays to zero
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    for parameter in trained.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    spared = vectors(trained)
    assert {name.rpartition(".")[2] for name in spared} == {"weight", "bias"}
    kept = decayed = 0
    for name, parameter in trained.named_parameters():
        if name in spared or not parameter.requires_grad:
            assert torch.equal(parameter, before[name]), name
            kept += 1
        else:
            rate = 1e-1 if name.startswith("head") else 1e-2
            torch.testing.assert_close(parameter.detach(), before[name] * (1 - rate * 0.5), msg=name)
            decayed += 1
    assert kept > 20 and decayed > 8


def test_factors_do_not_decay_either_and_matrices_of_an_adapter_do() -> None:
    """IA3's rest at one, where they change nothing, though the library gives them the shape of a matrix."""
    for method, decays in (("ia3", False), ("lora", True)):
        of = model()
        of.encoder.adapt(EncoderConfig.model_validate({"adapter": {"method": method}}))
        optimizer = build_optimizer(of, TrainingConfig(weight_decay=0.5))
        decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
        own = [decay[id(p)] for p in of.encoder.parameters() if p.requires_grad]
        assert own and {each > 0.0 for each in own} == {decays}
        assert decay[id(of.head.linear.weight)] == 0.5  # type: ignore[union-attr]


def test_every_trained_weight_is_in_one_group_and_frozen_ones_in_none() -> None:
    of = model()
    optimizer = build_optimizer(of, TrainingConfig(learning_rate=2e-5, head_learning_rate=1e-3))
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in grouped} == {id(p) for p in of.parameters() if p.requires_grad}
    peak = {id(p): group["peak"] for group in optimizer.param_groups for p in group["params"]}
    assert {peak[id(p)] for p in of.head.parameters()} == {1e-3}
    assert {peak[id(p)] for p in of.encoder.parameters() if p.requires_grad} == {2e-5}
    same = build_optimizer(of, TrainingConfig(learning_rate=2e-5))
    assert {group["peak"] for group in same.param_groups} == {2e-5}


def test_the_rate_rises_then_falls_to_nothing_or_stays() -> None:
    linear = TrainingConfig(warmup_fraction=0.3)
    found = [learning_rate_factor(step, 10, linear) for step in range(10)]
    assert found == pytest.approx([1 / 4, 2 / 4, 3 / 4, *(k / 7 for k in range(7, 0, -1))])
    constant = TrainingConfig(warmup_fraction=0.3, schedule="constant")
    assert [learning_rate_factor(step, 10, constant) for step in range(10)] == pytest.approx(found[:3] + [1.0] * 7)
    none = TrainingConfig(warmup_fraction=0.0)
    assert [learning_rate_factor(step, 4, none) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
