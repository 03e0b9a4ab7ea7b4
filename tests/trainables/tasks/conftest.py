"""What the tests of all task shapes use: miniature data in the repository, and a small tokenizer made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

MINIATURES = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(scope="session")
def miniatures() -> Path:
    """Hand-written data of every task shape."""
    return MINIATURES


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """One token per character, ``▁`` before each word, XLM-R's special tokens; ids are code points + 4."""
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = special | {chr(c): c + 4 for c in range(0x20, 0x3000) if not 0xD800 <= c < 0xE000}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(pattern="", behavior="isolated")]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
