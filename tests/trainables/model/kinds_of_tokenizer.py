"""A small tokenizer of every kind whose words can be segmented in several ways, as encoders have them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORD = "banana"
"""All parts of it are pieces."""

LETTERS = "abcdefghijklmnopqrstuvwxyzö你好.,?"
PARTS = sorted({WORD[i:j] for i, j in combinations(range(len(WORD) + 1), 2) if j - i > 1}, key=lambda p: (len(p), p))
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def unigram(byte_fallback: bool = False) -> Tokenizer:
    """As XLM-R's: the space before a word is part of its first piece."""
    pieces = [(name, 0.0) for name in SPECIAL]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256) if byte_fallback]
    pieces += [(letter, -4.0 - k / 10) for k, letter in enumerate(f"▁{LETTERS}")]
    pieces += [(part, -3.0 - k / 7) for k, part in enumerate([*PARTS, "▁ban", "▁banana", "▁go", "od"])]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=byte_fallback))
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return inner


def merges(byte_fallback: bool = False, ignore_merges: bool = False) -> Tokenizer:
    """As ModernBERT's, of bytes; with `byte_fallback` as Gemma's, of characters."""
    alphabet = [f"▁{LETTERS}"] if byte_fallback else [pre_tokenizers.ByteLevel.alphabet()]
    letters = sorted({letter for part in alphabet for letter in part})
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback), *letters]
    pairs = [("a", "n"), ("an", "a"), ("b", "an"), ("n", "a"), ("ban", "ana"), ("g", "o"), ("o", "d"), ("go", "od")]
    names += [a + b for a, b in pairs] + ["gooda"]
    vocabulary = {name: row for row, name in enumerate(dict.fromkeys(names))}
    inner = Tokenizer(
        models.BPE(vocabulary, pairs, unk_token="<unk>", byte_fallback=byte_fallback, ignore_merges=ignore_merges)
    )
    if byte_fallback:
        inner.normalizer = normalizers.Replace(" ", "▁")
        inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    else:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    return inner


def wordpiece() -> Tokenizer:
    """As multilingual BERT's."""
    names = [*SPECIAL, *LETTERS.replace("x", ""), *(f"##{letter}" for letter in LETTERS.replace("q", ""))]
    names += [form for part in PARTS for form in (part, f"##{part}")] + ["goo", "##od"]
    inner = Tokenizer(models.WordPiece({name: row for row, name in enumerate(names)}, unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer(strip_accents=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return inner


KINDS = {
    "unigram": unigram,
    "unigram with bytes": lambda: unigram(byte_fallback=True),
    "merges of bytes": merges,
    "merges of characters": lambda: merges(byte_fallback=True),
    "whole words first": lambda: merges(ignore_merges=True),
    "wordpiece": wordpiece,
}


def tokenizer(kind: str) -> Any:
    """A fast one."""
    return _fast(KINDS[kind]())


def _fast(inner: Tokenizer) -> Any:
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", model_input_names=["input_ids", "attention_mask"], **names
    )


def of_texts(texts: list[str]) -> Any:
    """One of the first kind, whose pieces are the letters of some texts, two or three of them together, and words."""
    words = sorted({f"▁{word}" for text in texts for word in text.split()})
    lengths = {n: sorted({w[i : i + n] for w in words for i in range(len(w) - n + 1)}) for n in (1, 2, 3)}
    pieces = [(name, 0.0) for name in SPECIAL] + [("▁", -6.0)]
    pieces += [(piece, -6.0 - n / 3 - k / 1000) for n, some in lengths.items() for k, piece in enumerate(some)]
    pieces += [(word, -7.0 - k / 1000) for k, word in enumerate(words)]
    inner = Tokenizer(models.Unigram(list(dict(reversed(pieces)).items())[::-1], unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return _fast(inner)
