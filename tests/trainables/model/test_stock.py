"""Models of the library's own classes answer as a trial's model does, whatever the encoder's kind and the pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from trainables.batch import Batch
from trainables.errors import UserError
from trainables.model.encoder import Encoder, Model
from trainables.model.heads import ChoiceHead, EmbeddingHead, PooledHead, TokenHead
from trainables.model.stock import NoStockClassError, stock

KINDS = ("bert", "xlm-roberta", "camembert", "ernie")
PAD, SIZE, LABELS = 1, 32, ("calm", "joy", "rage")


def tiny(kind: str) -> Encoder:
    """An encoder with random weights, its norms and biases too, so that none could be left out unseen."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=60, hidden_size=SIZE, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        pad_token_id=PAD, max_position_embeddings=40, type_vocab_size=1,
        layer_norm_eps=1e-5,
    )  # fmt: skip
    model = AutoModel.from_config(config)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.5)
    return Encoder(model, uses_segments=False).eval()


def batch() -> Batch:
    lengths = torch.tensor([12, 3, 7, 2, 12, 9])
    mask = (torch.arange(12)[None, :] < lengths[:, None]).long()
    ids = torch.randint(2, 60, mask.shape, generator=torch.Generator().manual_seed(1)) * mask + PAD * (1 - mask)
    return Batch(ids, mask, torch.zeros_like(mask).bool(), torch.zeros(6), torch.arange(6))


def logits(model: Any, auto_class: str, batch: Batch) -> Tensor:
    """What the library's model says of a batch."""
    shape = (3, 2, -1) if auto_class == "AutoModelForMultipleChoice" else (6, -1)
    output = model(input_ids=batch.input_ids.view(shape), attention_mask=batch.attention_mask.view(shape))
    if auto_class == "AutoModelForQuestionAnswering":
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    found: Tensor = output.logits
    return found


HEADS: dict[str, tuple[str, nn.Module]] = {
    f"{name} {pooling}": each
    for pooling in ("mean", "first")
    for name, each in {
        "text": ("AutoModelForSequenceClassification", PooledHead(SIZE, 3, pooling, 0.1)),
        "choice": ("AutoModelForMultipleChoice", ChoiceHead(SIZE, 2, pooling, 0.1)),
    }.items()
} | {
    "tokens": ("AutoModelForTokenClassification", TokenHead(SIZE, 3, 0.1)),
    "span": ("AutoModelForQuestionAnswering", TokenHead(SIZE, 2, 0.1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_it_computes_the_same(tmp_path: Path, kind: str, name: str) -> None:
    """After it was written and loaded again, with either of the library's ways to attend."""
    auto_class, head = HEADS[name]
    for parameter in head.parameters():
        nn.init.normal_(parameter, 0.0, 1.0)
    encoder, given = tiny(kind), batch()
    stock(encoder, head, auto_class, LABELS if name.split()[0] in ("text", "tokens") else ()).save_pretrained(tmp_path)
    ours = Model(encoder, head).eval()
    expected = ours.logits(ours.embed(given), given)
    for attention in ("sdpa", "eager"):
        loader = getattr(transformers, auto_class)
        theirs = loader.from_pretrained(tmp_path, attn_implementation=attention).eval()
        mask = given.attention_mask.bool() if name in ("tokens", "span") else ...
        difference = (logits(theirs, auto_class, given) - expected)[mask].abs().max()
        assert difference < 2e-6 * expected[mask].abs().max(), attention
    if name.split()[0] in ("text", "tokens"):
        assert theirs.config.id2label == dict(enumerate(LABELS))
        assert theirs.config.label2id == {label: i for i, label in enumerate(LABELS)}


@torch.no_grad()
def test_without_the_further_layer_it_is_the_trained_encoder(tmp_path: Path) -> None:
    encoder, given = tiny("xlm-roberta"), batch()
    stock(encoder, PooledHead(SIZE, 3, "mean", 0.1), "AutoModelForSequenceClassification", LABELS).save_pretrained(
        tmp_path
    )
    plain = AutoModel.from_pretrained(tmp_path, num_hidden_layers=2, add_pooling_layer=False).eval()
    inputs = {"input_ids": given.input_ids, "attention_mask": given.attention_mask}
    assert torch.equal(plain(**inputs).last_hidden_state, encoder.model(**inputs).last_hidden_state)


@torch.no_grad()
def test_an_encoder_without_a_head_is_itself(tmp_path: Path) -> None:
    encoder, given = tiny("bert"), batch()
    stock(encoder, EmbeddingHead("mean"), "AutoModel").save_pretrained(tmp_path)
    plain = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    inputs = {"input_ids": given.input_ids, "attention_mask": given.attention_mask}
    assert torch.equal(plain(**inputs).last_hidden_state, encoder.model(**inputs).last_hidden_state)


@torch.no_grad()
def test_half_precision_costs_what_it_always_costs() -> None:
    """bf16 logits of the library's model are as near to the exact ones as those of ours."""
    encoder, given = tiny("bert"), batch()
    head = PooledHead(SIZE, 3, "mean", 0.1).eval()
    theirs = stock(encoder, head, "AutoModelForSequenceClassification", LABELS)
    ours = Model(encoder, head).eval()
    exact = ours.logits(ours.embed(given), given)
    rounded = ours.bfloat16()
    error = (rounded.logits(rounded.embed(given), given).float() - exact).abs().max()
    half = logits(theirs.bfloat16(), "AutoModelForSequenceClassification", given).float()
    assert (half - exact).abs().max() < 4 * error


def test_what_the_library_has_no_class_for_is_said() -> None:
    head = PooledHead(SIZE, 3, "mean", 0.1)
    with pytest.raises(
        NoStockClassError, match=r"encoder.name_or_path: no class of transformers .* \(got xlm-roberta-xl"
    ):
        stock(tiny("xlm-roberta-xl"), head, "AutoModelForSequenceClassification")
    with pytest.raises(UserError, match="16 labels are too many for states of 32"):
        stock(tiny("bert"), PooledHead(SIZE, 16, "mean", 0.1), "AutoModelForSequenceClassification")
