"""Texts put together from the pieces of their words are what the tokenizer itself makes of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tests.trainables.tasks.test_pieces import byte_level, finished, gemma_like
from trainables.config import EncoderConfig
from trainables.model.by_word import ByWord
from trainables.model.pretrained import load_tokenizer
from trainables.tasks import encoding, tagging
from trainables.tasks.encoding import encode_sequences
from trainables.tasks.tagging import Tagging

TEXTS = (
    "the quick brown fox, the lazy dog.",
    "Ömür boyu öğrenmek için İstanbul'a gitti",
    "ज्ञान की बात हिन्दी में",
    "میں\u200cنے یہ کہا",
    "我们都知道这件事 ข้อความภาษาไทยไม่มีช่องว่าง",
    "two  blanks, a tab\tand an end ",
    " a blank at both ends ",
    "a mark \u0301alone and ﹰ ¨x",
    "삹b e\u3000֗ 䁹",
    "the the ᙭ \ufffd cd ab",
    "</s> inside <mask> and <unk> ▁blank ▁",
    "🙂 emoji 🙂🏽 and 𝒻ancy",
    "",
    "word " * 60,
)
ROWS = [f"{text} {i % 7}" if i % 3 else text for i in range(150) for text in TEXTS]


def uncased() -> Any:
    """As BERT's: no accents, no capitals, signs apart."""
    signs = [chr(c) for c in range(33, 0x3000) if not 0xD800 <= c < 0xE000]
    vocabulary = {name: i for i, name in enumerate(["the", "[UNK]", *signs, *("##" + sign for sign in signs)])}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return finished(inner, "[CLS]", "[SEP]")


TOKENIZERS = {"XLM-R's": lambda: load_tokenizer(EncoderConfig(name_or_path="offline:e5-small")), "BERT's": uncased}


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_tokens_are_those_of_the_tokenizer(name: str, paired: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS[name]()
    rows = [*pairwise(ROWS)] if paired else [(text,) for text in ROWS]
    by_word = ByWord.of(tokenizer, paired, 40)
    assert by_word is not None
    known = by_word.encode(rows)
    assert sum(each is not None for each in known) >= 150
    fast = encode_sequences(rows, tokenizer, 40)
    monkeypatch.setattr(encoding, "ByWord", type("Never", (), {"of": lambda *_: None}))
    whole = encode_sequences(rows, tokenizer, 40)
    assert all(np.array_equal(fast[key], whole[key]) and fast[key].dtype == whole[key].dtype for key in whole)
    starts, ends = whole["offsets"][:-1], whole["offsets"][1:]
    for each, start, end in zip(known, starts, ends, strict=True):
        if each is not None:
            assert each == (whole["ids"][start:end].tobytes(), whole["special"][start:end].tobytes())


def test_what_looks_at_neighbours_is_left_to_the_tokenizer() -> None:
    assert ByWord.of(byte_level(), False, 40) is None
    assert ByWord.of(gemma_like(), False, 40) is None


def test_words_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.model.by_word.MOST_WORDS", 3)
    by_word = ByWord.of(uncased(), False, 40)
    assert by_word is not None
    first = by_word.encode([("the a b c d",)])
    assert by_word.encode([("the e",)]) != first == by_word.encode([("the a b c d",)])
    assert set(by_word._pieces) == {"the", "a", "b", "c", "d", "e"}
    by_word.encode([("f",)])
    assert set(by_word._pieces) == {"f"}


def test_one_that_proves_wrong_on_the_first_texts_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer may do more than its parts say; then nothing but time is lost."""
    rows = [(f"the {i}",) for i in range(1500)]
    right = encode_sequences(rows, uncased(), 40)
    monkeypatch.setattr(ByWord, "encode", lambda self, rows: [(b"\x00\x00\x00\x00", b"\x00")] * len(rows))
    assert np.array_equal(encode_sequences(rows, uncased(), 40)["ids"], right["ids"])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tagged_words_have_the_pieces_that_the_tokenizer_gives_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words of which nothing is left, that hold blanks, or that are too many for one item are left to it."""
    tokenizer = TOKENIZERS[name]()
    rows = [
        {"tokens": [*words, "a b", "\u200b"] if i % 9 == 0 else words, "tags": [k % 3 for k in range(len(words) + 2)]}
        for i, words in enumerate(text.split() for text in ROWS if text.split())
    ]
    rows = [{**row, "tags": row["tags"][: len(row["tokens"])]} for row in rows]
    asked: list[int] = []
    made = ByWord.sentences
    monkeypatch.setattr(
        ByWord, "sentences", lambda self, found: asked.append(sum(map(bool, each := made(self, found)))) or each
    )
    shape = Tagging(("a", "b", "c"))
    fast = shape.encode(rows, tokenizer, 40).arrays()
    assert len(asked) == 3, "the first thousand, to compare them, and what comes after"
    assert all(asked)
    monkeypatch.setattr(tagging, "ByWord", type("Never", (), {"of": lambda *_: None}))
    whole = shape.encode(rows, tokenizer, 40).arrays()
    assert all(np.array_equal(fast[key], whole[key]) and fast[key].dtype == whole[key].dtype for key in whole)
