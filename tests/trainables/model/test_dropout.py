"""Masks: one for all passes over a batch, of the right probability; attention: the library's arithmetic with them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from trainables.layout import Layout
from trainables.model import dropout
from trainables.model.attention import attention
from trainables.model.encoder import Encoder, Model

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.3,
    "attention_probs_dropout_prob": 0.3,
}


def model(kind: str) -> Model:
    torch.manual_seed(0)
    inner = (
        BertModel(BertConfig(**SHAPE), add_pooling_layer=False)
        if kind == "bert"
        else XLMRobertaModel(XLMRobertaConfig(**SHAPE, type_vocab_size=1), add_pooling_layer=False)
    )
    return Model(Encoder(inner, uses_segments=False), nn.Sequential(nn.Dropout(0.3), nn.Linear(16, 3))).train()


def states(of: Model, ids: torch.Tensor) -> torch.Tensor:
    attention = (ids != 1).long()
    return of.head(
        of.encoder.states(of.encoder.embed(ids), Layout.of(attention, torch.zeros_like(ids, dtype=torch.bool)))
    )


IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 1, 1]])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_factors_have_the_probability_and_keep_the_mean(p: float) -> None:
    factors = dropout.draw(3, torch.empty(1_000_003), p)
    assert (factors == 0).double().mean().item() == pytest.approx(p, abs=0.002)
    assert factors.double().mean().item() == pytest.approx(1, abs=0.01)
    assert factors.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)
    dropped = (factors == 0).double() - p
    for apart in (1, 2, 3, 4, 8):  # four come out of one random word
        assert (dropped[apart:] * dropped[:-apart]).mean().item() == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("p", [0.0, 1e-9])
def test_without_dropout_nothing_is_dropped(p: float) -> None:
    torch.testing.assert_close(dropout.draw(0, torch.empty(999), p), torch.ones(999), rtol=0, atol=2e-5)


def test_dropout_in_half_precision_keeps_the_mean() -> None:
    masks = dropout.Masks()
    masks.begin(1)
    values = torch.linspace(1, 64, 100_000).bfloat16()
    dropped = masks.drop(0, values, 0.1)
    assert dropped.dtype == torch.bfloat16
    # Each product is rounded, up or down; a rounded factor would make all of them smaller, by 0.16 per cent.
    kept = dropped > 0
    found = (dropped[kept].double() / values[kept].double()).mean().item()
    assert found == pytest.approx(1 / 0.9, rel=4e-4)


def test_no_mask_is_kept_for_evaluation() -> None:
    trained = model("bert")
    states(trained, IDS)
    assert trained.masks._kept
    trained.eval()
    assert not trained.masks._kept


def test_a_mask_depends_on_batch_and_place_and_not_on_the_order_of_passes() -> None:
    like = torch.empty(64)
    masks, others = dropout.Masks(), dropout.Masks()
    masks.begin(1)
    others.begin(1)
    first, second = masks.factors(0, like, 0.5), masks.factors(1, like, 0.5)
    assert masks.factors(0, like, 0.5) is first, "drawn once"
    assert torch.equal(others.factors(1, like, 0.5), second) and torch.equal(others.factors(0, like, 0.5), first)
    assert not torch.equal(first, second)
    masks.begin(2)
    assert not torch.equal(masks.factors(0, like, 0.5), first)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_all_passes_over_a_batch_share_their_masks(kind: str) -> None:
    trained = model(kind)
    found = [m for m in trained.modules() if isinstance(m, nn.Dropout)]
    assert len(found) == 1 + 3 * 2 + 1 and all(isinstance(m, dropout.SharedDropout) for m in found)
    trained.masks.begin(5)
    first = states(trained, IDS)
    torch.rand(7)  # other draws change nothing
    assert torch.equal(states(trained, IDS), first)
    trained.masks.begin(6)
    assert not torch.allclose(states(trained, IDS), first)


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("ids", [IDS, IDS[:1]], ids=["padded", "without padding"])
def test_attention_is_the_library_s_but_for_its_masks(
    kind: str, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = model(kind)
    own = states(trained.eval(), ids)
    calls = []

    def ones(seed: int, like: torch.Tensor, p: float) -> torch.Tensor:
        calls.append(p)
        return torch.ones_like(like)

    monkeypatch.setattr(dropout, "draw", ones)
    torch.testing.assert_close(states(trained.train(), ids), own)
    assert calls == [0.3] * (1 + 3 * 2 + 1)


def test_dropped_attention_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 8).unbind(0)
    seen = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()[:, None, None]
    masks = dropout.Masks()
    module = nn.Module()
    module.dropout = dropout.SharedDropout(0.4, masks, 0)
    out, _ = attention(module, q, k, v, seen, dropout=0.4, scaling=0.3)
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * 0.3 + torch.where(seen, 0.0, -torch.inf)
    factors = masks.factors(0, scores, 0.4)
    assert 0 < (factors == 0).double().mean().item() < 1
    expected = torch.einsum("bhqk,bhkd->bqhd", scores.softmax(-1) * factors, v)
    torch.testing.assert_close(out, expected)
