"""The encoder entered at its embeddings gives what the library gives from token ids; trimming changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from trainables.config import EncoderConfig
from trainables.errors import UserError
from trainables.layout import Layout
from trainables.model.encoder import Encoder
from trainables.model.pretrained import kept_rows, load_encoder, load_tokenizer, save_encoder, trim

TEXTS = ["turn on the lights in the kitchen", "Schalte das Licht ein", "ปิดไฟ", "what's the weather like in Berlin?"]


@pytest.fixture(scope="module")
def offline() -> EncoderConfig:
    return EncoderConfig(name_or_path="offline:e5-small")


def tiny(kind: str) -> Encoder:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "pad_token_id": 1,
        "max_position_embeddings": 40,
    }
    model = (
        BertModel(BertConfig(**shape), add_pooling_layer=False)
        if kind == "bert"
        else XLMRobertaModel(XLMRobertaConfig(**shape, type_vocab_size=1), add_pooling_layer=False)
    )
    return Encoder(model, uses_segments=False).eval()


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows, width = [[0, 7, 8, 9, 2], [0, 11, 2], [0, 5, 6, 2]], 6
    ids = torch.full((3, width), 1)
    for i, row in enumerate(rows):
        ids[i, slice(width - len(row), None) if side == "left" else slice(0, len(row))] = torch.tensor(row)
    return ids, (ids != 1).long()


@pytest.mark.parametrize("side", ["left", "right"])
def test_xlmr_agrees_with_the_librarys_own_path(side: str) -> None:
    encoder = tiny("xlmr")
    ids, mask = padded(side)
    special = torch.zeros_like(ids, dtype=torch.bool)
    with torch.no_grad():
        ours = encoder.states(encoder.embed(ids), Layout.of(mask, special))
        theirs = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "xlmr"])
def test_the_side_of_the_padding_does_not_matter(kind: str) -> None:
    encoder = tiny(kind)
    states = {}
    for side in ("left", "right"):
        ids, mask = padded(side)
        with torch.no_grad():
            special = torch.zeros_like(ids, dtype=torch.bool)
            states[side] = encoder.states(encoder.embed(ids), Layout.of(mask, special))[mask.bool()]
    assert torch.allclose(states["left"], states["right"], atol=1e-6)


def test_bert_agrees_with_the_librarys_own_path() -> None:
    encoder = tiny("bert")
    ids, mask = padded("right")
    with torch.no_grad():
        ours = encoder.states(encoder.embed(ids), Layout.of(mask, torch.zeros_like(ids, dtype=torch.bool)))
        theirs = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-6)


def test_pairs_have_segments_where_the_encoder_knows_them() -> None:
    encoder = Encoder(tiny("bert").model, uses_segments=True).eval()
    ids = torch.tensor([[0, 7, 8, 2, 9, 4, 2]])
    special = torch.tensor([[True, False, False, True, False, False, True]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        ours = encoder.states(encoder.embed(ids), Layout.of(mask, special))
        types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
        theirs = encoder.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_trimming_is_exact(offline: EncoderConfig) -> None:
    tokenizer = load_tokenizer(offline)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt", return_special_tokens_mask=True)
    ids, mask, special = batch["input_ids"], batch["attention_mask"], batch["special_tokens_mask"].bool()
    encoder = load_encoder(offline, uses_segments=False)
    with torch.no_grad():
        full = encoder.states(encoder.embed(ids), Layout.of(mask, special))
        kept = kept_rows(np.unique(ids.numpy()), tokenizer, encoder)
        trim(encoder, kept)
        renumbered = torch.from_numpy(np.searchsorted(kept, ids.numpy()))
        trimmed = encoder.states(encoder.embed(renumbered), Layout.of(mask, special))
    assert encoder.model.get_input_embeddings().num_embeddings == len(kept) < 100
    assert torch.equal(full, trimmed)


def test_freezing_leaves_the_upper_layers(offline: EncoderConfig) -> None:
    encoder = load_encoder(offline, uses_segments=False)
    encoder.freeze(embeddings=True, lower_layers=6)
    trained = {name.split(".")[3] for name, p in encoder.named_parameters() if p.requires_grad}
    assert trained == {"6", "7", "8", "9", "10", "11"}
    with pytest.raises(UserError, match=r"encoder.freeze_lower_layers: must be at most .* 12 layers \(got 13\)"):
        encoder.freeze(embeddings=True, lower_layers=13)


def test_an_encoder_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read at its import
    for name in (str(tmp_path), "nobody/no-such-encoder", "offline:e6"):
        with pytest.raises(UserError) as error:
            load_encoder(EncoderConfig(name_or_path=name), uses_segments=False)
        assert len(error.value.lines) == 1
        assert error.value.lines[0].startswith("encoder.name_or_path: ")
        assert "\n" not in error.value.lines[0]


@pytest.mark.parametrize("kind", ["bert", "xlmr"])
def test_what_another_rank_than_0_writes_is_whole(kind: str, tmp_path: Path) -> None:
    """The library writes on rank 0 of a process group alone, and whoever comes first builds a cache's entry."""
    encoder = tiny(kind)
    # A group whose collectives do nothing, of which this process is the second.
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        save_encoder(encoder, tmp_path / "encoder")
    finally:
        torch.distributed.destroy_process_group()
    again = load_encoder(EncoderConfig(name_or_path="any"), uses_segments=False, folder=tmp_path / "encoder")
    assert type(again.model) is type(encoder.model)
    own, found = encoder.model.state_dict(), again.model.state_dict()
    assert own.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in own.items())
    ids, mask = padded("right")
    special = torch.zeros_like(ids, dtype=torch.bool)
    with torch.no_grad():
        states = [each.states(each.embed(ids), Layout.of(mask, special)) for each in (encoder, again)]
    assert torch.equal(*states)
