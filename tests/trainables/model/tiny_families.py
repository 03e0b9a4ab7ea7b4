"""An encoder of few weights of every family, as an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig

from trainables.config import EncoderConfig
from trainables.model.encoder import Encoder, Model
from trainables.model.families import family_of
from trainables.model.heads import TokenHead
from trainables.model.pretrained import load_encoder

ROWS, PAD, SIZE, LAYERS, LONGEST = 60, 1, 16, 2, 40

_BERT: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": PAD,
    "max_position_embeddings": LONGEST,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_ROBERTA = {**_BERT, "type_vocab_size": 1}
_DISENTANGLED = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pad_token_id": PAD}
_XLM: dict[str, Any] = {
    "vocab_size": ROWS, "emb_dim": SIZE, "n_layers": LAYERS, "n_heads": 2, "max_position_embeddings": LONGEST,
    "pad_index": PAD, "pad_token_id": PAD, "lang2id": {"en": 0, "de": 1, "fr": 2},
    "id2lang": {"0": "en", "1": "de", "2": "fr"}, "n_langs": 3,
}  # fmt: skip
_T5: dict[str, Any] = {
    "vocab_size": ROWS, "d_model": SIZE, "d_kv": 8, "d_ff": 24, "num_layers": LAYERS, "num_heads": 2,
    "pad_token_id": PAD, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 16,
}  # fmt: skip

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("bert", _BERT),
    "ernie": ("ernie", _BERT),
    "electra": ("electra", {**_BERT, "embedding_size": 8}),
    "xlm-roberta": ("xlm-roberta", _ROBERTA),
    "xlm-roberta-xl": ("xlm-roberta-xl", _ROBERTA),
    "roberta-prelayernorm": ("roberta-prelayernorm", _ROBERTA),
    "xmod": ("xmod", {**_ROBERTA, "languages": ["en_XX", "de_DE", "fr_XX"]}),
    "distilbert": (
        "distilbert",
        {"vocab_size": ROWS, "dim": SIZE, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 24, "pad_token_id": PAD,
         "max_position_embeddings": LONGEST},
    ),
    "albert": ("albert", {**_BERT, "embedding_size": 8, "hidden_dropout_prob": 0.1}),
    "xlm": ("xlm", {**_XLM, "use_lang_emb": False}),
    "xlm with languages": ("xlm", {**_XLM, "use_lang_emb": True}),
    "deberta": ("deberta", {**_BERT, **_DISENTANGLED}),
    "deberta-v2": ("deberta-v2", {**_BERT, **_DISENTANGLED}),
    "mdeberta": (
        "deberta-v2",
        {**_BERT, **_DISENTANGLED, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
         "position_biased_input": False, "type_vocab_size": 0, "conv_kernel_size": 3},
    ),
    "rembert": ("rembert", {**_BERT, "input_embedding_size": 8, "hidden_dropout_prob": 0.1}),
    "roformer": ("roformer", {**_BERT, "embedding_size": 8}),
    "jina_embeddings_v3": ("jina_embeddings_v3", _BERT),
    "nomic_bert": ("nomic_bert", _BERT),
    "mpnet": ("mpnet", _BERT),
    "modernbert": (
        "modernbert",
        {**_BERT, "global_attn_every_n_layers": 2, "local_attention": 4, "cls_token_id": 0, "sep_token_id": 2},
    ),
    "eurobert": ("eurobert", {**_BERT, "num_key_value_heads": 1, "head_dim": 8}),
    "t5": ("t5", _T5),
    "mt5": ("mt5", _T5),
    "umt5": ("umt5", _T5),
}  # fmt: skip
"""Name -> kind and shape."""

ABSOLUTE = ("bert", "ernie", "electra", "distilbert", "albert", "xlm", "xlm with languages", "deberta", "deberta-v2",
            "rembert")  # fmt: skip
"""Those whose positions the library counts from the left edge, whatever the padding."""


def write(folder: Path, name: str, std: float = 0.2, **more: Any) -> Path:
    """An encoder of this name with random weights, norms and biases too; `more` of its shape than is said here."""
    torch.manual_seed(0)
    kind, shape = CONFIGS[name]
    model = _class_of(kind).from_config(AutoConfig.for_model(kind, **{**shape, **more}), attn_implementation="eager")
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, 0.0, std)
    model.save_pretrained(folder)
    return folder


def _class_of(kind: str) -> Any:
    return getattr(transformers, family_of(kind).auto_class)


def theirs(folder: Path, name: str) -> Any:
    """The library's own, its attention in the open."""
    return _class_of(CONFIGS[name][0]).from_pretrained(folder, attn_implementation="eager").eval()


def ours(folder: Path, uses_segments: bool = False) -> Encoder:
    return load_encoder(EncoderConfig(name_or_path=str(folder)), uses_segments)


def model(encoder: Encoder) -> Model:
    torch.manual_seed(1)
    return Model(encoder, TokenHead(encoder.hidden_size, 3, 0.0)).eval()
