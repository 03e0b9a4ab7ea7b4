"""Tokenizers of other builds: words given one by one, and answers, have the pieces of running text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests.trainables.tiny import characters
from trainables.errors import UserError
from trainables.tasks.base import IGNORED
from trainables.tasks.classification import Classification
from trainables.tasks.span import SpanAnswering, answer_texts
from trainables.tasks.tagging import Tagging, takes_spaces

SENTENCE = ["Ada", "lives", "in", "Köln", "with", "猫"]
MERGED = ("Ada", "lives", "in", "with")


def finished(inner: Tokenizer, start: str, end: str, trims: bool = False) -> PreTrainedTokenizerFast:
    inner.add_special_tokens([AddedToken(name, special=True) for name in (start, "<pad>", end)])
    ids = [(name, inner.token_to_id(name)) for name in (start, end)]
    template = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B {end}", special_tokens=ids
    )
    byte_level = [processors.ByteLevel(trim_offsets=True)] if trims else []
    inner.post_processor = processors.Sequence([*byte_level, template])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=start, eos_token=end, cls_token=start, sep_token=end, pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def merging(space: str, alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Each of some words is one piece, with and without the space before it; all else is signs."""
    vocabulary = {sign: number for number, sign in enumerate(dict.fromkeys(alphabet))}
    merges = []
    for word in MERGED:
        for left, right in [*((word[:k], word[k]) for k in range(1, len(word))), (space, word)]:
            if left + right not in vocabulary:
                vocabulary[left + right] = len(vocabulary)
                merges.append((left, right))
    return vocabulary, merges


def byte_level(trims: bool = False, adds: bool = False) -> PreTrainedTokenizerFast:
    """As ModernBERT's and EuroBERT's: bytes, the space before a word is its first one."""
    vocabulary, merges = merging("Ġ", sorted(pre_tokenizers.ByteLevel.alphabet()))
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=adds)
    inner.decoder = decoders.ByteLevel()
    return finished(inner, "<|begin|>", "<|end|>", trims)


def gemma_like() -> PreTrainedTokenizerFast:
    """As mmBERT's: ▁ for each space, bytes for unknown signs, nothing before the first word."""
    alphabet = [*(f"<0x{b:02X}>" for b in range(256)), "▁", *(chr(c) for c in range(33, 127))]
    vocabulary, merges = merging("▁", alphabet)
    inner = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    return finished(inner, "<bos>", "<eos>")


BUILDS: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "byte-level, offsets trimmed": lambda: byte_level(trims=True),
    "byte-level, adds the space": lambda: byte_level(adds=True),
    "Gemma-like": gemma_like,
    "XLM-R's": characters,
}


@pytest.mark.parametrize("build", BUILDS)
def test_words_have_the_pieces_of_running_text(build: str) -> None:
    tokenizer = BUILDS[build]()
    assert takes_spaces(tokenizer) == (build in ("byte-level", "byte-level, offsets trimmed", "Gemma-like"))
    tags = [k % 2 for k in range(len(SENTENCE))]
    encoded = Tagging(("a", "b")).encode([{"tokens": SENTENCE, "tags": tags}], tokenizer, 64)
    assert encoded.ids.tolist() == tokenizer(" ".join(SENTENCE))["input_ids"]
    scored = np.flatnonzero(encoded.labels != IGNORED)
    assert encoded.labels[scored].tolist() == tags
    pieces = tokenizer.convert_ids_to_tokens(encoded.ids[scored].tolist())
    assert len(pieces) == len(SENTENCE)
    if build != "XLM-R's":
        assert [piece.strip("Ġ▁") for piece in pieces[:3]] == SENTENCE[:3]


def test_a_word_of_nothing_is_tagged_all_the_same() -> None:
    encoded = Tagging(("a", "b")).encode([{"tokens": ["Ada", "", "in"], "tags": [0, 1, 0]}], byte_level(), 64)
    assert encoded.labels[encoded.labels != IGNORED].tolist() == [0, 1, 0]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("answer", ["Köln", "in", "Ada", "猫"])
def test_a_span_is_the_answer_itself(build: str, answer: str) -> None:
    tokenizer, context = BUILDS[build](), " ".join(SENTENCE) + " ."
    rows = [
        {
            "question": "where?",
            "context": context,
            "answers": {"text": [answer], "answer_start": [context.index(answer)]},
        }
    ]
    encoded = SpanAnswering("squad").encode(rows, tokenizer, 96)
    first, last, begin, _ = encoded.item_labels(0)[:4].tolist()
    assert first >= begin > 0
    assert answer_texts(rows, encoded, [[1.0, first - begin, last - begin]]) == {0: answer}


def test_texts_that_nothing_separates_are_one_line() -> None:
    tokenizer = byte_level()
    ids = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<|begin|>", "<|end|>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", pair="<|begin|> $A $B <|end|>", special_tokens=ids
    )
    pair = Classification(("no", "yes"), pair=True)
    with pytest.raises(UserError, match=r"tasks of pairs need a tokenizer that separates two texts \(got .*\)$"):
        pair.encode([{"text": "a", "text_pair": "b", "label": 0}], tokenizer, 16)
    with pytest.raises(UserError, match="separates two texts"):
        SpanAnswering("squad").encode([], tokenizer, 64)
