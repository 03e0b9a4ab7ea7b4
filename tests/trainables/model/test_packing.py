"""Without padding an encoder gives what it gives with it: states and gradients, in evaluation and in training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from trainables.layout import Layout
from trainables.model import attention
from trainables.model.encoder import Encoder, Model
from trainables.model.families import families

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.3,
    "dropout": 0.0,
    "attention_dropout": 0.3,
}
PLAIN = [kind for family in families() if family.plain for kind in family.kinds]
LENGTHS = {"mixed": (5, 1, 9, 3), "equal": (4, 4, 4), "with an empty one": (6, 0, 2)}


def model(kind: str) -> Model:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SHAPE, type_vocab_size=2 if kind == "bert" else 1)
    inner = AutoModel.from_config(config)
    inner.pooler = None
    return Model(Encoder(inner, uses_segments=kind == "bert"), nn.Linear(16, 3))


def mask_of(lengths: tuple[int, ...], left: bool = False) -> Tensor:
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return mask.flip(1) if left else mask


def run(of: Model, mask: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """States at the tokens, and gradients of the embeddings there and of a weight of the lowest layer."""
    torch.manual_seed(seed)
    embeddings = torch.randn(*mask.shape, 16, requires_grad=True)
    of.masks.begin(seed)
    of.zero_grad()
    special = (torch.arange(mask.shape[1]) % 3 == 0) & mask.bool()  # so that BERT has segments to tell apart
    states = of.encoder.states(embeddings, Layout.of(mask, special))
    tokens = states[mask.bool()]
    (tokens * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(seed))).sum().backward()
    weight = next(of.encoder.family.layers_of(of.encoder.model)[0][0].parameters()).grad
    assert embeddings.grad is not None and weight is not None
    assert not embeddings.grad[~mask.bool()].any()
    return tokens.detach(), embeddings.grad[mask.bool()], weight.clone()


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("lengths", ["mixed", "equal"])
@pytest.mark.parametrize("kind", PLAIN)
def test_states_and_gradients_are_those_of_the_padded_batch(
    kind: str, lengths: str, training: bool, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, mask = model(kind).train(training), mask_of(LENGTHS[lengths], left)
    packed = run(of, mask, 3)
    monkeypatch.setattr(Encoder, "packs", lambda *_: False)
    for mine, padded in zip(packed, run(of, mask, 3), strict=True):
        torch.testing.assert_close(mine, padded, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_a_sequence_without_tokens_disturbs_no_other(training: bool) -> None:
    of = model("xlm-roberta").train(training)
    for dropout in (0.3, 0.0):  # two kernels
        of.encoder.set_dropout(dropout)
        for each in run(of, mask_of(LENGTHS["with an empty one"]), 3):
            assert each.isfinite().all()


def test_layers_see_no_padding() -> None:
    of, mask = model("xlm-roberta"), mask_of(LENGTHS["mixed"])
    seen: list[tuple[int, ...]] = []
    of.encoder.model.encoder.layer[1].register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    run(of, mask, 3)
    assert seen == [(1, sum(LENGTHS["mixed"]), 16)]


def test_states_of_a_lower_layer_are_the_same_with_and_without_padding() -> None:
    of, mask = model("xlm-roberta"), mask_of(LENGTHS["mixed"])
    of.eval()
    layout, found = Layout.of(mask, mask.bool()), []
    embeddings = of.encoder.embed(torch.randint(5, 40, mask.shape, generator=torch.Generator().manual_seed(0)))
    for name, packs in ((attention.ATTENTION, True), ("sdpa", False)):
        of.encoder.model.set_attn_implementation(name)
        assert of.encoder.packs(layout) == packs
        found.append(of.encoder.states_at(embeddings, layout, 1)[mask.bool()])
    torch.testing.assert_close(*found)
    last = of.encoder.states_at(embeddings, layout, None)[mask.bool()]
    assert not torch.allclose(found[0], last)


def test_other_kinds_and_shown_attention_keep_their_padding() -> None:
    mask = mask_of(LENGTHS["mixed"])
    layout, full = Layout.of(mask, mask.bool()), Layout.of(torch.ones_like(mask), mask.bool())
    of, other = model("bert"), model("ernie")
    assert of.encoder.packs(layout) and not of.encoder.packs(full) and not other.encoder.packs(layout)
    of.encoder.show_attention(0)
    assert not of.encoder.packs(layout)
    decoder = model("roberta")
    decoder.encoder.model.config.is_decoder = True  # whose attention is told from the mask
    assert not decoder.encoder.packs(layout)


@pytest.mark.parametrize("lengths", ["mixed", "equal"])
def test_kernels_of_variable_length_give_the_same(lengths: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of, mask = model("xlm-roberta").eval(), mask_of(LENGTHS[lengths])
    padded = run(of, mask, 3)
    monkeypatch.setattr(attention, "runs_packed", lambda query: True)  # which is so on CUDA alone
    for mine, expected in zip(run(of, mask, 3), padded, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


def test_unpacking_undoes_packing() -> None:
    mask = mask_of(LENGTHS["with an empty one"])
    values = torch.randn(*mask.shape, 2) * mask[..., None]
    layout = Layout.of(mask, mask.bool())
    assert layout.pack(values).shape == (1, 8, 2)
    assert torch.equal(layout.unpack(layout.pack(values)[0]), values)
    assert torch.equal(layout.spread(layout.pack(values)[0])[mask.bool()], values[mask.bool()])


def test_a_layout_says_where_tokens_and_sequences_are() -> None:
    mask = mask_of((2, 0, 3), left=True)
    layout = Layout.of(mask, torch.zeros_like(mask).bool())
    assert (layout.longest, layout.is_full, layout.bounds.tolist()) == (3, False, [0, 2, 2, 5])
    assert layout.places.tolist() == [1, 2, 6, 7, 8]
    assert layout.ranks.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 2]]


def test_half_precision_on_a_card_has_the_kernel_that_takes_all_in_one_row() -> None:
    def runs(kind: str, dtype: torch.dtype) -> bool:
        return attention.runs_packed(cast(Tensor, SimpleNamespace(device=SimpleNamespace(type=kind), dtype=dtype)))

    assert runs("cuda", torch.bfloat16) and runs("cuda", torch.float16)
    assert not runs("cuda", torch.float32) and not runs("cpu", torch.bfloat16)


def test_that_kernel_is_told_of_dropout_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, float]] = []

    def kernel(query: Tensor, key: Tensor, value: Tensor, **options: float) -> Tensor:
        told.append(options)
        return value

    monkeypatch.setattr(attention, "runs_packed", lambda query: True)
    monkeypatch.setattr(attention.functional, "scaled_dot_product_attention", kernel)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    q, k, v = torch.randn(3, 1, 2, 5, 4).unbind(0)
    layout = Layout.of(mask, torch.zeros_like(mask).bool())
    out, _ = attention.attention(torch.nn.Module(), q, k, v, None, dropout=0.3, scaling=0.7, layout=layout)
    assert told == [{"dropout_p": 0.3, "scale": 0.7}]
    assert torch.equal(out, v.transpose(1, 2))
