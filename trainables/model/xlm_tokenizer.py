"""XLM's tokenizer as a fast one: offsets and word numbers, which the library's own, written in Python, has not.

Words as Moses makes them (`moses`), then byte-pair encoding whose last piece of a word ends with ``</w>``. Chinese,
Thai and Japanese have no spaces: XLM's authors took a segmenter for each, and so do we where its package is installed.
Segmenters see text whose punctuation is normalised already; which word a sign belongs to hardly depends on it.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import NormalizedString, PreTokenizedString, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from trainables.errors import UserError
from trainables.languages import normalize
from trainables.model import moses

Cut = Callable[[str], Iterator[str]]

UNKNOWN, END = "<unk>", "</s>"
NAMES = {"bos_token": "<s>", "cls_token": END, "sep_token": END, "pad_token": "<pad>", "unk_token": UNKNOWN}
MASK = "<special1>"

SEGMENTERS: dict[str, tuple[str, str]] = {
    "zh": ("rjieba", "rjieba"),
    "th": ("pythainlp.tokenize", "pythainlp"),
    "ja": ("Mykytea", "kytea"),
}
"""Language -> the module that cuts its words, and the package that has it."""

KYTEA_MODEL = "~/local/share/kytea/model.bin"
"""Where the library looks for KyTea's model, too."""


class XlmTokenizer(PreTrainedTokenizerFast):  # type: ignore[misc]
    """A fast tokenizer of one language, out of the files `vocab.json` and `merges.txt`.

    What merging needs on its way and the vocabulary has not has numbers behind it, which nobody outside sees.
    """

    def __init__(
        self, vocabulary: dict[str, int], merges: list[tuple[str, str]], lowercase: bool, language: str
    ) -> None:
        """Raises `UserError` where a language's segmenter is not installed."""
        further = (part for a, b in merges for part in (a, b, a + b))
        whole = dict(vocabulary)
        for part in further:
            whole.setdefault(part, len(whole))
        inner = Tokenizer(models.BPE(whole, merges, unk_token=UNKNOWN, end_of_word_suffix="</w>"))
        ids = [(name, vocabulary[name]) for name in ("<s>", END)]
        inner.post_processor = TemplateProcessing(
            single=f"<s> $A {END}", pair=f"<s> $A {END} $B:1 {END}:1", special_tokens=ids
        )
        super().__init__(
            tokenizer_object=inner,
            mask_token=MASK,
            model_input_names=["input_ids", "attention_mask"],
            **NAMES,
        )
        self.known = len(vocabulary)
        last = moses.plain() if lowercase else None
        cut = segmenter(language)
        words = moses.words(language) if cut is None else moses.normalised(language)
        backend = self.backend_tokenizer
        if cut is None:
            backend.normalizer = words if last is None else normalizers.Sequence([words, last])
            backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:
            backend.normalizer = words
            backend.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(_Words(cut, last))

    def __call__(self, *args: Any, **options: Any) -> Any:
        """As every tokenizer."""
        found = super().__call__(*args, **options)
        ids = found["input_ids"]
        rows = ids if not ids or isinstance(ids[0], list) else [ids]
        for row in rows:
            row[:] = [token if token < self.known else self.unk_token_id for token in row]
        return found


class _Words:
    """Cuts normalised text into words, and makes each plain."""

    def __init__(self, cut: Cut, plain: normalizers.Normalizer | None) -> None:
        self.cut, self.plain = cut, plain

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        """As `tokenizers` asks for it."""
        text.split(self._split)
        if self.plain is not None:
            text.normalize(self.plain.normalize)

    def _split(self, _: int, text: NormalizedString) -> list[NormalizedString]:
        whole, place = str(text), 0
        pieces: list[NormalizedString] = []
        for word in self.cut(whole):
            start = whole.index(word, place)
            place = start + len(word)
            if word.strip() and (piece := text[start:place]) is not None:
                pieces.append(piece)
        return pieces


def segmenter(language: str) -> Cut | None:
    """What cuts the words of a language that has no spaces; None for all others.

    Raises `UserError` where it is not installed.
    """
    if language not in SEGMENTERS:
        return None
    module, package = SEGMENTERS[language]
    try:
        found = importlib.import_module(module)
        if language == "ja":
            return _spaced(found.Mykytea(f"-model {Path(KYTEA_MODEL).expanduser()}").getWS)
        return _spaced(found.cut if language == "zh" else found.word_tokenize)
    except (ImportError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"encoder.name_or_path: XLM needs the package {package} to find the words of {language}, which is not "
            f"installed; leave {language} out of task.target_languages, or install it (got {error})"
        ) from error


def _spaced(cut: Callable[[str], Any]) -> Cut:
    """Words between spaces, each cut in turn: no word holds a space."""
    return lambda text: (word for part in text.split() for word in cut(part))


def read(find: Callable[[str], Path | None], language: str) -> XlmTokenizer:
    """Of the files that `find` has by their names. Raises `UserError` where one is not there or cannot be read."""
    try:
        files = {name: _required(find(name), name) for name in ("vocab.json", "merges.txt", "config.json")}
        vocabulary = json.loads(files["vocab.json"].read_text(encoding="utf-8"))
        lines = files["merges.txt"].read_text(encoding="utf-8").split("\n")
        config = json.loads(files["config.json"].read_text(encoding="utf-8"))
        own = find("tokenizer_config.json")
        settings = {} if own is None else json.loads(own.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"encoder.name_or_path: needs XLM's vocab.json and merges.txt (got {error})") from error
    merges = [(parts[0], parts[1]) for line in lines if len(parts := line.split()) >= 2]
    # The checkpoints of 17 and of 100 languages keep case and accents; published before this could be said.
    lowercase = settings.get("do_lowercase_and_remove_accent", int(config.get("n_langs", 1)) not in (17, 100))
    return XlmTokenizer(vocabulary, merges, bool(lowercase), moses_code(language))


def moses_code(language: str) -> str:
    """What Moses, and XLM's segmenters, call a language."""
    return re.split("[-_]", normalize(language))[0]


def _required(path: Path | None, name: str) -> Path:
    if path is None:
        raise FileNotFoundError(f"no {name}")
    return path
