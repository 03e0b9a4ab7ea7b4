"""An encoder of few weights in a folder, for tests that need a real one of another kind than the embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

SEGMENTED = ("bert",)
"""Kinds that are written with token types."""


def characters(segments: bool = False) -> Any:
    """One token per character, ``▁`` before each word, XLM-R's special tokens; ids are code points + 4."""
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary = special | {chr(c): c + 4 for c in range(0x20, 0x3000) if not 0xD800 <= c < 0xE000}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="always"), pre_tokenizers.Split(pattern="", behavior="isolated")]
    )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1" if segments else "<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
    )


def write(folder: Path, kind: str) -> Path:
    """Write an encoder of this kind with random weights, norms and biases too, and `characters`."""
    torch.manual_seed(0)
    tokenizer = characters(kind in SEGMENTED)
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=48, pad_token_id=1, max_position_embeddings=140, type_vocab_size=1 + (kind in SEGMENTED),
    )  # fmt: skip
    model = AutoModel.from_config(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
