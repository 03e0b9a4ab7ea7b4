"""Texts tokenised word by word, each word once: a running text has few words that did not occur before.

Sub-word tokenizers that cut text at blanks first (SentencePiece as Hugging Face has it, WordPiece) look at no word's
neighbours, so that a text's pieces are those of its words, one after another. Whether a tokenizer is of these follows
from its parts; words at whose edges normalisation could reach across a blank are left to the tokenizer, with their
texts. Whoever uses it compares it with the tokenizer on the first texts, too.
"""

from __future__ import annotations

import json
import unicodedata
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

Encoding = tuple[bytes, bytes]
"""Token ids (int32) of one sequence, and which of them are special (one byte each)."""

MOST_WORDS = 200_000
"""Words that are remembered, some 50 MB; then all are forgotten, and learned anew as they occur."""

_LONGEST = 40
"""Characters of a word that is remembered: a sentence without blanks will hardly occur again."""

_CUTTING = ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")
"""Pre-tokenizers that cut at blanks and look no further."""

_LOCAL = ("Punctuation", "Digits")
"""Those that cut what has been cut."""

_NORMALIZERS = ("Precompiled", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "StripAccents", "Lowercase", "BertNormalizer")
"""Normalizers that reach across a blank at most where it stands beside a mark, another blank or a control character."""

_PREFIXED = "▁"
"""What SentencePiece writes a blank as."""

_REPLACEMENT = "\ufffd"
"""SentencePiece makes a blank of it."""


class ByWord:
    """Tokenises sequences of one or two texts with a tokenizer's own pieces; see `of`."""

    def __init__(self, tokenizer: Any, pair: bool, max_length: int) -> None:
        self._backend, self._max_length = tokenizer.backend_tokenizer, max_length
        unknown = tokenizer.unk_token_id
        self._added = {number for number in tokenizer.added_tokens_decoder if number != unknown}
        self._unknown = tokenizer.unk_token
        self._cut = tokenizer.truncation_side
        self._around = _around(tokenizer, pair)
        self._pieces: dict[str, bytes | None] = {}

    @classmethod
    def of(cls, tokenizer: Any, pair: bool, max_length: int) -> ByWord | None:
        """None where a tokenizer is not known to look at no word's neighbours."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or not _cuts_at_blanks(backend):
            return None
        return cls(tokenizer, pair, max_length)

    def encode(self, rows: Sequence[tuple[str, ...]]) -> list[Encoding | None]:
        """One for each row; None where the tokenizer has to see the texts as a whole, or cuts them."""
        if len(self._pieces) > MOST_WORDS:
            self._pieces.clear()
        encoded: list[Encoding | None] = []
        later: list[int] = []
        for number, row in enumerate(rows):
            try:
                encoded.append(self._joined(row))
            except KeyError:  # a word that did not occur before
                encoded.append(None)
                later.append(number)
        self._learn({word for number in later for text in rows[number] for word in text.split(" ")})
        for number in later:
            encoded[number] = self._joined(rows[number])
        return encoded

    def sentences(self, rows: Sequence[Sequence[str]]) -> list[tuple[Encoding, list[int]] | None]:
        """Of each list of words its encoding, and where each word's first piece is; None as `encode` has it, and where
        of a word nothing is left."""
        if len(self._pieces) > MOST_WORDS:
            self._pieces.clear()
        self._learn({word for row in rows for word in row})
        return [self._sentence(row) for row in rows]

    def _sentence(self, words: Sequence[str]) -> tuple[Encoding, list[int]] | None:
        pieces = [self._pieces[word] for word in words]
        if not all(pieces):
            return None
        (ids, special), (ids_after, special_after) = self._around
        starts = [len(special), *(len(each) // 4 for each in pieces if each)]
        *firsts, end = accumulate(starts)
        if end + len(special_after) > self._max_length:
            return None
        joined = b"".join(pieces)  # type: ignore[arg-type]
        return (ids + joined + ids_after, special + bytes(len(joined) // 4) + special_after), firsts

    def whole(self, rows: Sequence[tuple[str, ...]]) -> list[Encoding]:
        """As `encode`, with what is left by the tokenizer: its backend alone, as the library calls it."""
        encoded = self.encode(rows)
        left = [row if len(row) > 1 else row[0] for row, found in zip(rows, encoded, strict=True) if found is None]
        if not left:
            return encoded  # type: ignore[return-value]
        self._backend.enable_truncation(self._max_length, direction=self._cut)
        by_it = iter(self._backend.encode_batch(left))
        return [
            found or (array("i", (each := next(by_it)).ids).tobytes(), bytes(each.special_tokens_mask))
            for found in encoded
        ]

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; it learns the words itself."""
        return {**vars(self), "_pieces": {}}

    def _joined(self, row: tuple[str, ...]) -> Encoding | None:
        pieces = self._pieces.__getitem__
        ids, special = self._around[0]
        try:
            for text, (ids_after, special_after) in zip(row, self._around[1:], strict=True):
                part: bytes = b"".join(map(pieces, text.split(" ")))  # type: ignore[arg-type]
                ids += part + ids_after
                special += bytes(len(part) // 4) + special_after
        except TypeError:  # a word whose text the tokenizer has to see as a whole
            return None
        return (ids, special) if len(special) <= self._max_length else None

    def _learn(self, words: set[str]) -> None:
        new = words - self._pieces.keys()
        self._pieces.update(dict.fromkeys(new))
        plain = [word for word in new if _is_plain(word)]
        self._backend.no_truncation()  # whoever calls the tokenizer itself says anew where it cuts
        for word, found in zip(plain, self._backend.encode_batch_fast(plain, add_special_tokens=False), strict=True):
            ids = found.ids
            if self._added.isdisjoint(ids) and (self._unknown is None or self._unknown not in word):
                self._pieces[word] = array("i", ids).tobytes()


def _is_plain(word: str) -> bool:
    """Whether nothing in it can have to do with the blanks around it.

    Marks join what is before them, some signs are a blank with a mark in disguise, and a few join what comes after.
    """
    if not 0 < len(word) <= _LONGEST or _PREFIXED in word or _REPLACEMENT in word:
        return False
    if word.isascii() and word.isalnum():
        return True
    form = unicodedata.normalize("NFKD", word)
    first, last = (word[0], form[0]), (word[-1], form[-1])
    return (
        all(unicodedata.category(sign)[0] in "LNPS" for sign in first)
        and all(unicodedata.category(sign)[0] in "LMNPS" for sign in last)
        and not any(unicodedata.category(sign) in ("Zs", "Zl", "Zp", "Cc") for sign in form)
        and not (word[-1] == "\u0d4e" or "\U00011000" <= word[-1] <= "\U00011fff")
    )


def _around(tokenizer: Any, pair: bool) -> list[Encoding]:
    """Special tokens before the first text, and after each text."""
    texts = ("a", "a") if pair else ("a",)
    encoded = tokenizer(*([text] for text in texts), return_special_tokens_mask=True)
    found, inside = [array("i")], False
    for number, special in zip(encoded["input_ids"][0], encoded["special_tokens_mask"][0], strict=True):
        if not special and not inside:
            found.append(array("i"))
        inside = not special
        if special:
            found[-1].append(number)
    return [(each.tobytes(), bytes([1]) * len(each)) for each in found]


def _cuts_at_blanks(backend: Any) -> bool:
    try:
        cutting, normalizing = (_parts(each) for each in (backend.pre_tokenizer, backend.normalizer))
    except Exception:  # one that is written in Python: the library's own word for it is Exception
        return False
    cuts = [part["type"] in _CUTTING or _is_metaspace(part) for part in cutting]
    known = [c or part["type"] in _LOCAL for c, part in zip(cuts, cutting, strict=True)]
    return any(cuts) and all(known) and all(_is_local(part) for part in normalizing)


def _parts(component: Any) -> list[dict[str, Any]]:
    """A component's parts as they would be written to a file."""
    if component is None:
        return []
    state = json.loads(component.__getstate__())
    whole: list[dict[str, Any]] = state.get("normalizers") or state.get("pretokenizers") or [state]
    return whole


def _is_metaspace(part: dict[str, Any]) -> bool:
    always = part.get("prepend_scheme") in ("always", "first")
    return part["type"] == "Metaspace" and always and part.get("replacement") == _PREFIXED and bool(part.get("split"))


def _is_local(part: dict[str, Any]) -> bool:
    several_blanks = part["type"] == "Replace" and part.get("pattern") == {"Regex": " {2,}"}
    return part["type"] in _NORMALIZERS or part["type"] == "Strip" or several_blanks
